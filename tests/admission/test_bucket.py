from __future__ import annotations

from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.bucket import NARROW, SHARE, START_S, TOLERANCE_S, WIDEST_S, Bucket, Charge

LIMITS = (1, 5, 60, 61, 300, 5_000, 100_000)
MANY = 10_000
"""More than any limit here lets start at once."""


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


def at_once(bucket: Bucket, now: float) -> int:
    """How many requests of one start then."""
    for number in range(MANY):
        if bucket.earliest(1, now) > now:
            return number
        bucket.take(1, now)
    raise AssertionError


@pytest.mark.parametrize("limit", [300, 5_000])
def test_a_fresh_client_starts_at_its_pace_and_with_a_small_part_of_the_burst_that_a_pause_saves_up(limit: int) -> None:
    bucket = Bucket(limit)
    assert at_once(bucket, 7.0) == 1 + int(START_S * limit * SHARE / 60)
    assert START_S < TOLERANCE_S
    assert at_once(bucket, 600.0) == 1 + int(TOLERANCE_S * limit * SHARE / 60)


@pytest.mark.parametrize("limit", [300, 5_000])
@pytest.mark.parametrize("spread", [1.5, 6.0])
def test_the_first_minute_holds_no_more_than_the_pace_and_that_small_part(limit: int, spread: float) -> None:
    bucket = Bucket(limit, spread)
    started = saturate(bucket, [1], 60)
    assert 0.98 * limit <= len(started) <= limit * SHARE * (60 + START_S) / 60 + 2


def test_a_small_limit_is_spaced_from_the_first_request_on() -> None:
    bucket = Bucket(5)
    bucket.take(1, 0.0)
    assert bucket.earliest(1, 0.0) == pytest.approx(60 / (5 * 0.99))


def test_a_pause_saves_up_no_more_than_the_tolerance() -> None:
    bucket = Bucket(300)
    at_once(bucket, 0.0)
    assert at_once(bucket, 600.0) == 5
    assert bucket.earliest(1, 600.0) == pytest.approx(600.0 + 5 / (300 * SHARE / 60) - TOLERANCE_S)


def saved_up(bucket: Bucket, largest: float) -> int:
    """What starts at once after a pause, once a request of that size was seen."""
    bucket.take(largest, 0.0)
    now = 600.0
    for started in range(0, 50 * MANY, 50):
        if bucket.earliest(50, now) > now:
            return started
        bucket.take(50, now)
    raise AssertionError


@pytest.mark.parametrize("spread", [NARROW, 6.0])
def test_where_requests_are_large_a_pause_saves_up_so_many_times_the_largest(spread: float) -> None:
    assert saved_up(Bucket(60_000, spread), 1_500) == pytest.approx(1_500 * spread, abs=50)


def test_where_they_are_very_large_it_saves_up_no_more_than_ten_seconds_of_the_rate_or_one_and_a_half_of_them() -> None:
    assert saved_up(Bucket(60_000, 6.0), 4_000) == pytest.approx(WIDEST_S * 60_000 * SHARE / 60, abs=50)
    assert saved_up(Bucket(60_000, 6.0), 12_000) == pytest.approx(12_000 * NARROW, abs=50)


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
    # Ten seconds of rate each.
    before = bucket.earliest(1, 0.0)
    assert before == pytest.approx(30.0 - START_S)
    bucket.correct(charge, 297)
    assert bucket.earliest(1, 0.0) == pytest.approx(before - 7.0)
    assert bucket.usage(0.0) == pytest.approx((2 * 990 + 297) / 6_000)


def test_a_correction_upward_delays_what_comes_next() -> None:
    bucket = Bucket(6_000)
    charge = bucket.take(990, 0.0)
    before = bucket.earliest(1, 0.0)
    bucket.correct(charge, 1_980)
    assert bucket.earliest(1, 0.0) == pytest.approx(before + 10.0)
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


def test_a_slower_rate_is_paid_off_at_once_and_the_limit_of_a_minute_stays_what_it_was() -> None:
    bucket = Bucket(600)
    bucket.take(60, 0.0)
    overdue = bucket.earliest(1, 0.0) + bucket._tolerance
    bucket.change(0.0, 300)
    assert bucket.earliest(1, 0.0) + bucket._tolerance == pytest.approx(2 * overdue)
    assert bucket.limit == 600
    assert bucket.usage(0.0) == pytest.approx(60 / 300)


def test_what_is_drained_starts_at_its_pace_after_any_pause() -> None:
    bucket = Bucket(300)
    bucket.take(1, 0.0)
    bucket.drain(600.0)
    assert at_once(bucket, 600.0) == 1


def test_two_buckets_of_one_limit_hold_no_minute_above_it_once_they_are_one() -> None:
    bucket, other = Bucket(300), Bucket(300)
    started = [*saturate(bucket, [1], 20), *saturate(other, [1], 20)]
    now = 20.0
    bucket.absorb(other, now)
    assert bucket.used(now) == len(started)
    for _ in range(300):
        now = bucket.earliest(1, now)
        bucket.take(1, now)
        started.append((now, 1))
    assert busiest_minute(sorted(started)) <= 300


def test_what_was_charged_of_a_bucket_that_is_no_more_can_still_be_corrected() -> None:
    bucket, other = Bucket(300), Bucket(300)
    charge = other.take(100, 0.0)
    bucket.absorb(other, 1.0)
    bucket.correct(charge, 0.0)
    assert bucket.used(1.0) == 0.0


@settings(max_examples=60, deadline=None)
@given(
    limit=st.sampled_from(LIMITS),
    before=st.lists(st.tuples(st.floats(0, 59), st.floats(0, 0.3)), max_size=30),
    steps=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 0.3)), max_size=40),
)
def test_no_minute_across_a_restart_holds_more_than_the_limit(
    limit: int, before: list[tuple[float, float]], steps: list[tuple[float, float]]
) -> None:
    first, now = Bucket(limit), 0.0
    started: list[tuple[float, float]] = []

    def start(bucket: Bucket, share: float, at: float) -> float:
        cost = max(1, round(share * limit))
        at = bucket.earliest(cost, at)
        bucket.take(cost, at)
        started.append((at, cost))
        return at

    for gap, share in before:
        now = start(first, share, now + gap / 10)
    second = Bucket(limit)
    second.prime(first.recent(now))
    second.drain(now)
    for gap, share in steps:
        now = start(second, share, now + gap)
    assert busiest_minute(started) <= limit


def test_a_pause_after_a_restart_saves_up_no_more_than_one_before_it() -> None:
    before, after = Bucket(6_000, 6.0), Bucket(6_000, 6.0)
    saturate(before, [1], 30)
    after.prime(before.recent(30.0))
    after.drain(30.0)
    assert at_once(after, 600.0) == at_once(before, 600.0)
