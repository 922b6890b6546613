from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.booking import Cost
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.admission.verdict import verdict
from headrace.models import Limits
from headrace.records import Kind, Problem, Usage

ONE = Cost(images=1, tokens=100)


def pool(name: str, **limits: float) -> Pool:
    return Pool(name, Limits(**limits), [Key(f"key of {name}")])  # type: ignore[arg-type]  # one shorthand for both types


def paused(name: str, seconds: float, said: str = "Slow down.", **limits: float) -> Pool:
    made = pool(name, **limits)
    made.failed(made.take(ONE, 0.0), Problem(kind=Kind.RATE_LIMITED, message=said, retry_after_s=seconds), 0.0)
    return made


def failing(name: str) -> Pool:
    made = pool(name)
    for booking in [made.take(ONE, 0.0) for _ in range(10)]:
        made.failed(booking, Problem(kind=Kind.SERVER_ERROR, message="The server had an error."), 0.0)
    return made


def told(pools: list[Pool], cost: Cost = ONE, now: float = 0.0, max_wait_s: float = 3_600.0) -> tuple[Kind, str]:
    problem = verdict(pools, cost, now, max_wait_s)
    assert problem is not None
    assert problem.retryable
    return problem.kind, problem.message


def test_a_pause_longer_than_the_patience_is_told_with_what_is_left_of_it_and_what_the_api_said() -> None:
    assert told([paused("studio", 86_400.0)], now=10.0) == (
        Kind.NO_POOL,
        "nothing can start within 3,600 s ([run] max_wait_s): pool studio is paused for 86,390 s more: Slow down.",
    )


def test_an_open_breaker_is_told_with_what_the_server_said() -> None:
    kind, message = told([failing("studio")], now=2.0, max_wait_s=10.0)
    assert kind is Kind.NO_POOL
    assert message.startswith("nothing can start within 10 s ([run] max_wait_s): ")
    assert message.endswith(": pool studio is held back for 28 s more, its server fails: The server had an error.")


def test_every_pool_is_named_the_dead_ones_too() -> None:
    poor = pool("poor")
    poor.failed(poor.take(ONE, 0.0), Problem(kind=Kind.BILLING, message="No credits."), 0.0)
    kind, message = told([paused("a", 5_000.0), poor, paused("b", 7_000.0)])
    assert kind is Kind.NO_POOL
    assert message.endswith(
        ": pool a is paused for 5,000 s more: Slow down.; pool b is paused for 7,000 s more: Slow down.; pool poor: No credits."
    )


@pytest.mark.parametrize("seconds", [0.0, 1.0, 3_599.0, 3_600.0])
def test_a_pause_within_the_patience_is_waited_for(seconds: float) -> None:
    assert verdict([paused("studio", seconds)], ONE, 0.0, 3_600.0) is None


def test_one_pool_that_is_near_enough_is_enough() -> None:
    assert verdict([paused("a", 86_400.0), paused("b", 60.0)], ONE, 0.0, 3_600.0) is None


def test_where_only_the_pool_that_is_large_enough_is_paused_it_is_this_requests_problem_alone() -> None:
    pools = [paused("large", 86_400.0), pool("small", tokens_per_minute=5_000)]
    kind, message = told(pools, Cost(images=1, tokens=6_000))
    assert kind is Kind.WAITED_TOO_LONG
    assert message.startswith("it cannot start within 3,600 s ([run] max_wait_s): pool large is paused for 86,400 s more: Slow down.; ")
    assert message.endswith("; it takes 6,000 tokens, and pool small allows 5,000 a minute")
    assert verdict(pools, Cost(images=1, tokens=5_000), 0.0, 3_600.0) is None


