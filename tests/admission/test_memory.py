"""What one run knows of its pools at its end, and the next one starts with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.booking import Cost
from headrace.admission.calls import FIRST
from headrace.admission.key import Key
from headrace.admission.memory import MeterMemory, PoolMemory
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.records import Kind, Problem
from headrace.told import CALLS, IMAGES, TOKENS, Level, Refusal, Told

if TYPE_CHECKING:
    from headrace.admission.books import Known

ONE = Cost(images=1, tokens=100)
MANY = 20_000
"""More than any limit here lets start."""
SLOW_DOWN = Problem(kind=Kind.SLOW_DOWN, message="Too many at once.")
TOO_FAST = Problem(kind=Kind.RATE_LIMITED, message="Too fast.", retry_after_s=1.0)


def pool(*, exceed: bool = False, **limits: float) -> Pool:
    return Pool("p", Limits(**limits), [Key("k")], exceed=exceed)  # type: ignore[arg-type]  # one shorthand for both types


def restarted(before: Pool, ended_at: float, age_s: float, now: float, *, exceed: bool = False, **limits: float) -> Pool:
    """A pool of the next run, on whose clock it is ``now``."""
    after = pool(exceed=exceed, **limits)
    after.recall(before.memory(ended_at), age_s, now)
    return after


def refused_for(studio: Pool, resource: str, limit: float, now: float) -> None:
    studio.failed(studio.take(ONE, now), TOO_FAST, now, Told(refusal=Refusal(resource=resource, limit=limit)))


def known(studio: Pool, resource: str = IMAGES) -> Known:
    return next(each for each in studio.known() if each.resource == resource)


def started(studio: Pool, now: float, seconds: float, cost: Cost = ONE) -> list[float]:
    """When requests of a client that always has work start."""
    end = now + seconds
    times: list[float] = []
    while (now := studio.earliest(cost, now)) < end:
        assert len(times) < MANY
        studio.take(cost, now)
        times.append(now)
    return times


def test_a_limit_that_was_learnt_is_used_from_the_first_call_of_the_next_run_with_its_source() -> None:
    before = pool()
    refused_for(before, IMAGES, 30, 1.0)
    after = restarted(before, ended_at=100.0, age_s=5.0, now=7.0)
    assert (known(after).limit, known(after).source) == (30, "refusal")
    assert len(started(after, 7.0, 60.0)) <= 30


def test_the_limits_of_what_nobody_named_are_kept_too() -> None:
    before = pool(images_per_minute=300)
    before.succeeded(before.take(ONE, 0.0), None, 1.0, Told(levels=(Level(resource=TOKENS, limit=9_000, remaining=8_900),)))
    after = restarted(before, 2.0, 3_600.0, 0.0, images_per_minute=300)
    assert (known(after, TOKENS).limit, known(after, TOKENS).source) == (9_000, "header")


def test_what_was_tried_last_is_tried_first() -> None:
    before = pool(images_per_minute=600)
    now = 0.0
    while known(before).scale == 1.0 and now < 600.0:
        now = before.earliest(ONE, now)
        booking = before.take(ONE, now)
        before.failed(booking, TOO_FAST, now)
        now += 10.0
    after = restarted(before, now, 0.0, 50.0, images_per_minute=600)
    assert known(after).scale == known(before).scale < 1.0
    assert (known(after).limit, known(after).source) == (600, "settings")


def test_calls_at_once_that_were_found_are_where_the_next_run_starts() -> None:
    before = pool()
    bookings = [before.take(ONE, 0.0) for _ in range(FIRST)]
    before.failed(bookings.pop(), SLOW_DOWN, 1.0)
    after = restarted(before, 1.0, 100.0, 0.0)
    assert known(after, CALLS).limit == FIRST - 1
    for _ in range(FIRST - 1):
        after.take(ONE, 0.0)
    assert not after.has_room


def test_where_a_rate_was_learnt_the_next_run_needs_no_slow_start() -> None:
    before = pool()
    refused_for(before, IMAGES, 6_000, 1.0)
    after = restarted(before, 1.0, 100.0, 0.0)
    assert len(started(after, 0.0, 60.0)) > 5_000
    assert after.has_room


@pytest.mark.parametrize("named", [200, 400])
def test_another_limit_in_the_settings_voids_what_was_learnt(named: int) -> None:
    before = pool(images_per_minute=300)
    refused_for(before, IMAGES, 100, 1.0)
    after = restarted(before, 2.0, 0.0, 0.0, images_per_minute=named)
    assert (known(after).limit, known(after).source, known(after).scale) == (named, "settings", 1.0)


def test_a_limit_that_the_settings_name_no_longer_is_not_known_any_more() -> None:
    before = pool(images_per_minute=300)
    after = restarted(before, 2.0, 0.0, 0.0, tokens_per_minute=5_000)
    assert [each.resource for each in after.known() if each.limit is not None] == [TOKENS]


def test_another_limit_in_the_settings_does_not_void_what_was_charged() -> None:
    before = pool(images_per_minute=300)
    times = started(before, 0.0, 20.0)
    after = restarted(before, 20.0, 1.0, 21.0, images_per_minute=200)
    times += started(after, 21.0, 60.0)
    assert sum(21.0 <= at <= 60.0 for at in times) <= 200 - 99


def test_a_limit_that_was_learnt_where_the_settings_were_only_a_start_is_void_where_they_are_the_bound() -> None:
    before = pool(images_per_minute=300, exceed=True)
    refused_for(before, IMAGES, 600, 1.0)
    assert known(before).limit == 600
    after = restarted(before, 2.0, 0.0, 0.0, images_per_minute=300)
    assert known(after).limit == 300
    assert after.too_large(Cost(images=400, tokens=1)) is not None
    assert len(started(after, 0.0, 60.0)) <= 300


def test_what_is_older_than_a_minute_takes_nothing_of_the_next_run() -> None:
    before = pool(images_per_minute=5)
    times = started(before, 0.0, 60.0)
    assert len(times) == 5
    after = restarted(before, 60.0, 61.0, 3.0, images_per_minute=5)
    assert after.earliest(Cost(images=5, tokens=1), 3.0) == 3.0


def test_after_a_restart_nothing_starts_ahead_of_the_pace() -> None:
    before = pool(images_per_minute=600)
    before.take(ONE, 0.0)
    after = restarted(before, 30.0, 10.0, 5.0, images_per_minute=600)
    at_once = started(after, 5.0, 1e-9)
    assert len(at_once) == 1


def test_who_owns_it_and_what_the_api_said_last_are_kept() -> None:
    before = pool(images_per_minute=300)
    told = Told(organisation="org-1", project="proj_1", refusal=Refusal(resource=IMAGES, limit=300))
    before.failed(before.take(ONE, 0.0), TOO_FAST, 0.0, told)
    memory = before.memory(5.0)
    assert (memory.name, memory.owners, memory.refusals) == ("p", ("org-1/proj_1",), ("Too fast.",))


def test_the_last_minutes_charges_are_kept_in_steps_of_a_second_however_many_they_are() -> None:
    before = pool(images_per_minute=6_000)
    times = started(before, 100.0, 90.0)
    assert len(times) > 8_000
    (meter,) = before.memory(190.0).meters
    assert len(meter.recent) <= 62
    assert sum(cost for _, cost in meter.recent) == pytest.approx(sum(at > 130.0 for at in times), rel=0.02)
    assert all(0.0 <= ago <= 61.0 for ago, _ in meter.recent)


def test_what_a_file_may_hold_of_unknown_resources_is_left_alone() -> None:
    after = pool(images_per_minute=300)
    odd = MeterMemory(resource="videos", named=None, limit=3.0, source="header", level=3.0)
    after.recall(PoolMemory(name="p", meters=(odd,)), 0.0, 0.0)
    assert [each.resource for each in after.known()] == [IMAGES]


SIZES = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=40)


@settings(max_examples=100, deadline=None)
@given(limit=st.sampled_from([30, 60, 100, 600]), runs=st.lists(st.tuples(SIZES, st.floats(0, 80)), min_size=2, max_size=4))
def test_no_minute_across_restarts_holds_more_than_the_limit(limit: int, runs: list[tuple[list[tuple[float, int]], float]]) -> None:
    wall, charged = 1_000.0, list[tuple[float, int]]()
    memory: PoolMemory | None = None
    for n, (arrivals, gap) in enumerate(runs):
        # Each run has a clock of its own.
        studio, zero = pool(images_per_minute=limit), wall - 17.0 * n
        if memory is not None:
            studio.recall(memory, gap, wall - zero)
        for elapsed, images in arrivals:
            cost = attrs.evolve(ONE, images=images)
            wall = zero + studio.earliest(cost, wall + elapsed - zero)
            studio.take(cost, wall - zero)
            charged.append((wall, images))
        memory, wall = studio.memory(wall - zero), wall + (runs[n + 1][1] if n + 1 < len(runs) else 0.0)
    for at, _ in charged:
        assert sum(images for other, images in charged if at <= other <= at + 59.999) <= limit
