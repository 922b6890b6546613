from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.simulator.windows import MINUTE_S, Continuous, Counter, Fixed, Sliding, Window, make_window

GAPS = st.lists(st.tuples(st.floats(0, 90, allow_nan=False), st.integers(1, 4)), max_size=60)
LIMITS = st.integers(1, 12)
WINDOWS_S = st.sampled_from([1.0, 10.0, 60.0])
SLACK = 1e-6
WHOLE_MINUTES = {
    "continuous": partial(make_window, "continuous"),
    "sliding": partial(make_window, "sliding"),
    "counter": partial(make_window, "counter"),
    "fixed": partial(make_window, "fixed"),
}
"""How a minute is counted, where the whole limit may be used at once."""
MAKERS = {
    **WHOLE_MINUTES,
    "a bucket of 10 s": partial(make_window, "continuous", burst_s=10.0),
    "a bucket of 1 s": partial(make_window, "continuous", burst_s=1.0),
    "windows of 10 s": partial(make_window, "fixed", window_s=10.0),
    "windows of 1 s": partial(make_window, "fixed", window_s=1.0),
}


def accepted(window: Window, gaps: list[tuple[float, int]], *, charge_rejected: bool = False) -> list[tuple[float, int]]:
    now, through = 100.0, []
    for gap, amount in gaps:
        now += gap
        fits = window.wait_s(amount, now) == 0
        if fits:
            through.append((now, amount))
        if fits or charge_rejected:
            window.charge(amount, now)
    return through


@given(GAPS, LIMITS, st.booleans())
def test_sliding_never_lets_more_than_the_limit_through_in_any_60_s(
    gaps: list[tuple[float, int]], limit: int, charge_rejected: bool
) -> None:
    through = accepted(Sliding(limit), gaps, charge_rejected=charge_rejected)
    for start, _ in through:
        assert sum(amount for at, amount in through if start <= at < start + MINUTE_S - 1e-3) <= limit


