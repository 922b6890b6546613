from __future__ import annotations

import math

import attrs
import pytest

from headrace.admission.booking import Booking, Cost
from headrace.admission.books import Known
from headrace.admission.calls import FIRST
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.admission.tally import REMEMBERED
from headrace.models import Limits
from headrace.records import Kind, Problem, Usage
from headrace.told import CALLS, Level, Refusal, Told

ONE = Cost(images=1, tokens=100)


def pool(*, name: str = "p", keys: tuple[Key, ...] | None = None, **limits: float) -> Pool:
    return Pool(name, Limits(**limits), keys or (Key("k"),))  # type: ignore[arg-type]  # one shorthand for limits of both types


def problem(kind: Kind, retry_after_s: float | None = None) -> Problem:
    return Problem(kind=kind, message=kind.value, retry_after_s=retry_after_s)


def test_a_cost_above_a_limit_is_named_with_both_numbers() -> None:
    studio = pool(name="studio", images_per_minute=5, tokens_per_minute=10_000)
    assert studio.too_large(Cost(images=6, tokens=1)) == "6 images, and pool studio allows 5 a minute"
    assert studio.too_large(Cost(images=1, tokens=12_345)) == "12,345 tokens, and pool studio allows 10,000 a minute"
    assert studio.too_large(Cost(images=5, tokens=10_000)) is None
    assert pool().too_large(Cost(images=10**9, tokens=10**9)) is None


def test_the_tightest_limit_decides_when_a_request_may_start() -> None:
    studio = pool(images_per_minute=5, tokens_per_minute=60_000, requests_per_minute=300)
    assert studio.earliest(ONE, 3.0) == 3.0
    studio.take(ONE, 3.0)
    assert studio.earliest(ONE, 3.0) == pytest.approx(3.0 + 60 / (5 * 0.99))


def test_a_refused_call_stays_charged() -> None:
    studio = pool(images_per_minute=5)
    studio.failed(studio.take(ONE, 0.0), problem(Kind.RATE_LIMITED, 1.0), 0.0)
    assert studio.earliest(Cost(images=5, tokens=0), 2.0) == 61.0
    books = studio.statistics(2.0)
    assert (books.refused, books.calls, books.admitted["images"]) == (1, 1, 1)


def test_a_released_request_leaves_the_books_as_they_were() -> None:
    studio = pool(images_per_minute=300, max_concurrency=3)
    studio.succeeded(studio.take(ONE, 0.0), None, 1.0)
    before = studio.statistics(1.0)
    booking = studio.take(Cost(images=4, tokens=1_000), 1.0)
    studio.released(booking)
    assert attrs.evolve(studio.statistics(1.0), last_at=before.last_at) == before
    assert booking.key.in_flight == 0


def test_the_books_hold_the_tokens_that_were_billed() -> None:
    studio = pool(tokens_per_minute=10_000)
    studio.succeeded(studio.take(Cost(images=1, tokens=1_000), 0.0), Usage(input_tokens=10, output_tokens=290), 5.0)
    assert studio.statistics(5.0).admitted["tokens"] == 300


def test_usage_trues_the_tokens_up() -> None:
    studio = pool(tokens_per_minute=6_000)
    booking = studio.take(Cost(images=1, tokens=5_000), 0.0)
    assert studio.earliest(Cost(images=1, tokens=2_000), 10.0) > 60.0
    studio.succeeded(booking, Usage(input_tokens=10, output_tokens=90), 10.0)
    assert studio.earliest(Cost(images=1, tokens=2_000), 10.0) == 10.0


def test_a_call_that_leaves_long_after_it_was_admitted_is_booked_once_and_when_it_was_admitted() -> None:
    studio = pool(tokens_per_minute=10_000)
    bucket = studio.meters.by_name["tokens"].bucket
    first, _ = studio.take(ONE, 0.0), studio.take(ONE, 30.0)
    assert bucket.used(70.0) == 100
    late = first.started(70.0)
    assert [charge.left_at for charge in late.charges.values()] == [70.0]
    studio.succeeded(late, Usage(input_tokens=1_000, output_tokens=1_000), 80.0)
    assert bucket.used(80.0) == 100  # the minute that it was admitted in is over


def test_an_answer_without_usage_keeps_the_estimate() -> None:
    studio = pool(tokens_per_minute=6_000)
    studio.succeeded(studio.take(Cost(images=1, tokens=5_000), 0.0), None, 10.0)
    assert studio.earliest(Cost(images=1, tokens=2_000), 10.0) > 60.0


def test_there_is_no_room_above_the_calls_at_once() -> None:
    studio = pool(max_concurrency=2)
    first = studio.take(ONE, 0.0)
    assert studio.has_room
    studio.take(ONE, 0.0)
    assert not studio.has_room
    studio.succeeded(first, None, 1.0)
    assert studio.has_room


def test_the_key_with_fewer_calls_for_its_weight_is_used() -> None:
    light, heavy = Key("light"), Key("heavy", weight=3.0)
    studio = pool(keys=(light, heavy))
    for _ in range(40):
        studio.take(ONE, 0.0)
    assert (light.in_flight, heavy.in_flight) == (10, 30)


