from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace.admission.booking import Booking, Cost
from headrace.admission.key import Key
from headrace.admission.meters import SPREAD, Meters
from headrace.models import Limits
from headrace.told import CALLS, IMAGES, REQUESTS, TOKENS, Level, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE = Cost(images=1, tokens=100)
MANY = 20_000
"""More than any limit here lets start."""


def meters(*, exceed: bool = False, **limits: float) -> Meters:
    return Meters(Limits(**limits), exceed=exceed, sources={})  # type: ignore[arg-type]  # one shorthand for both types


def booked(used: Meters, cost: Cost = ONE, now: float = 0.0) -> Booking:
    return Booking(Key("k"), cost, used.take(cost, now), now, probe=False)


def saturated(used: Meters, seconds: float, cost: Cost = ONE, start: float = 0.0) -> Iterator[tuple[float, Cost]]:
    """When requests of a client that always has work start."""
    now = start
    for _ in range(MANY):
        if (now := used.earliest(cost, now)) >= start + seconds:
            return
        used.take(cost, now)
        yield now, cost
    raise AssertionError


def limits_of(used: Meters) -> dict[str, float | None]:
    return {known.resource: known.limit for known in used.known()}


def test_only_what_is_named_is_metered_and_images_where_nothing_is() -> None:
    assert limits_of(meters(tokens_per_minute=9_000, requests_per_minute=50)) == {TOKENS: 9_000, REQUESTS: 50}
    assert limits_of(meters()) == {IMAGES: None}
    assert limits_of(meters(max_concurrency=3)) == {}
    assert [meters().nothing_known, meters(max_concurrency=3).nothing_known] == [True, False]


def test_a_pause_saves_up_more_of_the_tokens_than_of_what_every_request_takes_alike() -> None:
    used = meters(tokens_per_minute=60_000)
    list(saturated(used, 30, Cost(images=1, tokens=1_000)))
    at_once = [at for at, _ in saturated(used, 1e-9, Cost(images=1, tokens=1_000), start=600.0)]
    # The second of the pace that every limit forgives, or so many of the largest, and the one whose turn it is.
    assert len(at_once) == SPREAD[TOKENS] + 1


@pytest.mark.parametrize("limits", [{"images_per_minute": 100}, {"tokens_per_minute": 60_000}])
def test_where_pictures_and_tokens_both_bind_a_mix_of_sizes_uses_nearly_all_of_the_one_that_is_short(limits: dict[str, float]) -> None:
    both = {"images_per_minute": 110.0, "tokens_per_minute": 66_000.0} | limits
    used = Meters(Limits(**both), exceed=False, sources={})  # type: ignore[arg-type]  # none of them is a number of calls
    now, sums = 0.0, {IMAGES: 0, TOKENS: 0}
    sizes = [300, 300, 1_800, 300, 300]
    for n in range(MANY):
        cost = Cost(images=1, tokens=sizes[n % 5])
        if (now := used.earliest(cost, now)) >= 600.0:
            break
        used.take(cost, now)
        sums[IMAGES] += 1
        sums[TOKENS] += cost.tokens
    assert max(sums[IMAGES] / (10 * both["images_per_minute"]), sums[TOKENS] / (10 * both["tokens_per_minute"])) >= 0.97


def test_the_first_limit_that_a_request_is_larger_than_is_named() -> None:
    used = meters(images_per_minute=5, tokens_per_minute=1_000)
    assert used.too_large(Cost(images=6, tokens=2_000)) == (IMAGES, 5)
    assert used.too_large(Cost(images=5, tokens=1_001)) == (TOKENS, 1_000)
    assert used.too_large(Cost(images=5, tokens=1_000)) is None
    assert meters().too_large(Cost(images=10**6, tokens=10**6)) is None