@given(GAPS, st.integers(1, 300), WINDOWS_S, st.booleans())
def test_fixed_never_lets_more_than_its_share_through_in_a_window_of_the_clock(
    gaps: list[tuple[float, int]], limit: int, window_s: float, charge_rejected: bool
) -> None:
    through = accepted(Fixed(limit, window_s), gaps, charge_rejected=charge_rejected)
    for window in {(at + SLACK) // window_s for at, _ in through}:
        assert sum(amount for at, amount in through if (at + SLACK) // window_s == window) <= max(1, limit * window_s // MINUTE_S)


@given(GAPS, LIMITS, st.booleans())
def test_the_counter_never_lets_more_through_than_the_weighted_counts_of_two_minutes_allow(
    gaps: list[tuple[float, int]], limit: int, charge_rejected: bool
) -> None:
    through = accepted(Counter(limit), gaps, charge_rejected=charge_rejected)
    for last, (now, _) in enumerate(through):
        start = (now + SLACK) // MINUTE_S * MINUTE_S - SLACK
        this = sum(amount for at, amount in through[: last + 1] if at >= start)
        before = sum(amount for at, amount in through if start - MINUTE_S <= at < start)
        assert this + before * (1 - (now - start) / MINUTE_S) <= limit + 1e-4


@given(GAPS, LIMITS, st.sampled_from([1.0, 10.0, 60.0]), st.booleans())
def test_continuous_never_lets_more_through_than_its_capacity_and_what_has_flowed_in(
    gaps: list[tuple[float, int]], limit: int, burst_s: float, charge_rejected: bool
) -> None:
    through = accepted(Continuous(limit, burst_s), gaps, charge_rejected=charge_rejected)
    capacity = max(1.0, limit * burst_s / MINUTE_S)
    for first, (start, _) in enumerate(through):
        total = 0
        for at, amount in through[first:]:
            total += amount
            assert total <= capacity + (at - start) * limit / MINUTE_S + 1e-4


@given(st.sampled_from(sorted(MAKERS)), GAPS, LIMITS, st.booleans())
def test_whoever_waits_as_long_as_told_fits_and_not_before(
    how: str, gaps: list[tuple[float, int]], limit: int, charge_rejected: bool
) -> None:
    window = MAKERS[how](limit)
    accepted(window, gaps, charge_rejected=charge_rejected)
    now = 100.0 + sum(gap for gap, _ in gaps)
    wait = window.wait_s(1, now)
    if wait > 0.01:
        early = now + wait * 0.99 - 0.001
        # What a refused call used up may be next to nothing: then a moment earlier it lacked next to nothing.
        assert window.wait_s(1, early) > 0 or 0 < window.used(early) + 1 - limit <= SLACK
    assert window.wait_s(1, now + wait) == 0


@given(st.sampled_from(sorted(MAKERS)), GAPS, st.integers(1, 300))
def test_what_is_quoted_as_used_leaves_room_for_what_fits_and_for_no_more(how: str, gaps: list[tuple[float, int]], limit: int) -> None:
    window = MAKERS[how](limit)
    now = 100.0
    for gap, amount in gaps:
        now += gap
        room = limit - window.used(now)
        assert (window.wait_s(amount, now) == 0) == (amount <= room + SLACK)
        window.charge(amount, now)


@given(st.sampled_from(sorted(WHOLE_MINUTES)), GAPS, LIMITS)
def test_used_stays_between_nothing_and_the_limit(how: str, gaps: list[tuple[float, int]], limit: int) -> None:
    window = WHOLE_MINUTES[how](limit)
    longest = 2 * MINUTE_S if how == "counter" else MINUTE_S
    now = 100.0
    for gap, amount in gaps:
        now += gap
        window.charge(amount, now)
        assert -SLACK <= window.used(now) <= limit + SLACK
        assert 0 <= window.full_s(now) <= longest + SLACK
    assert window.used(now + longest) == pytest.approx(0, abs=SLACK)


@given(st.sampled_from(sorted(MAKERS)), GAPS, LIMITS)
def test_after_the_time_till_it_is_full_all_is_free_that_was_free_at_first(how: str, gaps: list[tuple[float, int]], limit: int) -> None:
    window = MAKERS[how](limit)
    at_first = limit - window.used(100.0)
    accepted(window, gaps)
    now = 100.0 + sum(gap for gap, _ in gaps)
    full_s = window.full_s(now)
    if full_s > 0.01:
        assert limit - window.used(now + full_s - 0.01) < at_first
    assert limit - window.used(now + full_s) == pytest.approx(at_first, abs=SLACK)


@pytest.mark.parametrize("how", MAKERS)
def test_what_is_larger_than_the_limit_never_fits(how: str) -> None:
    assert MAKERS[how](5).wait_s(6, 0.0) == math.inf
    assert MAKERS[how](0).wait_s(1, 0.0) == math.inf


@pytest.mark.parametrize(
    ("limit", "window_s", "share"), [(500, 60.0, 500), (500, 10.0, 83), (500, 1.0, 8), (60_000, 1.0, 1_000), (5, 1.0, 1)]
)
def test_a_fixed_window_holds_its_share_of_the_limit_in_whole_things(limit: int, window_s: float, share: int) -> None:
    window = Fixed(limit, window_s)
    assert window.wait_s(share, 0.25) == 0
    assert window.wait_s(share + 1, 0.25) == math.inf
    window.charge(share, 0.25)
    assert window.used(0.25) == limit
    assert window.wait_s(1, 0.25) == pytest.approx(window_s - 0.25)


@pytest.mark.parametrize("how", MAKERS)
def test_a_charge_long_after_the_last_one_counts_alone(how: str) -> None:
    window, fresh = MAKERS[how](300), MAKERS[how](300)
    window.charge(4, 100.0)
    window.charge(2, 500.0)
    fresh.charge(2, 500.0)
    assert window.used(500.0) == pytest.approx(fresh.used(500.0))


def test_the_counter_weighs_the_last_minute_by_what_the_last_60_s_still_cover_of_it() -> None:
    window = Counter(10)
    window.charge(10, 30.0)
    assert window.used(59.0) == 10
    assert window.used(75.0) == pytest.approx(7.5)
    assert window.wait_s(3, 75.0) == pytest.approx(3)
    window.charge(2, 75.0)
    assert window.used(90.0) == pytest.approx(7)
    assert window.full_s(90.0) == pytest.approx(90)
    assert window.used(180.0) == 0


def test_the_counter_forgets_everything_over_a_whole_idle_minute() -> None:
    window = Counter(10)
    window.charge(10, 59.0)
    assert window.used(120.0) == 0
    assert window.wait_s(10, 120.0) == 0


def test_a_long_log_is_tidied_without_a_trace() -> None:
    tidied, fresh = Sliding(1_000), Sliding(1_000)
    for step in range(6_000):
        tidied.charge(1, step * 0.1)
        if step >= 5_400:
            fresh.charge(1, step * 0.1)
    for now in (600.0, 610.0, 650.0):
        assert tidied.used(now) == fresh.used(now)
        assert tidied.wait_s(900, now) == fresh.wait_s(900, now)
        assert tidied.full_s(now) == fresh.full_s(now)


def test_a_full_bucket_of_5_a_minute_waits_12_s_and_a_part_refilled_one_less() -> None:
    bucket = Continuous(5, 60.0)
    bucket.charge(5, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(12)
    assert bucket.wait_s(1, 9.6) == pytest.approx(2.4)


def test_a_bucket_too_small_for_one_image_still_lets_one_through() -> None:
    bucket = Continuous(5, 1.0)
    assert bucket.wait_s(1, 0.0) == 0
    bucket.charge(1, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(12)


def test_calls_that_are_charged_although_rejected_put_no_bucket_in_debt() -> None:
    bucket = Continuous(60, 60.0)
    for _ in range(500):
        bucket.charge(1, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(1)


@pytest.mark.parametrize("how", WHOLE_MINUTES)
def test_a_limit_cut_in_half_holds_from_then_on(how: str) -> None:
    window = WHOLE_MINUTES[how](10)
    window.charge(5, 1.0)
    window.resize(5, 2.0)
    assert window.limit == 5
    assert window.wait_s(6, 2.0) == math.inf
    assert window.wait_s(5, 122.0 if how == "counter" else 62.0) == 0