def test_a_key_that_failed_is_avoided_and_forgiven_with_time() -> None:
    key = Key("k")
    assert key.health(0.0) == 1.0
    key.ended(failed=True, now=0.0)
    assert key.health(0.0) == pytest.approx(0.7)
    assert key.health(60.0) == pytest.approx(1 - 0.3 / math.e)
    assert key.health(600.0) == pytest.approx(1.0, abs=1e-4)


def test_health_stays_between_0_and_1_and_a_success_mends_it() -> None:
    key = Key("k")
    for _ in range(100):
        key.ended(failed=True, now=0.0)
    ill = key.health(0.0)
    assert 0.0 <= ill < 0.01
    key.ended(failed=False, now=0.0)
    assert ill < key.health(0.0) < 1.0


def test_the_score_is_what_is_free_times_weight_times_health() -> None:
    key = Key("k", weight=2.0)
    studio = pool(keys=(key,), images_per_minute=300)
    assert studio.score(0.0) == 2.0
    studio.take(Cost(images=75, tokens=0), 0.0)
    assert studio.score(0.0) == pytest.approx(0.75 * 2.0)
    key.ended(failed=True, now=0.0)
    assert studio.score(0.0) == pytest.approx(0.75 * 2.0 * 0.7)


def test_money_benches_the_pool_and_a_bad_key_only_the_key() -> None:
    one, other = Key("one"), Key("other")
    studio = pool(keys=(one, other))
    booking = studio.take(ONE, 0.0)
    studio.failed(booking, problem(Kind.AUTH), 0.0)
    assert booking.key.benched == "auth"
    assert studio.alive
    assert studio.take(ONE, 0.0).key is not booking.key
    studio.failed(studio.take(ONE, 0.0), problem(Kind.BILLING), 0.0)
    assert not studio.alive
    assert list(studio.reasons()) == ["pool p: billing"]


def test_a_pool_whose_keys_are_all_benched_is_dead_and_says_why() -> None:
    studio = pool(keys=(Key("one"), Key("other")))
    studio.failed(studio.take(ONE, 0.0), problem(Kind.AUTH), 0.0)
    studio.failed(studio.take(ONE, 0.0), problem(Kind.FORBIDDEN), 0.0)
    assert not studio.alive
    assert not studio.has_room
    assert sorted(studio.reasons()) == ["key one: auth", "key other: forbidden"]


@pytest.mark.parametrize("kind", [Kind.MODERATION_BLOCKED, Kind.BAD_REQUEST, Kind.INTERRUPTED, Kind.MODEL_NOT_FOUND])
def test_what_the_prompt_is_to_blame_for_harms_neither_pool_nor_key(kind: Kind) -> None:
    studio = pool()
    for _ in range(50):
        studio.failed(studio.take(ONE, 0.0), problem(kind), 0.0)
    assert studio.earliest(ONE, 0.0) == 0.0
    assert studio.score(0.0) == 1.0
    assert studio.statistics(0.0).state == "ready"


def test_the_pause_after_a_refusal_is_what_the_server_asks_for() -> None:
    studio = pool()
    studio.failed(studio.take(ONE, 10.0), problem(Kind.RATE_LIMITED, 12.0), 10.0)
    assert studio.earliest(ONE, 10.0) == 22.0
    studio.failed(studio.take(ONE, 11.0), problem(Kind.RATE_LIMITED, 2.0), 11.0)
    assert studio.earliest(ONE, 11.0) == 22.0, "a shorter pause does not cut a longer one short"


