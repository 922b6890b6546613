from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from headrace.admission import ledger
from headrace.admission.booking import Cost
from headrace.admission.key import Key
from headrace.admission.permit import Permit
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.records import Kind, Problem
from headrace.told import Refusal, Told

if TYPE_CHECKING:
    from tests.admission.conftest import Door

ONE = Cost(images=1, tokens=100)


def pool(name: str = "p", *, keys: tuple[Key, ...] | None = None, **limits: float) -> Pool:
    return Pool(name, Limits(**limits), keys or (Key(f"key of {name}"),))  # type: ignore[arg-type]  # one shorthand for both types


def problem(kind: Kind, retry_after_s: float | None = None) -> Problem:
    return Problem(kind=kind, message=kind.value, retry_after_s=retry_after_s)


def test_who_waits_starts_at_the_very_moment_its_limit_allows(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=5)) as (gate, _):
            starts = []
            for _ in range(5):
                (await door.permit_of(gate)).succeeded(None)
                starts.append(trio.current_time())
            spacing = 60 / (5 * 0.99)
            assert starts == pytest.approx([n * spacing for n in range(5)])
            await door.permit_of(gate)
            assert trio.current_time() == 61.0

    door.run(main)


def test_images_tokens_requests_and_calls_at_once_are_taken_together_or_not_at_all(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=300, tokens_per_minute=1_000, requests_per_minute=600, max_concurrency=9)) as (
            gate,
            nursery,
        ):
            await door.permit_of(gate, Cost(images=1, tokens=900))
            before = gate.statistics()
            waiting = await door.queued(gate, nursery, Cost(images=3, tokens=900))
            assert gate.statistics() == before
            await trio.sleep(59)
            assert waiting.outcome is None
            await trio.sleep(30)
            (books,) = gate.statistics()
            assert books.admitted == {"images": 4, "tokens": 1_800, "requests": 2}
            assert books.in_flight == 2

    door.run(main)


def test_pools_of_very_different_size_are_all_used_to_their_limits(door: Door) -> None:
    async def main() -> None:
        pools = [pool(str(n), images_per_minute=limit) for n, limit in enumerate((5, 5, 50, 250))]
        async with door.opened(*pools) as (gate, nursery):

            async def client() -> None:
                while True:
                    permit = await door.permit_of(gate)
                    await trio.sleep(8)
                    permit.succeeded(None)

            for _ in range(80):
                nursery.start_soon(client)
            await trio.sleep(599.9)
            admitted = [books.admitted["images"] for books in gate.statistics()]
        # Small limits keep a second between two minutes: 60/61.
        assert sum(admitted) >= 0.985 * 310 * 10
        for used, limit in zip(admitted, (5, 5, 50, 250), strict=True):
            assert 0.98 * limit * 10 <= used <= limit * 10

    door.run(main)


def test_among_pools_that_can_start_it_now_the_one_with_most_left_times_weight_times_health_is_used(door: Door) -> None:
    async def main() -> None:
        used, heavy, fresh = (
            pool("used", images_per_minute=300),
            pool("heavy", images_per_minute=300, keys=(Key("h", weight=1.5),)),
            pool("fresh", images_per_minute=300),
        )
        used.take(Cost(images=2, tokens=0), 0.0)
        async with door.opened(used, heavy, fresh) as (gate, _):
            await trio.sleep(5)
            assert (await door.permit_of(gate)).pool is heavy
            heavy.keys[0].ended(failed=True, now=5.0)
            heavy.keys[0].ended(failed=True, now=5.0)
            await trio.sleep(1)
            assert (await door.permit_of(gate)).pool is fresh
            # 1 - 2/300 against 1.5 x 0.49 x (1 - 1/300), until the key is forgiven.
            fresh.benched = "test"
            await trio.sleep(1)
            assert (await door.permit_of(gate)).pool is used
            await trio.sleep(60)
            assert (await door.permit_of(gate)).pool is heavy

    door.run(main)


def test_a_refusal_pauses_its_pool_alone_and_the_request_goes_to_the_pool_that_is_ready_first(door: Door) -> None:
    async def main() -> None:
        fast, slow = pool("fast", images_per_minute=3_000, keys=(Key("f", weight=9.0),)), pool("slow", images_per_minute=30)
        async with door.opened(fast, slow) as (gate, nursery):
            permit = await door.permit_of(gate)
            assert permit.pool is fast
            permit.failed(problem(Kind.RATE_LIMITED, 5.0))
            assert (await door.permit_of(gate)).pool is slow
            assert trio.current_time() == 0.0
            third, fourth = await door.queued(gate, nursery), await door.queued(gate, nursery)
            await trio.sleep(4.999)
            # slow could start the next after two seconds.
            assert third.pool == "slow"
            assert third.at == pytest.approx(60 / (30 * 0.99))
            await trio.sleep_until(6.0)
            assert fourth.pool == "slow"
            assert fourth.at == pytest.approx(2 * 60 / (30 * 0.99))
            assert (await door.permit_of(gate)).pool is fast
            assert trio.current_time() == 6.0

    door.run(main)


