from __future__ import annotations

from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.bucket import Bucket, Charge

LIMITS = (1, 5, 60, 61, 300, 5_000, 100_000)


def saturate(bucket: Bucket, costs: list[float], seconds: float, late_s: float = 0.0) -> list[tuple[float, float]]:
    """When a client that always has work starts requests of these costs, and what each costs."""
    started: list[tuple[float, float]] = []
    now = 0.0
    for cost in cycle(costs):
        due = bucket.earliest(cost, now)
        if due >= seconds:
            return started
        if due > now:
            now = due + late_s
        bucket.take(cost, now)
        started.append((now, cost))
    raise AssertionError


def busiest_minute(started: list[tuple[float, float]]) -> float:
    busiest = current = 0.0
    first = 0
    for at, cost in started:
        current += cost
        while started[first][0] < at - 60.0:
            current -= started[first][1]
            first += 1
        busiest = max(busiest, current)
    return busiest


@settings(max_examples=150, deadline=None)
@given(
    limit=st.sampled_from(LIMITS),
    steps=st.lists(st.tuples(st.floats(0, 40), st.floats(0, 1), st.none() | st.floats(0, 3), st.integers(0, 5)), max_size=80),
)
def test_what_is_known_to_be_charged_in_a_minute_never_exceeds_the_limit_at_an_admission(
    limit: int, steps: list[tuple[float, float, float | None, int]]
) -> None:
    bucket = Bucket(limit)
    charges: list[Charge] = []
    now = 0.0
    for gap, share, correction, back in steps:
        now += gap
        cost = max(1, round(share * limit))
        start = bucket.earliest(cost, now)
        assert start >= now
        assert bucket.earliest(cost, start) == start, "whoever wakes up at the promised time may start"
        now = start
        charges.append(bucket.take(cost, now))
        assert sum(charge.cost for charge in charges[:-1] if charge.at >= now - 60.0) + cost <= limit
        if correction is not None and back < len(charges):
            corrected = charges[-1 - back]
            bucket.correct(corrected, round(corrected.cost * correction))


@settings(max_examples=60, deadline=None)
@given(
    limit=st.sampled_from(LIMITS),
    steps=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 0.3), st.floats(0, 1)), min_size=20, max_size=120),
)
def test_no_minute_holds_more_than_the_limit_where_costs_are_only_corrected_downward(
    limit: int, steps: list[tuple[float, float, float]]
) -> None:
    bucket = Bucket(limit)
    charges: list[Charge] = []
    now = 0.0
    for gap, share, correction in steps:
        cost = max(1, round(share * limit))
        now = bucket.earliest(cost, now + gap)
        charge = bucket.take(cost, now)
        charges.append(charge)
        bucket.correct(charge, round(cost * correction))
    assert busiest_minute([(charge.at, charge.cost) for charge in charges]) <= limit


@pytest.mark.parametrize("limit", [5, 60, 300, 5_000])
def test_a_saturated_client_gets_98_per_cent_of_the_limit_and_never_more_in_a_minute(limit: int) -> None:
    started = saturate(Bucket(limit), [1], 600)
    assert len(started) >= 0.98 * limit * 10
    assert busiest_minute(started) <= limit


@pytest.mark.parametrize("limit", [250_000, 800_000, 8_000_000])
def test_a_saturated_client_with_mixed_token_costs_gets_98_per_cent_of_the_limit(limit: int) -> None:
    started = saturate(Bucket(limit), [302, 302, 4_180, 302, 1_070, 6_240, 302], 600)
    assert sum(cost for _, cost in started) >= 0.98 * limit * 10
    assert busiest_minute(started) <= limit


@pytest.mark.parametrize(("limit", "late_s", "share"), [(300, 0.02, 0.989), (300, 0.5, 0.98), (5_000, 0.02, 0.989), (5_000, 0.5, 0.98)])
def test_late_wake_ups_cost_next_to_nothing_of_a_large_limit(limit: int, late_s: float, share: float) -> None:
    started = saturate(Bucket(limit), [1], 600, late_s)
    assert len(started) >= share * limit * 10
    assert busiest_minute(started) <= limit


