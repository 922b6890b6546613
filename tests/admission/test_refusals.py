from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.booking import Cost
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.admission.refusals import Refusals
from headrace.models import Limits
from headrace.records import Kind, Problem

ONE = Cost(images=1, tokens=100)


def refused_every(refusals: Refusals, seconds: float, rounds: int, retry_after_s: float | None = None) -> float:
    """Refused so often, so far apart, from 0 on; returns when the last one was."""
    for n in range(rounds):
        refusals.refused("too fast", retry_after_s, n * seconds)
    return (rounds - 1) * seconds


def problem(kind: Kind, *, retry_after_s: float | None = None, billed: bool = False) -> Problem:
    return Problem(kind=kind, message=f"said {kind.value}", retry_after_s=retry_after_s, billed=billed)


def refused_pool(rounds: int, seconds: float) -> Pool:
    pool = Pool("studio", Limits(), [Key("k")])
    for n in range(rounds):
        pool.failed(pool.take(ONE, n * seconds), problem(Kind.RATE_LIMITED), n * seconds)
    return pool


@pytest.mark.parametrize(
    ("rounds", "seconds", "given_up"),
    [(10, 70.0, True), (10, 600 / 9, True), (10, 66.0, False), (9, 100.0, False), (100, 6.0, False), (101, 6.0, True)],
)
def test_it_is_given_up_after_ten_rounds_and_ten_minutes_and_not_before(rounds: int, seconds: float, *, given_up: bool) -> None:
    refusals = Refusals()
    last = refused_every(refusals, seconds, rounds, retry_after_s=1.0)
    assert (refusals.hopeless(last) is not None) is given_up


def test_the_reason_says_how_long_how_often_and_what_the_api_said_last() -> None:
    refusals = Refusals()
    last = refused_every(refusals, 100.0, 11, retry_after_s=1.0)
    assert refusals.hopeless(last) == "refused every call for 1,000 s, 11 times in a row: too fast"


def test_a_burst_is_one_round_however_many_calls_and_however_long_their_answers_take() -> None:
    refusals = Refusals()
    new = [refusals.refused("too fast", 700.0, now) for now in range(650)]
    assert new == [True] + [False] * 649
    assert refusals.rounds == 1
    assert refusals.hopeless(649.0) is None


def test_one_call_that_got_through_makes_it_a_new_story() -> None:
    refusals = Refusals()
    refused_every(refusals, 70.0, 9)
    refusals.let_in()
    for n in range(9):
        refusals.refused("too fast", None, 630.0 + 70 * n)
    assert refusals.hopeless(630.0 + 70 * 8) is None
    refusals.refused("too fast", None, 630.0 + 70 * 9)
    assert refusals.hopeless(630.0 + 70 * 9) is not None


def test_a_pause_that_was_asked_for_is_kept_by_a_call_that_got_through() -> None:
    refusals = Refusals()
    refusals.refused("too fast", 40.0, 0.0)
    refusals.let_in()
    assert refusals.paused_until == 40.0
    assert refusals.state(10.0) == "paused for 30.0 s"


def test_the_state_is_a_pause_for_a_minute_and_then_says_that_it_goes_on() -> None:
    refusals = Refusals()
    assert refusals.state(0.0) == "ready"
    refusals.refused("too fast", 50.0, 5.0)
    assert refusals.state(10.0) == "paused for 45.0 s"
    assert refusals.state(60.0) == "ready"
    refusals.refused("much too fast", 20.0, 60.0)
    assert refusals.state(65.0) == "refused for 60 s so far, asked again in 15.0 s: much too fast"
    assert refusals.state(100.0) == "refused for 95 s so far, asked again in 0.0 s: much too fast"
    refusals.let_in()
    assert refusals.state(100.0) == "ready"


def test_a_pause_of_an_hour_is_told_when_it_is_asked_for() -> None:
    refusals = Refusals()
    refusals.refused("come back later", 3_000.0, 0.0)
    assert refusals.state(0.0) == "refused for 0 s so far, asked again in 3,000.0 s: come back later"


def test_a_pool_that_is_refused_for_ten_minutes_is_benched() -> None:
    assert refused_pool(10, 66.0).alive
    pool = refused_pool(10, 70.0)
    assert not pool.alive
    assert list(pool.reasons()) == ["pool studio: refused every call for 630 s, 10 times in a row: said rate_limited"]
    assert pool.state(630.0).startswith("benched: refused every call")


def test_a_late_refusal_does_not_bring_a_benched_pool_back() -> None:
    pool = Pool("studio", Limits(), [Key("k")])
    late, poor = pool.take(ONE, 0.0), pool.take(ONE, 0.0)
    pool.failed(poor, problem(Kind.BILLING), 1.0)
    pool.failed(late, problem(Kind.RATE_LIMITED), 2.0)
    assert list(pool.reasons()) == ["pool studio: said billing"]


@pytest.mark.parametrize("kind", [Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION, Kind.BAD_REQUEST])
def test_an_answer_about_the_request_shows_that_calls_are_let_in(kind: Kind) -> None:
    pool = refused_pool(9, 70.0)
    pool.failed(pool.take(ONE, 600.0), problem(kind), 600.0)
    pool.failed(pool.take(ONE, 631.0), problem(Kind.RATE_LIMITED), 631.0)
    assert pool.alive


def test_a_picture_that_came_spoilt_shows_that_calls_are_let_in() -> None:
    pool = refused_pool(9, 70.0)
    pool.failed(pool.take(ONE, 600.0), problem(Kind.BAD_ANSWER, billed=True), 600.0)
    pool.failed(pool.take(ONE, 631.0), problem(Kind.RATE_LIMITED), 631.0)
    assert pool.alive


@pytest.mark.parametrize("kind", [Kind.SERVER_ERROR, Kind.NETWORK, Kind.INTERRUPTED])
def test_a_call_that_got_no_answer_of_the_api_says_nothing_about_its_pace(kind: Kind) -> None:
    pool = refused_pool(9, 70.0)
    pool.failed(pool.take(ONE, 600.0), problem(kind), 600.0)
    pool.failed(pool.take(ONE, 631.0), problem(Kind.RATE_LIMITED), 631.0)
    assert not pool.alive


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 500)), max_size=60), st.floats(0, 30))
def test_whatever_the_api_asks_for_the_end_comes_with_the_first_round_after_ten_and_ten_minutes(
    asked: list[float | None], late: float
) -> None:
    refusals, now, starts = Refusals(), 0.0, []
    for retry_after_s in asked:
        starts.append(now)
        refusals.refused("too fast", retry_after_s, now)
        assert refusals.paused_until > now
        assert (refusals.hopeless(now) is not None) == (len(starts) >= 10 and now - starts[0] >= 600)
        now = refusals.paused_until + late
