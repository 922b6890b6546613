from __future__ import annotations

from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.booking import Booking, Cost
from headrace.admission.breaker import Breaker
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.records import Kind, Problem

COST = Cost(images=1, tokens=100)
DOWN = Problem(kind=Kind.SERVER_ERROR, message="down", status=500, retryable=True)


def called(breaker: Breaker, *, failed: bool, now: float) -> None:
    breaker.ended(failed=failed, probe=breaker.started(), now=now)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(10):
        called(breaker, failed=True, now=now)
    return breaker


def probed(breaker: Breaker, *, failed: bool, now: float) -> None:
    probe = breaker.started()
    assert probe
    assert breaker.probing
    breaker.ended(failed=failed, probe=probe, now=now)


def broken_pool() -> Pool:
    """A pool whose breaker opened at time 0, and whose limit is not in the way."""
    pool = Pool("p", Limits(images_per_minute=6_000), [Key("k")])
    for booking in [pool.take(COST, 0.0) for _ in range(10)]:
        pool.failed(booking, DOWN, 0.0)
    return pool


def test_it_opens_when_more_than_half_of_the_last_20_calls_failed() -> None:
    breaker = Breaker()
    for _ in range(10):
        for failed in (False, True):
            called(breaker, failed=failed, now=1.0)
    assert not breaker.is_open, "half is not more than half"
    called(breaker, failed=True, now=2.0)
    # The oldest of the 21, a success, fell out: 11 of 20.
    assert breaker.is_open
    assert breaker.open_until == 32.0


def test_it_stays_closed_while_it_has_seen_too_little() -> None:
    breaker = Breaker()
    for _ in range(9):
        called(breaker, failed=True, now=0.0)
    assert not breaker.is_open


def test_only_the_last_20_calls_count() -> None:
    breaker = Breaker()
    for _ in range(40):
        called(breaker, failed=False, now=0.0)
    for _ in range(10):
        called(breaker, failed=True, now=1.0)
    assert not breaker.is_open
    called(breaker, failed=True, now=1.0)
    assert breaker.is_open


def test_one_probe_after_30_s_closes_it_by_succeeding() -> None:
    breaker = opened(now=5.0)
    assert breaker.open_until == 35.0
    probed(breaker, failed=False, now=40.0)
    assert not breaker.is_open
    assert not breaker.probing
    assert breaker.open_until < 40.0


def test_a_failed_probe_holds_back_for_another_30_s() -> None:
    breaker = opened()
    probed(breaker, failed=True, now=31.0)
    assert breaker.is_open
    assert not breaker.probing
    assert breaker.open_until == 61.0


def test_ten_failed_probes_in_a_row_are_hopeless_and_nine_are_not() -> None:
    breaker = opened()
    for n in range(9):
        probed(breaker, failed=True, now=30.0 * (n + 1))
    assert not breaker.hopeless
    probed(breaker, failed=True, now=300.0)
    assert breaker.hopeless


def test_a_success_forgets_the_failed_probes() -> None:
    breaker = opened()
    for n in range(9):
        probed(breaker, failed=True, now=30.0 * (n + 1))
    probed(breaker, failed=False, now=300.0)
    breaker = opened()
    probed(breaker, failed=True, now=400.0)
    assert breaker.failed_probes == 1


def test_failures_from_before_it_opened_are_no_failed_probes() -> None:
    breaker = opened()
    for _ in range(30):
        breaker.ended(failed=True, probe=False, now=1.0)
    assert breaker.failed_probes == 0
    assert breaker.open_until == 30.0


def test_a_pool_lets_one_probe_out_at_a_time() -> None:
    pool = broken_pool()
    assert pool.earliest(COST, 1.0) == 30.0
    probe = pool.take(COST, 30.0)
    assert not pool.has_room
    pool.succeeded(probe, None, 31.0)
    assert pool.has_room
    assert pool.earliest(COST, 31.0) == 31.0


def test_a_probe_that_is_refused_for_its_pace_does_not_wedge_the_pool() -> None:
    pool = broken_pool()
    for n in range(30):
        now = max(30.0, pool.earliest(COST, 30.0 + n))
        pool.failed(pool.take(COST, now), Problem(kind=Kind.RATE_LIMITED, message="slow", retry_after_s=2.0), now)
        assert pool.has_room
        assert pool.earliest(COST, now) == now + 2.0
    assert pool.alive


def test_a_probe_that_never_left_or_was_cancelled_does_not_wedge_the_pool() -> None:
    pool = broken_pool()
    pool.released(pool.take(COST, 30.0))
    assert pool.has_room
    assert pool.earliest(COST, 31.0) == 31.0
    pool.failed(pool.take(COST, 31.0), Problem(kind=Kind.INTERRUPTED, message="cancelled"), 32.0)
    assert pool.has_room
    assert pool.earliest(COST, 32.0) == 32.0


def test_a_call_from_before_that_says_nothing_lets_no_second_probe_out() -> None:
    pool = Pool("p", Limits(), [Key("k")])
    old = pool.take(COST, 0.0)
    for booking in [pool.take(COST, 0.0) for _ in range(10)]:
        pool.failed(booking, DOWN, 0.0)
    pool.take(COST, 30.0)
    assert not pool.has_room
    pool.failed(old, Problem(kind=Kind.RATE_LIMITED, message="slow", retry_after_s=0.0), 31.0)
    assert not pool.has_room, "the probe is still out"


def test_a_pool_whose_probes_all_fail_is_benched_with_the_reason() -> None:
    pool = broken_pool()
    now = 0.0
    for _ in range(10):
        now = pool.earliest(COST, now)
        pool.failed(pool.take(COST, now), DOWN, now)
    assert now == 300.0
    assert not pool.alive
    assert list(pool.reasons()) == ["pool p: the last 10 probes failed: down"]


Event = tuple[str, Problem | Literal["ok", "released"], float]
PROBLEMS = [DOWN, *(Problem(kind=kind, message="") for kind in (Kind.SLOW_DOWN, Kind.MODERATION_BLOCKED, Kind.INTERRUPTED))]


def end(pool: Pool, booking: Booking, outcome: Problem | Literal["ok", "released"], now: float) -> None:
    if outcome == "ok":
        pool.succeeded(booking, None, now)
    elif outcome == "released":
        pool.released(booking)
    elif isinstance(outcome, Problem):
        pool.failed(booking, outcome, now)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["take", "end"]),
            st.sampled_from(["ok", "released"]) | st.sampled_from(PROBLEMS),
            st.sampled_from([0.0, 7.0, 31.0]),
        ),
        max_size=120,
    )
)
def test_a_pool_with_no_call_out_always_has_room_or_is_dead(
    events: list[Event],
) -> None:
    pool = Pool("p", Limits(max_concurrency=15), [Key("k")])
    out: list[Booking] = []
    now = 0.0
    opening: list[Event] = [*[("take", DOWN, 0.0)] * 12, *[("end", DOWN, 0.0)] * 11]
    for what, outcome, elapsed in opening + events:
        now += elapsed
        if what == "take" and pool.has_room and pool.earliest(COST, now) <= now:
            out.append(pool.take(COST, now))
        elif what == "end" and out:
            end(pool, out.pop(0), outcome, now)
    for booking in out:
        pool.released(booking)
    assert pool.statistics(now).in_flight == 0
    assert pool.has_room is pool.alive
    if pool.alive:
        assert pool.earliest(COST, now) <= now + 30.0
