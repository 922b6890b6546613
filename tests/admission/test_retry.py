from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.retry import CURABLE, Action, RetryBudget, RetryPolicy, action
from headrace.records import Kind


def dice(seed: int) -> Random:
    return Random(seed)


ASKED_AGAIN_WITH_ANOTHER_PERMIT = {
    Action.PACE: {Kind.RATE_LIMITED, Kind.SLOW_DOWN, Kind.HELD_UP},
    Action.MONEY: {Kind.BILLING},
    Action.KEY: {Kind.AUTH, Kind.FORBIDDEN, Kind.NOT_FOUND},
    Action.RETRY: {Kind.SERVER_ERROR, Kind.OVERLOADED, Kind.NETWORK, Kind.TIMEOUT, Kind.BAD_ANSWER},
}


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_one_action(kind: Kind) -> None:
    wanted = next((name for name, kinds in ASKED_AGAIN_WITH_ANOTHER_PERMIT.items() if kind in kinds), Action.GIVE_UP)
    assert action(kind) is wanted


def test_what_policy_or_the_request_itself_forbids_is_not_curable() -> None:
    never = {Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION, Kind.BAD_REQUEST, Kind.BAD_LINE}
    ours = {Kind.OVER_BUDGET, Kind.INTERRUPTED, Kind.IN_DOUBT}
    assert set(Kind) - CURABLE == never | ours


@pytest.mark.parametrize(("attempts", "most"), [(1, 2.0), (2, 4.0), (3, 8.0)])
def test_the_delay_is_spread_evenly_from_nothing_to_a_bound_that_doubles(attempts: int, most: float) -> None:
    random = dice(7)
    delays = [RetryPolicy().delay(attempts, None, random) or 0.0 for _ in range(2_000)]
    assert 0.0 <= min(delays) < 0.02 * most
    assert 0.98 * most < max(delays) <= most
    assert sum(delays) / len(delays) == pytest.approx(most / 2, rel=0.05)


def test_the_bound_of_the_delay_is_capped() -> None:
    random = dice(7)
    policy = RetryPolicy(attempts=100)
    delays = [policy.delay(60, None, random) or 0.0 for _ in range(500)]
    assert 29.0 < max(delays) <= 30.0


def test_there_is_no_fifth_attempt() -> None:
    assert RetryPolicy().delay(3, None, dice(0)) is not None
    assert RetryPolicy().delay(4, None, dice(0)) is None
    assert RetryPolicy().delay(4, 5.0, dice(0)) is None


@given(attempts=st.integers(1, 3), asked=st.floats(0, 120), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_what_the_server_asks_for_is_waited_at_least(attempts: int, asked: float, seed: int) -> None:
    without = RetryPolicy().delay(attempts, None, dice(seed)) or 0.0
    assert RetryPolicy().delay(attempts, asked, dice(seed)) == max(without, asked)


def test_the_first_ten_retries_of_a_pool_are_free_and_the_rest_come_one_a_second() -> None:
    budget = RetryBudget()
    assert [budget.reserve(5.0) for _ in range(13)] == [0.0] * 10 + [1.0, 2.0, 3.0]


def test_ten_calls_earn_one_retry() -> None:
    budget = RetryBudget()
    for _ in range(10):
        budget.reserve(0.0)
    for _ in range(20):
        budget.call()
    assert [budget.reserve(0.0) for _ in range(3)] == pytest.approx([0.0, 0.0, 1.0])


def test_waiting_earns_one_retry_a_second_up_to_ten() -> None:
    budget = RetryBudget()
    for _ in range(10):
        budget.reserve(0.0)
    assert budget.reserve(1.0) == 0.0
    assert budget.reserve(1.0) == 1.0
    assert [budget.reserve(1_000.0) for _ in range(11)] == [0.0] * 10 + [1.0]


@given(st.lists(st.tuples(st.sampled_from(["call", "retry"]), st.floats(0, 2)), min_size=1, max_size=200))
@settings(max_examples=100, deadline=None)
def test_retries_start_at_no_more_than_a_tenth_of_the_calls_and_one_a_second(events: list[tuple[str, float]]) -> None:
    budget = RetryBudget()
    now, calls = 0.0, 0
    retries: list[tuple[float, int]] = []
    for what, elapsed in events:
        now += elapsed
        if what == "call":
            budget.call()
            calls += 1
        else:
            retries.append((now + budget.reserve(now), calls))
    for index, (start, earned) in enumerate(retries):
        assert index + 1 <= 10 + 0.1 * earned + start + 1e-6


def test_a_server_that_asks_for_a_day_is_asked_again_after_two_minutes() -> None:
    assert RetryPolicy().delay(1, 86_400.0, Random(0)) == 120.0
    assert RetryPolicy().delay(1, 45.0, Random(0)) == 45.0