def test_a_limit_that_keeps_it_waiting_too_long_is_named_with_its_numbers() -> None:
    studio = pool("studio", images_per_minute=5, tokens_per_minute=6_000)
    studio.take(Cost(images=1, tokens=4_000), 0.0)
    assert told([studio], Cost(images=1, tokens=3_000), max_wait_s=30.0) == (
        Kind.WAITED_TOO_LONG,
        "it cannot start within 30 s ([run] max_wait_s): pool studio allows 6,000 tokens a minute, and 3,000 more fit in 61 s",
    )
    assert verdict([studio], ONE, 0.0, 45.0) is None


def test_tokens_that_were_billed_far_above_the_estimate_are_named_and_not_waited_out() -> None:
    studio = pool("studio", tokens_per_minute=6_000)
    studio.succeeded(studio.take(ONE, 0.0), Usage(input_tokens=0, output_tokens=1_200_000), 0.0)
    kind, message = told([studio], ONE)
    assert kind is Kind.WAITED_TOO_LONG
    assert "pool studio allows 6,000 tokens a minute, and 100 more fit in 12," in message


def test_calls_at_once_come_back_and_are_waited_for() -> None:
    busy = pool("busy", max_concurrency=1)
    busy.take(ONE, 0.0)
    assert not busy.has_room
    assert verdict([busy], ONE, 0.0, 1.0) is None


def test_a_probe_comes_back_and_is_waited_for() -> None:
    studio = failing("studio")
    studio.take(ONE, 31.0)
    assert not studio.has_room
    assert verdict([studio], ONE, 31.0, 1.0) is None


def test_a_model_that_no_pool_is_for_is_named() -> None:
    studio = Pool("studio", Limits(), [Key("k")], models=("gpt-image-2.5-*",))
    kind, message = told([studio], Cost(images=1, tokens=1, model="dall-e-3"))
    assert kind is Kind.MODEL_NOT_FOUND
    assert message == "no pool is for model dall-e-3 (its models say which)"
    assert verdict([studio], Cost(images=1, tokens=1, model="gpt-image-2.5-flare"), 0.0, 1.0) is None


def test_a_limit_that_was_only_guessed_is_no_reason_to_give_a_larger_request_up() -> None:
    studio, now = pool("studio"), 0.0
    for n in range(20):
        now = n * 4.0
        studio.succeeded(studio.take(ONE, now), None, now)
    studio.failed(studio.take(ONE, now), Problem(kind=Kind.RATE_LIMITED, message="Slow down.", retry_after_s=1.0), now)
    (images, *_) = studio.known()
    assert images.source == "guess"
    assert images.limit is not None
    assert verdict([studio], Cost(images=int(images.limit) + 3, tokens=1), now, 3_600.0) is None


COSTS = st.builds(Cost, images=st.integers(1, 5), tokens=st.integers(1, 900))


@settings(max_examples=200, deadline=None)
@given(
    taken=st.lists(st.tuples(st.floats(0, 40), COSTS, st.one_of(st.none(), st.integers(0, 50_000))), max_size=15),
    pause=st.one_of(st.none(), st.floats(0, 10_000)),
    cost=COSTS,
    later=st.floats(0, 100),
)
def test_what_a_pool_may_keep_anybody_waiting_bounds_what_it_keeps_each_waiting(
    taken: list[tuple[float, Cost, int | None]], pause: float | None, cost: Cost, later: float
) -> None:
    studio, now = pool("studio", images_per_minute=5, tokens_per_minute=900, requests_per_minute=100), 0.0
    for gap, each, billed in taken:
        now = max(now + gap, studio.earliest(each, now + gap))
        booking = studio.take(each, now)
        if billed is not None:
            studio.succeeded(booking, Usage(input_tokens=0, output_tokens=billed), now)
    if pause is not None:
        studio.failed(studio.take(ONE, now), Problem(kind=Kind.RATE_LIMITED, message="", retry_after_s=pause), now)
    now += later
    earliest, latest = studio.earliest(cost, now), studio.latest(now)
    assert now <= earliest <= latest < math.inf
    assert studio.earliest(cost, latest) == latest, "once it may start it may"