def test_the_cap_of_calls_at_once_holds_and_the_next_starts_when_one_comes_back(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(max_concurrency=2)) as (gate, nursery):
            first, _ = await door.permit_of(gate), await door.permit_of(gate)
            waiting = [await door.queued(gate, nursery) for _ in range(3)]
            await trio.sleep(100)
            assert [each.outcome for each in waiting] == [None, None, None]
            first.succeeded(None)
            await wait_all_tasks_blocked()
            assert [each.outcome is not None for each in waiting] == [True, False, False]
            assert waiting[0].at == 100.0

    door.run(main)


def test_an_outcome_counts_once(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(max_concurrency=2)) as (gate, _):
            permit = await door.permit_of(gate)
            permit.succeeded(None)
            permit.failed(problem(Kind.BILLING))
            permit.released()
            (books,) = gate.statistics()
            assert (books.in_flight, books.calls, books.state) == (0, 1, "ready")

    door.run(main)


def test_where_no_key_can_work_any_more_everyone_is_told_each_reason(door: Door) -> None:
    async def main() -> None:
        one, other = pool("one", max_concurrency=1), pool("other", max_concurrency=1)
        async with door.opened(one, other) as (gate, nursery):
            first, second = await door.permit_of(gate), await door.permit_of(gate)
            waiting = [await door.queued(gate, nursery) for _ in range(5)]
            await trio.sleep(1)
            first.failed(problem(Kind.BILLING))
            await wait_all_tasks_blocked()
            assert [each.outcome for each in waiting] == [None] * 5
            second.failed(problem(Kind.AUTH))
            await wait_all_tasks_blocked()
            expected = Problem(
                kind=Kind.NO_POOL, message="no key can work any more: pool one: billing; key key of other: auth", retryable=True
            )
            assert [each.outcome for each in waiting] == [expected] * 5
            assert await gate.acquire(ONE) == expected

    door.run(main)


def test_a_request_larger_than_any_limit_is_refused_at_once_with_the_numbers(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool("small", images_per_minute=2), pool("large", tokens_per_minute=50)) as (gate, _):
            refused = await gate.acquire(Cost(images=3, tokens=60))
            assert isinstance(refused, Problem)
            assert refused.kind is Kind.TOO_LARGE
            assert "3 images, and pool small allows 2 a minute" in refused.message
            assert "60 tokens, and pool large allows 50 a minute" in refused.message
            assert trio.current_time() == 0.0

    door.run(main)


def test_who_waits_for_the_only_pool_large_enough_is_told_when_it_dies(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool("small", images_per_minute=2), pool("large", max_concurrency=1)) as (gate, nursery):
            permit = await door.permit_of(gate, Cost(images=3, tokens=0))
            waiting = await door.queued(gate, nursery, Cost(images=3, tokens=0))
            await trio.sleep(7)
            assert waiting.outcome is None
            permit.failed(problem(Kind.BILLING))
            await wait_all_tasks_blocked()
            assert isinstance(waiting.outcome, Problem)
            assert waiting.outcome.kind is Kind.TOO_LARGE

    door.run(main)


@pytest.mark.parametrize("ahead", [1, 3])
def test_who_waits_for_the_only_pool_large_enough_is_told_when_it_dies_behind_others_that_wait(door: Door, ahead: int) -> None:
    async def main() -> None:
        small = pool("small", images_per_minute=2)
        async with door.opened(small, pool("large", max_concurrency=1)) as (gate, nursery):
            permit = await door.permit_of(gate, Cost(images=3, tokens=0))
            await door.permit_of(gate)
            others = [await door.queued(gate, nursery) for _ in range(ahead)]
            await wait_all_tasks_blocked()
            waiting = await door.queued(gate, nursery, Cost(images=3, tokens=0))
            await trio.sleep(1)
            assert [each.outcome for each in others] == [None] * ahead
            permit.failed(problem(Kind.BILLING))
            await wait_all_tasks_blocked()
            assert isinstance(waiting.outcome, Problem)

    door.run(main)


@pytest.mark.parametrize("models", [(), ("flare",)])
def test_who_waits_for_a_limit_that_turns_out_to_be_smaller_than_its_request_is_told(door: Door, models: tuple[str, ...]) -> None:
    async def main() -> None:
        async with door.opened(Pool("p", Limits(images_per_minute=10), [Key("k")], models=models)) as (gate, nursery):
            eight = Cost(images=8, tokens=0, model="flare")
            permit = await door.permit_of(gate, eight)
            waiting = await door.queued(gate, nursery, eight)
            permit.failed(problem(Kind.RATE_LIMITED, 1.0), Told(refusal=Refusal(resource="images", limit=5, requested=8)))
            await wait_all_tasks_blocked()
            assert isinstance(waiting.outcome, Problem)
            assert waiting.outcome.kind is Kind.TOO_LARGE

    door.run(main)