def test_the_pause_doubles_where_the_server_says_nothing_and_starts_over_after_a_success() -> None:
    studio = pool()
    now, pauses = 0.0, []
    for _ in range(8):
        studio.failed(studio.take(ONE, now), problem(Kind.RATE_LIMITED), now)
        pauses.append(studio.earliest(ONE, now) - now)
        now = studio.earliest(ONE, now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    studio.succeeded(studio.take(ONE, now), None, now)
    studio.failed(studio.take(ONE, now), problem(Kind.RATE_LIMITED), now)
    assert studio.earliest(ONE, now) == now + 1.0


def test_a_burst_that_is_refused_as_one_pauses_once() -> None:
    studio = pool()
    for booking in [studio.take(ONE, 0.0) for _ in range(20)]:
        studio.failed(booking, problem(Kind.SLOW_DOWN), 0.0)
    assert studio.earliest(ONE, 0.0) == 1.0


def test_a_server_that_goes_on_refusing_without_a_wait_is_asked_less_and_less_often() -> None:
    studio = pool()
    now, starts = 0.0, []
    for _ in range(12):
        now = studio.earliest(ONE, now)
        starts.append(now)
        studio.failed(studio.take(ONE, now), problem(Kind.RATE_LIMITED, retry_after_s=0.0), now)
    assert starts[1] == 0.01
    assert starts[-1] - starts[-2] == pytest.approx(1.0)
    studio.succeeded(studio.take(ONE, now), None, now)
    studio.failed(studio.take(ONE, now + 60), problem(Kind.RATE_LIMITED, retry_after_s=0.0), now + 60)
    assert studio.earliest(ONE, now + 60) == pytest.approx(now + 60.01)


def filled(studio: Pool, now: float) -> list[Booking]:
    """As many as it has room for."""
    bookings = []
    while studio.has_room:
        bookings.append(studio.take(ONE, now))
        assert len(bookings) <= 4 * FIRST
    return bookings


def test_a_pool_without_limits_finds_how_many_calls_at_once_its_server_bears() -> None:
    studio = pool()
    bookings = filled(studio, 0.0)
    assert len(bookings) == FIRST
    for booking in bookings[:6]:
        studio.failed(booking, problem(Kind.SLOW_DOWN), 1.0)
    assert not studio.has_room, "those that were let in are what it bears"
    for booking in bookings[6:]:
        studio.succeeded(booking, None, 2.0)
    assert len(filled(studio, 4.0)) == FIRST - 6


def test_too_many_at_once_cuts_the_calls_and_pauses_nothing_while_others_are_out() -> None:
    studio = pool(max_concurrency=4)
    first, *others = filled(studio, 0.0)
    studio.failed(first, problem(Kind.SLOW_DOWN), 1.0)
    assert studio.statistics(1.0).state == "ready"
    assert not studio.has_room
    studio.succeeded(others[0], None, 5.0)
    assert studio.has_room
    assert studio.earliest(ONE, 5.0) == 5.0


def test_too_many_at_once_pauses_where_nothing_else_is_out_or_the_server_asks_for_a_wait() -> None:
    alone, asked = pool(max_concurrency=4), pool(max_concurrency=4)
    alone.failed(alone.take(ONE, 0.0), problem(Kind.SLOW_DOWN), 0.0)
    assert alone.earliest(ONE, 0.0) == 1.0
    first, *_ = filled(asked, 0.0)
    asked.failed(first, problem(Kind.SLOW_DOWN, 7.0), 0.0)
    assert asked.earliest(ONE, 0.0) == 7.0


def test_a_refusal_that_names_calls_at_once_is_one_whatever_its_code() -> None:
    studio = pool(images_per_minute=300)
    bookings = [studio.take(ONE, 0.0) for _ in range(8)]
    studio.failed(bookings.pop(), problem(Kind.RATE_LIMITED), 1.0, Told(refusal=Refusal(resource=CALLS)))
    known = {each.resource: each.limit for each in studio.statistics(1.0).known}
    assert known == {"images": 300, CALLS: 7}


def test_once_a_rate_is_known_it_bounds_the_calls_instead_of_the_slow_start() -> None:
    refused, heard = pool(), pool()
    first, *_ = filled(refused, 0.0)
    refused.failed(first, problem(Kind.RATE_LIMITED, 1.0), 0.5, Told(refusal=Refusal(resource="images", limit=6_000)))
    first, *_ = filled(heard, 0.0)
    heard.succeeded(first, None, 0.5, Told(levels=(Level(resource="images", limit=6_000, remaining=5_000, reset_s=10.0),)))
    for studio in (refused, heard):
        now = 2.0
        for _ in range(5 * FIRST):
            assert studio.has_room
            now = studio.earliest(ONE, now)
            studio.take(ONE, now)


def test_it_is_for_the_models_that_its_patterns_name_and_for_all_where_there_are_none() -> None:
    some = Pool("some", Limits(), [Key("k")], models=("gpt-image-2.5-*", "dall-e-3"))
    names = ("gpt-image-2.5-flare", "dall-e-3", "gpt-image-2", "gpt-image-2.5", "")
    assert [some.serves(name) for name in names] == [True, True, False, False, False]
    assert all(pool().serves(name) for name in names)
    assert not some.fits(Cost(images=1, tokens=1, model="gpt-image-2"))


def test_the_books_say_of_each_limit_where_it_came_from_and_what_the_server_offers() -> None:
    studio = Pool("p", Limits(images_per_minute=50, max_concurrency=9), [Key("k")], sources={"images": "tier 3", CALLS: "admin"})
    told = Told(levels=(Level(resource="images", limit=250, remaining=249), Level(resource="tokens", limit=9_000, remaining=8_000)))
    studio.succeeded(studio.take(ONE, 0.0), None, 1.0, told)
    assert studio.statistics(1.0).known == (
        Known(resource="images", limit=50, source="tier 3", offered=250, used=1.0),
        Known(resource="tokens", limit=9_000, source="header"),
        Known(resource=CALLS, limit=9, source="admin"),
    )


def test_the_books_keep_the_last_words_of_refusals_and_whose_limits_they_are() -> None:
    studio = pool(images_per_minute=6_000)
    for n in range(REMEMBERED + 2):
        told = Told(organisation="org-1", project="proj_2", refusal=Refusal(resource="images", owner="project proj_2"))
        studio.failed(studio.take(ONE, float(n)), Problem(kind=Kind.RATE_LIMITED, message=f"no. {n}"), float(n), told)
    books = studio.statistics(9.0)
    assert books.refusals == tuple(f"no. {n}" for n in range(2, REMEMBERED + 2))
    assert books.owners == ("org-1/proj_2", "project proj_2")