def test_what_binds_is_what_the_next_request_waits_for_longest() -> None:
    assert meters(max_concurrency=3).binding(0.0) == CALLS
    used = meters(images_per_minute=60, tokens_per_minute=6_000)
    booked(used, Cost(images=1, tokens=10))
    assert used.binding(0.0) == IMAGES
    booked(used, Cost(images=1, tokens=3_000), now=30.0)
    assert used.binding(30.0) == TOKENS


def test_everything_that_binds_is_taken_and_only_what_is_metered_is_corrected() -> None:
    used = meters(images_per_minute=100, tokens_per_minute=10_000)
    booking = booked(used, Cost(images=2, tokens=5_000))
    assert used.usage(0.0) == 0.5
    used.correct(booking, TOKENS, 1_000)
    used.correct(booking, REQUESTS, 0)
    assert used.usage(0.0) == 0.1


def test_a_refusal_for_something_that_nobody_had_named_makes_a_limit_of_it() -> None:
    used = meters(images_per_minute=100)
    assert used.refused(Refusal(resource=TOKENS, limit=9_000), booked(used), 1.0)
    assert limits_of(used) == {IMAGES: 100, TOKENS: 9_000}


def test_headers_of_a_limit_that_nobody_had_named_make_a_limit_of_it() -> None:
    used = meters(images_per_minute=100)
    used.heard(Level(resource=REQUESTS, limit=500, remaining=499), booked(used), 1.0)
    assert limits_of(used) == {IMAGES: 100, REQUESTS: 500}


def test_a_refusal_that_names_nothing_is_for_what_is_used_most() -> None:
    used = meters(images_per_minute=600, tokens_per_minute=600_000)
    list(saturated(used, 61))
    booking = booked(used, now=61.0)
    for _ in range(300):
        used.refused(None, booking, 61.0)
    scales = {known.resource: known.scale for known in used.known()}
    assert scales[IMAGES] < 1.0
    assert scales[TOKENS] == 1.0


def test_a_pool_that_knows_only_its_calls_at_once_counts_its_pictures_once_it_is_refused() -> None:
    used = meters(max_concurrency=3)
    assert not used.refused(None, booked(used), 1.0)
    assert limits_of(used) == {IMAGES: None}


def test_what_another_used_of_the_same_limit_counts_and_the_smaller_limit_holds() -> None:
    mine, theirs = meters(images_per_minute=300), meters(images_per_minute=200, tokens_per_minute=50_000)
    started = sum(1 for each in (mine, theirs) for _ in saturated(each, 15))
    mine.absorb(theirs, 15.0)
    assert limits_of(mine) == {IMAGES: 200, TOKENS: 50_000}
    assert mine.usage(15.0) == started / 200


@pytest.mark.parametrize(("limit", "other"), [(100, 100), (300, 100), (100, 300), (None, 100), (100, None)])
def test_after_it_took_another_in_no_minute_holds_more_than_the_smaller_limit_of_the_settings(
    limit: float | None, other: float | None
) -> None:
    mine, theirs = (meters() if each is None else meters(images_per_minute=each) for each in (limit, other))
    large = Cost(images=40, tokens=100)
    started = [(10.0, large), (10.0, large)]
    for (at, cost), each in zip(started, (mine, theirs), strict=True):
        each.take(cost, at)
    mine.absorb(theirs, 20.0)
    for start in (20.0, 150.0, 400.0):
        started += saturated(mine, 100.0, large, start)
    for at, _ in started:
        assert sum(cost.images for other_at, cost in started if at <= other_at <= at + 60) <= 100


def test_a_booking_of_the_pool_that_is_no_more_is_corrected_in_the_one_that_took_it_in() -> None:
    mine, theirs = meters(tokens_per_minute=10_000), meters(tokens_per_minute=10_000)
    booking = booked(theirs, Cost(images=1, tokens=8_000))
    mine.absorb(theirs, 1.0)
    assert mine.earliest(Cost(images=1, tokens=5_000), 1.0) > 60.0
    mine.correct(booking, TOKENS, 500)
    assert mine.usage(1.0) == 0.05