def test_costs_that_are_large_against_the_limit_leave_at_most_a_tenth_of_it_unused() -> None:
    # Eight of the largest requests fill a minute: what is left over at its end is too small for the next in line.
    started = saturate(Bucket(50_000), [302, 302, 4_180, 302, 1_070, 6_240, 302], 600)
    assert sum(cost for _, cost in started) >= 0.9 * 50_000 * 10
    assert busiest_minute(started) <= 50_000


def test_a_fresh_client_of_a_large_limit_may_start_one_second_of_the_rate_at_once() -> None:
    bucket = Bucket(300)
    at_once = 0
    while bucket.earliest(1, 7.0) == 7.0:
        bucket.take(1, 7.0)
        at_once += 1
    assert at_once == 5
    assert bucket.earliest(1, 7.0) == pytest.approx(7.0 + 5 / (300 * 0.99 / 60) - 1.0)


def test_a_small_limit_is_spaced_from_the_first_request_on() -> None:
    bucket = Bucket(5)
    bucket.take(1, 0.0)
    assert bucket.earliest(1, 0.0) == pytest.approx(60 / (5 * 0.99))


def test_a_pause_saves_up_no_more_than_the_tolerance() -> None:
    bucket = Bucket(300)
    bucket.take(1, 0.0)
    at_once = 0
    while bucket.earliest(1, 600.0) == 600.0:
        bucket.take(1, 600.0)
        at_once += 1
    assert at_once == 5


def test_a_cost_as_large_as_the_limit_waits_for_an_empty_minute() -> None:
    bucket = Bucket(5)
    assert bucket.earliest(5, 0.0) == 0.0
    bucket.take(5, 0.0)
    assert bucket.earliest(5, 0.0) == 61.0
    bucket = Bucket(5)
    bucket.take(1, 0.0)
    bucket.take(1, 30.0)
    assert bucket.earliest(5, 31.0) == 91.0


def test_a_correction_downward_gives_the_room_back() -> None:
    bucket = Bucket(6_000)
    _, _, charge = [bucket.take(990, 0.0) for _ in range(3)]
    # Ten seconds of rate each, and a tolerance of one and a half of the largest.
    assert bucket.earliest(1, 0.0) == pytest.approx(15.0)
    bucket.correct(charge, 297)
    assert bucket.earliest(1, 0.0) == pytest.approx(8.0)
    assert bucket.usage(0.0) == pytest.approx((2 * 990 + 297) / 6_000)


def test_a_correction_upward_delays_what_comes_next() -> None:
    bucket = Bucket(6_000)
    charge = bucket.take(990, 0.0)
    bucket.correct(charge, 1_980)
    assert bucket.earliest(1, 0.0) == pytest.approx(5.0)
    assert bucket.usage(0.0) == pytest.approx(1_980 / 6_000)


def test_a_correction_above_the_limit_holds_everything_back_until_it_is_a_minute_old() -> None:
    bucket = Bucket(6_000)
    charge = bucket.take(600, 0.0)
    bucket.correct(charge, 7_000)
    assert bucket.earliest(1, 59.0) >= 60.0
    assert bucket.earliest(6_000, 59.0) == bucket.earliest(6_000, bucket.earliest(6_000, 59.0))


def test_a_refund_leaves_the_bucket_as_it_was() -> None:
    bucket, untouched = Bucket(5), Bucket(5)
    for each in (bucket, untouched):
        each.take(1, 0.0)
    bucket.correct(bucket.take(3, 13.0), 0.0)
    for cost in (1, 3, 4, 5):
        assert bucket.earliest(cost, 13.0) == pytest.approx(untouched.earliest(cost, 13.0))
    assert bucket.usage(13.0) == untouched.usage(13.0)


def test_a_correction_of_a_forgotten_charge_does_not_touch_the_minute() -> None:
    bucket = Bucket(100)
    old = bucket.take(50, 0.0)
    bucket.take(10, 100.0)
    bucket.correct(old, 0.0)
    assert bucket.usage(100.0) == pytest.approx(0.1)
    bucket.correct(old, 90.0)
    assert bucket.usage(100.0) == pytest.approx(0.1)