def test_who_waits_at_a_pool_for_its_model_is_not_held_up_by_those_who_wait_for_another(door: Door) -> None:
    async def main() -> None:
        large, small = Pool("large", Limits(images_per_minute=2), [Key("l")], models=("large",)), pool("small", max_concurrency=1)
        small.models = ("small",)
        async with door.opened(large, small) as (gate, nursery):
            waiting = [await door.queued(gate, nursery, Cost(images=1, tokens=0, model="large")) for _ in range(5)]
            assert [each.outcome is None for each in waiting] == [False] + [True] * 4
            for n in range(4):
                permit = await door.permit_of(gate, Cost(images=1, tokens=0, model="small"))
                assert trio.current_time() == float(n)
                await trio.sleep(1.0)
                permit.succeeded(None)

    door.run(main)


def test_the_books_say_for_how_long_each_thing_kept_a_pool_from_its_next_call(door: Door) -> None:
    async def main() -> None:
        studio = Pool("p", Limits(images_per_minute=60, max_concurrency=2), [Key("k")], models=("a",))
        async with door.opened(studio, Pool("q", Limits(max_concurrency=1), [Key("l")], models=("b",))) as (gate, nursery):
            one = Cost(images=1, tokens=0, model="a")
            out = [await door.permit_of(gate, one)]
            waiting = await door.queued(gate, nursery, one)
            await trio.sleep(2)  # it waits for its pace, and starts after one and a bit
            assert isinstance(waiting.outcome, Permit)
            third = await door.queued(gate, nursery, one)
            await trio.sleep(10)
            out[0].failed(problem(Kind.RATE_LIMITED, 5.0))
            await trio.sleep(20)
            assert isinstance(third.outcome, Permit)
            waiting.outcome.succeeded(None)
            third.outcome.succeeded(None)
            other = await door.permit_of(gate, Cost(images=1, tokens=0, model="b"))
            await door.queued(gate, nursery, Cost(images=1, tokens=0, model="b"))
            await trio.sleep(7)
            bound = dict(gate.statistics()[0].bound)
            other.succeeded(None)
        assert bound[ledger.CALLS] == pytest.approx(10.0)
        assert bound[ledger.PAUSED] == pytest.approx(5.0, abs=0.01)
        assert bound[ledger.MIX] == pytest.approx(7.0)
        assert bound["images/min"] == pytest.approx(60 / (60 * 0.99))
        assert sum(bound.values()) == pytest.approx(39.0)

    door.run(main)


def test_small_requests_use_what_a_large_one_cannot_and_it_starts_as_early_as_without_them(door: Door) -> None:
    async def main() -> None:
        large, small = pool("large", tokens_per_minute=60_000), pool("small", tokens_per_minute=6_000)
        async with door.opened(large, small) as (gate, nursery):
            await door.permit_of(gate, Cost(images=1, tokens=59_000))
            big = await door.queued(gate, nursery, Cost(images=1, tokens=50_000))
            small_ones = [await door.queued(gate, nursery, Cost(images=1, tokens=500)) for _ in range(40)]
            await trio.sleep(61)
            assert big.pool == "large"
            assert big.at == pytest.approx(60 / 0.99)
            early = [each.pool for each in small_ones if each.outcome is not None and each.at < big.at]
            assert early.count("small") >= 11
            assert early.count("large") == 2, "a thousand tokens are left of the minute"

    door.run(main)


@settings(max_examples=25, deadline=None)
@given(
    small=st.lists(st.tuples(st.floats(0.01, 3), st.integers(1, 900), st.floats(0, 20)), min_size=30, max_size=60),
    seconds=st.floats(0, 30),
)
def test_a_large_request_starts_within_two_minutes_whatever_small_ones_come(
    door: Door, small: list[tuple[float, int, float]], seconds: float
) -> None:
    async def main() -> None:
        async with door.opened(pool("a", tokens_per_minute=6_000), pool("b", tokens_per_minute=6_000, max_concurrency=3)) as (
            gate,
            nursery,
        ):

            async def client(tokens: int, latency: float) -> None:
                permit = await door.permit_of(gate, Cost(images=1, tokens=tokens))
                await trio.sleep(latency)
                permit.succeeded(None)

            async def traffic() -> None:
                while True:
                    for gap, tokens, latency in small:
                        nursery.start_soon(client, tokens, latency)
                        await trio.sleep(gap)

            nursery.start_soon(traffic)
            await trio.sleep(seconds)
            others = len(gate._queue)
            big = await door.queued(gate, nursery, Cost(images=1, tokens=6_000))
            await trio.sleep(122 + 6 * others)
            assert big.outcome is not None

    door.run(main)


