from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.simulator.windows import MINUTE_S, Continuous, Fixed, Sliding, Window, make_window

GAPS = st.lists(st.tuples(st.floats(0, 90, allow_nan=False), st.integers(1, 4)), max_size=60)
LIMITS = st.integers(1, 12)


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


@given(GAPS, LIMITS, st.booleans())
def test_fixed_never_lets_more_than_the_limit_through_in_a_minute_of_the_clock(
    gaps: list[tuple[float, int]], limit: int, charge_rejected: bool
) -> None:
    through = accepted(Fixed(limit), gaps, charge_rejected=charge_rejected)
    for minute in {(at + 1e-6) // MINUTE_S for at, _ in through}:
        assert sum(amount for at, amount in through if (at + 1e-6) // MINUTE_S == minute) <= limit


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


@given(st.sampled_from(["continuous", "sliding", "fixed"]), GAPS, LIMITS, st.booleans())
def test_whoever_waits_as_long_as_told_fits_and_not_before(
    discipline: str, gaps: list[tuple[float, int]], limit: int, charge_rejected: bool
) -> None:
    window = make_window(discipline, limit, 60.0)  # type: ignore[arg-type] # sampled from the Literal's own values
    accepted(window, gaps, charge_rejected=charge_rejected)
    now = 100.0 + sum(gap for gap, _ in gaps)
    wait = window.wait_s(1, now)
    if wait > 0.01:
        assert window.wait_s(1, now + wait * 0.99 - 0.001) > 0
    assert window.wait_s(1, now + wait) == 0


@given(st.sampled_from(["continuous", "sliding", "fixed"]), GAPS, LIMITS)
def test_used_stays_between_nothing_and_the_limit(discipline: str, gaps: list[tuple[float, int]], limit: int) -> None:
    window = make_window(discipline, limit, 60.0)  # type: ignore[arg-type] # sampled from the Literal's own values
    now = 100.0
    for gap, amount in gaps:
        now += gap
        window.charge(amount, now)
        assert -1e-6 <= window.used(now) <= limit + 1e-6
        assert 0 <= window.full_s(now) <= MINUTE_S + 1e-6
    assert window.used(now + MINUTE_S) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("discipline", ["continuous", "sliding", "fixed"])
def test_what_is_larger_than_the_limit_never_fits(discipline: str) -> None:
    window = make_window(discipline, 5, 60.0)  # type: ignore[arg-type] # one of the Literal's own values
    assert window.wait_s(6, 0.0) == math.inf
    assert make_window(discipline, 0, 60.0).wait_s(1, 0.0) == math.inf  # type: ignore[arg-type] # as above


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


@pytest.mark.parametrize("discipline", ["continuous", "sliding", "fixed"])
def test_a_limit_cut_in_half_holds_from_then_on(discipline: str) -> None:
    window = make_window(discipline, 10, 60.0)  # type: ignore[arg-type] # one of the Literal's own values
    window.charge(5, 1.0)
    window.resize(5, 2.0)
    assert window.limit == 5
    assert window.wait_s(6, 2.0) == math.inf
    assert window.wait_s(5, 62.0) == 0