def test_a_large_request_that_goes_away_frees_its_pool_for_those_behind_it_at_once(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(tokens_per_minute=60_000)) as (gate, nursery):
            await door.permit_of(gate, Cost(images=1, tokens=5_000))
            await trio.sleep(10)
            big = await door.queued(gate, nursery, Cost(images=1, tokens=60_000))
            small = await door.queued(gate, nursery)
            await trio.sleep(1)
            assert small.outcome is None
            big.scope.cancel()
            await wait_all_tasks_blocked()
            assert small.outcome is not None
            assert small.at == 11.0

    door.run(main)


def test_cancelled_while_it_waits_it_leaves_nothing_behind(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=5, max_concurrency=1)) as (gate, nursery):
            permit = await door.permit_of(gate)
            waiting = await door.queued(gate, nursery)
            waiting.scope.cancel()
            await wait_all_tasks_blocked()
            assert waiting.outcome is None
            permit.succeeded(None)
            (books,) = gate.statistics()
            assert (books.in_flight, books.admitted["images"]) == (0, 1)
            assert not gate._queue

    door.run(main)


def test_cancelled_between_its_grant_and_its_waking_it_gives_the_permit_back(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=600, max_concurrency=1)) as (gate, nursery):
            permit = await door.permit_of(gate)
            first, second = await door.queued(gate, nursery), await door.queued(gate, nursery)
            await trio.sleep(1)
            permit.succeeded(None)
            first.scope.cancel()
            await wait_all_tasks_blocked()
            (books,) = gate.statistics()
            # Either the cancellation came first and the second has the permit, or the first was woken in time to keep it.
            assert books.in_flight == 1
            assert (first.outcome is None) != (second.outcome is None)

    door.run(main)


def test_cancelled_in_the_same_step_that_grants_it_gives_the_permit_back(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=600, max_concurrency=1)) as (gate, nursery):
            with trio.CancelScope() as scope:
                scope.cancel()
                await gate.acquire(ONE)
            assert scope.cancelled_caught
            (books,) = gate.statistics()
            assert (books.in_flight, books.calls, books.admitted["images"]) == (0, 0, 0)
            assert (await door.queued(gate, nursery)).outcome is not None

    door.run(main)


Client = tuple[float, int, float, float, Kind | None]
"""Arrival, pictures, latency, patience, and the problem that it ends with; None gives the permit back."""


@settings(max_examples=60, deadline=None)
@given(
    clients=st.lists(
        st.tuples(
            st.floats(0, 90),
            st.integers(1, 4),
            st.one_of(st.just(0.0), st.floats(0, 60)),
            st.one_of(st.just(1e9), st.floats(0, 120), st.sampled_from([0.0, 61.0, 12.0])),
            st.sampled_from([Kind.MODERATION_BLOCKED, Kind.RATE_LIMITED, None]),
        ),
        max_size=40,
    )
)
def test_cancellation_at_any_moment_leaks_no_permit_and_overdraws_no_limit(door: Door, clients: list[Client]) -> None:
    left: list[tuple[str, float, int]] = []

    async def main() -> None:
        pools = [pool("a", images_per_minute=5, max_concurrency=2), pool("b", images_per_minute=80)]
        async with door.opened(*pools) as (gate, nursery):

            async def client(arrival: float, images: int, latency: float, patience: float, outcome: Kind | None) -> None:
                await trio.sleep(arrival)
                with trio.move_on_after(patience):
                    permit = await door.permit_of(gate, Cost(images=images, tokens=0))
                    call = (permit.pool.name, trio.current_time(), images)
                    assert gate.statistics()[0].in_flight <= 2
                    try:
                        await trio.sleep(latency)
                    except trio.Cancelled:
                        permit.failed(problem(Kind.INTERRUPTED))
                        left.append(call)
                        raise
                    if outcome is None:
                        permit.released()
                    else:
                        permit.failed(problem(outcome, 3.0))
                        left.append(call)

            async with trio.open_nursery() as everyone:
                for each in clients:
                    everyone.start_soon(client, *each)
            assert not gate._queue
            for books in gate.statistics():
                assert books.in_flight == 0
                assert books.admitted["images"] == sum(images for name, _, images in left if name == books.name)
            for key in (key for each in pools for key in each.keys):
                assert key.in_flight == 0
            assert not nursery.cancel_scope.cancel_called

    door.run(main)
    for name, limit in (("a", 5), ("b", 80)):
        mine = sorted((at, images) for pool, at, images in left if pool == name)
        for at, _ in mine:
            assert sum(images for other, images in mine if at <= other <= at + 60) <= limit
