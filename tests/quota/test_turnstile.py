"""The turnstile in virtual time, in front of a store that is played by a few lines."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.admission import ledger
from headrace.admission.booking import Cost
from headrace.admission.bucket import MINUTE_S, Bucket
from headrace.admission.calls import Calls
from headrace.admission.gate import Gate
from headrace.admission.key import Key
from headrace.admission.permit import Permit
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.quota.turnstile import LATE_S, WAITING, Turnstile
from headrace.quota.worker import Worker
from headrace.records import Kind, Problem, Usage
from headrace.redis.client import LostError, Redis
from headrace.redis.link import GRACE_S, Link
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

COST = Cost(images=1, tokens=100)


@attrs.define
class FakeStore:
    """Books that grant one slot every ``every_s``, none ahead of ``horizon_s``."""

    every_s: float = 1.0
    lost: bool = False
    late_s: float = 0.0
    workers: int = 1
    opened: int = 1
    due: float = 0.0
    binding: int = 1
    told: list[dict[str, Any]] = attrs.field(factory=list)
    asking: int = 0
    most_asking: int = 0

    async def run(self, _: str, __: Sequence[str], told: str) -> list[Any]:
        await self.ping()
        self.told.append(json.loads(told))
        asked = self.told[-1].get("ask")
        if asked is None:
            return [0, 0, 0, self.opened, self.workers, 0, 0, 0, 1, b"{}", 0, 0]
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        await trio.sleep(self.late_s)
        self.asking -= 1
        now = trio.current_time()
        at = max(now, self.due)
        if at > now + 2:
            pause = 0 if self.binding else round((at - now) * 1e6)
            return [0, round((at - now - 2) * 1e6), 0, self.opened, self.workers, self.binding, 0, pause, 1, b"{}", 0, 0]
        self.due = at + self.every_s
        return [1, round((at - now) * 1e6), round(at * 1e6), self.opened, self.workers, 1, 0, 0, 1, b"{}", 0, 0]

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.lost:
            raise LostError("gone")

    @property
    def asked(self) -> int:
        return sum("ask" in told for told in self.told)

    def all_told(self, what: str) -> list[Any]:
        return [each for told in self.told for each in told.get(what, ())]


class Door:
    """A gate with one pool behind a turnstile."""

    def __init__(
        self, store: FakeStore, images: float = 6_000, at_once: int | None = None, least: int = 1, max_wait_s: float = math.inf
    ) -> None:
        limits = Limits(images_per_minute=images, tokens_per_minute=1e9, max_concurrency=at_once)
        self.pool = Pool("studio", limits, [Key("a")])
        self.gate = Gate([self.pool], max_wait_s)
        self.link = Link(cast("Redis", store), Secret("redis://nowhere"))
        self.turnstile = Turnstile(self.pool, "x", self.link, Worker(name="w", least=least), 60.0, self.gate.changed)
        self.pool.turnstile = self.turnstile
        self.at: list[float] = []

    async def call(self, for_s: float = 0.0, usage: Usage | None = None) -> Permit:
        permit = await self.gate.acquire(COST)
        assert isinstance(permit, Permit)
        self.at.append(trio.current_time())
        await trio.sleep(for_s)
        permit.succeeded(usage)
        return permit


def run(door: Door, main: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    async def beside() -> None:
        with trio.fail_after(1e5):
            async with trio.open_nursery() as services:
                for service in (door.gate.run, door.link.keep, door.turnstile.run):
                    services.start_soon(service)
                async with trio.open_nursery() as nursery:
                    await main(nursery)
                services.cancel_scope.cancel()

    trio.run(beside, clock=MockClock(autojump_threshold=0))


def test_calls_start_at_their_slots_and_each_asks_once() -> None:
    store = FakeStore(every_s=0.1)
    door = Door(store)

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(50):
            nursery.start_soon(door.call)

    run(door, main)
    assert door.at == pytest.approx([n / 10 for n in range(50)])
    assert store.asked == 50
    assert store.most_asking == 1


def test_few_wait_at_a_turnstile_the_others_at_the_gate() -> None:
    store = FakeStore(every_s=100.0)
    door = Door(store)

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(20):
            nursery.start_soon(door.call)
        await trio.sleep(5)
        assert not door.turnstile.free
        assert door.pool.calls.out == WAITING
        assert door.pool.ledger.cause == "images/min"
        nursery.cancel_scope.cancel()

    run(door, main)
    assert door.turnstile.free
    assert door.pool.calls.out == 0


def test_who_is_cancelled_before_its_moment_gives_its_slot_back() -> None:
    store = FakeStore(every_s=1.5)
    door = Door(store)

    async def main(nursery: trio.Nursery) -> None:
        await door.call()
        with trio.move_on_after(1.0):
            await door.call()
        await trio.sleep(2)
        assert [charge[2] for charge in store.all_told("corrections")] == [-1, -100]
        nursery.cancel_scope.cancel()

    run(door, main)
    assert door.at == [0.0]


def test_who_is_cancelled_while_it_asks_leaves_no_lease() -> None:
    store = FakeStore(late_s=0.5)
    door = Door(store, at_once=5)

    async def main(_: trio.Nursery) -> None:
        with trio.move_on_after(0.2):
            await door.call()
        await trio.sleep(2)
        lease = next(told["ask"]["lease"] for told in store.told if "ask" in told)
        assert store.all_told("over") == [lease]
        assert door.turnstile.free
        assert await door.call()

    run(door, main)


def test_a_wait_at_the_turnstile_is_one_of_the_call() -> None:
    store = FakeStore(every_s=1.5)
    door = Door(store)

    async def main(_: trio.Nursery) -> None:
        await door.call()
        permit = await door.call()
        assert permit.waited_s == pytest.approx(1.5)
        assert permit.waited_for == "images/min"

    run(door, main)


def test_tokens_are_trued_up_and_leases_end_with_their_calls() -> None:
    store = FakeStore()
    door = Door(store, at_once=5)

    async def main(_: trio.Nursery) -> None:
        await door.call(for_s=30, usage=Usage(input_tokens=20, output_tokens=200))
        await trio.sleep(2)

    run(door, main)
    assert [(charge[0], charge[2]) for charge in store.all_told("corrections")] == [(2, 120)]
    assert store.all_told("over") == ["w:1"]
    assert store.all_told("going") == []


def test_leases_of_long_calls_are_renewed() -> None:
    store = FakeStore()
    door = Door(store, at_once=5)

    async def main(_: trio.Nursery) -> None:
        await door.call(for_s=59)

    run(door, main)
    assert store.all_told("going") == ["w:1"]  # after a third of the 90 s


def test_a_pause_after_a_refusal_is_told() -> None:
    store = FakeStore()
    door = Door(store)

    async def main(_: trio.Nursery) -> None:
        permit = await door.gate.acquire(COST)
        assert isinstance(permit, Permit)
        permit.failed(Problem(kind=Kind.RATE_LIMITED, message="slow", status=429, retry_after_s=9.0))
        await trio.sleep(2)

    run(door, main)
    assert [round(told["pause"] / 1e6) for told in store.told if "pause" in told] == [9]


def test_without_the_store_each_goes_on_with_its_part_and_tells_it_afterwards() -> None:
    store = FakeStore(every_s=0.2, workers=4)
    door = Door(store, images=1_200)

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(500):
            nursery.start_soon(door.call)
        await trio.sleep(10)
        before = len(door.at)
        store.lost = True
        await trio.sleep(60)
        alone = len(door.at) - before
        assert 0.9 * 300 < alone <= 300
        store.lost = False
        store.due = trio.current_time()
        await trio.sleep(3)
        assert sum(charge[2] for charge in store.all_told("past") if charge[0] == 1) == pytest.approx(alone, abs=20)
        assert len(door.at) - before - alone > 10
        nursery.cancel_scope.cancel()

    run(door, main)


def test_after_ten_minutes_without_the_store_nothing_starts_until_it_is_back() -> None:
    store = FakeStore()
    door = Door(store, images=60)

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(900):
            nursery.start_soon(door.call)
        await trio.sleep(10)
        store.lost = True
        await trio.sleep(GRACE_S + 5)
        paused = len(door.at)
        assert door.link.paused
        await trio.sleep(300)
        assert len(door.at) == paused
        assert door.pool.ledger.cause == ledger.SHARED
        store.lost = False
        store.due = trio.current_time()
        await trio.sleep(5)
        assert len(door.at) > paused
        nursery.cancel_scope.cancel()

    run(door, main)


def test_who_stood_still_over_its_slot_asks_for_another() -> None:
    store = FakeStore(every_s=1.5)
    door = Door(store)

    async def main(_: trio.Nursery) -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        await door.call()
        async with trio.open_nursery() as waiting:
            waiting.start_soon(door.call)
            await wait_all_tasks_blocked(0.0)
            clock.jump(60)
        await trio.sleep(2)

    run(door, main)
    assert store.asked == 3
    assert door.at[0] == 0.0
    assert [charge[2] for charge in store.all_told("corrections")] == [-1, -100]


def test_who_never_heard_how_many_share_starts_nothing_without_the_store() -> None:
    store = FakeStore(lost=True)
    door = Door(store, least=0)

    async def main(nursery: trio.Nursery) -> None:
        nursery.start_soon(door.call)
        await trio.sleep(120)
        assert door.at == []
        store.lost = False

    run(door, main)
    assert len(door.at) == 1


def test_new_books_are_told_at_once_and_do_not_make_the_processes_fewer() -> None:
    store = FakeStore(every_s=0.1, workers=4)
    door = Door(store, images=1_200)

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(500):
            nursery.start_soon(door.call)
        await trio.sleep(4)
        store.opened, store.workers, store.due = 2, 1, 1e6
        before = len(store.told)
        await trio.sleep(1)
        assert any("past" in told for told in store.told[before:])
        store.lost, alone = True, len(door.at)
        await trio.sleep(60)
        assert len(door.at) - alone <= 300
        nursery.cancel_scope.cancel()

    run(door, main)


def test_a_request_that_waits_too_long_at_a_turnstile_is_told_why() -> None:
    store = FakeStore(every_s=10_000.0)
    door = Door(store, max_wait_s=100.0)

    async def main(_: trio.Nursery) -> None:
        await door.call()
        problem = await door.gate.acquire(COST)
        assert isinstance(problem, Problem)
        assert problem.kind is Kind.WAITED_TOO_LONG
        assert "pool studio is shared by [quota] with others (images/min)" in problem.message
        assert trio.current_time() == 100.0
        assert door.pool.calls.out == 0

    run(door, main)


def test_who_waits_at_the_gate_is_told_of_a_pause_that_another_process_was_asked_for() -> None:
    store = FakeStore(due=86_400.0, binding=0)
    door = Door(store, max_wait_s=3_600.0)
    problems: list[Permit | Problem] = []

    async def main(nursery: trio.Nursery) -> None:
        async def asks() -> None:
            problems.append(await door.gate.acquire(COST))

        for _ in range(WAITING + 5):
            nursery.start_soon(asks)
        await trio.sleep(10)
        assert len(problems) == 5
        assert door.pool.state(trio.current_time()).startswith("paused for")
        nursery.cancel_scope.cancel()

    run(door, main)
    assert all(isinstance(problem, Problem) and "another process that shares its limits" in problem.message for problem in problems)


def test_a_process_without_work_seldom_says_that_it_is_there() -> None:
    store = FakeStore()
    door = Door(store)

    async def main(_: trio.Nursery) -> None:
        await trio.sleep(60)
        assert 6 <= len(store.told) <= 7
        await door.call()
        await trio.sleep(30)
        assert len(store.told) > 40

    run(door, main)


def test_books_that_were_lost_are_told_the_last_minute() -> None:
    store = FakeStore(every_s=0.1)
    door = Door(store)

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(20):
            nursery.start_soon(door.call)
        await trio.sleep(5)
        assert not store.all_told("past")
        store.opened = 2
        await trio.sleep(3)
        assert sum(charge[2] for charge in store.all_told("past") if charge[0] == 1) == 20
        nursery.cancel_scope.cancel()

    run(door, main)


def test_a_cancelled_wait_at_the_gate_leaves_room_at_the_turnstile() -> None:
    door = Door(FakeStore(every_s=100.0))

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(10):
            with trio.CancelScope() as scope:
                scope.cancel()
                await door.gate.acquire(COST)
        await wait_all_tasks_blocked()
        assert door.turnstile.free
        nursery.cancel_scope.cancel()

    run(door, main)


def test_records_go_to_another_pool_where_one_s_turnstile_is_full() -> None:
    store = FakeStore(every_s=100.0)
    door = Door(store)
    other = Pool("other", Limits(images_per_minute=6_000), [Key("b")])
    door.gate = Gate([door.pool, other])
    door.turnstile = Turnstile(door.pool, "x", door.link, Worker(name="w", least=1), 60.0, door.gate.changed)
    door.pool.turnstile = door.turnstile

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(100):
            nursery.start_soon(door.call)
        await trio.sleep(5)
        assert door.pool.calls.out == WAITING
        assert other.sent > 90
        nursery.cancel_scope.cancel()

    run(door, main)


def test_a_pause_holds_for_a_slot_that_is_booked_too() -> None:
    store = FakeStore(every_s=1.5)
    door = Door(store)

    async def main(nursery: trio.Nursery) -> None:
        await door.call()
        nursery.start_soon(door.call)
        await trio.sleep(0.5)
        door.pool.pause(5.0, "another was refused")

    run(door, main)
    assert door.at == [0.0, 5.0]
    assert [charge[2] for charge in store.all_told("corrections")] == [-1, -100]


def test_a_call_that_failed_is_told_at_once_and_its_place_is_free_once_the_others_know() -> None:
    store = FakeStore()
    door = Door(store)

    async def main(_: trio.Nursery) -> None:
        permit = await door.gate.acquire(COST)
        assert isinstance(permit, Permit)
        await trio.sleep(0.1)
        permit.failed(Problem(kind=Kind.SLOW_DOWN, message="slow", status=503, retry_after_s=9.0))
        await trio.sleep(0.01)
        assert "pause" in store.told[-1]
        assert store.all_told("over") == []
        await trio.sleep(2)
        assert store.all_told("over") == ["w:1"]

    run(door, main)


def test_of_a_limit_that_nobody_knows_the_use_is_told() -> None:
    door = Door(FakeStore())
    door.pool = Pool("studio", Limits(), [Key("a")])
    assert door.pool.meters.nothing_known
    turnstile = Turnstile(door.pool, "x", door.link, Worker(name="w", least=1), 60.0, door.gate.changed)
    assert list(turnstile._terms()) == ["images"]


def test_who_leaves_keeps_no_place_of_a_call_that_taught_something() -> None:
    store = FakeStore()
    door = Door(store, at_once=5)

    async def main(nursery: trio.Nursery) -> None:
        permit = await door.gate.acquire(COST)
        assert isinstance(permit, Permit)
        permit.failed(Problem(kind=Kind.RATE_LIMITED, message="slow", status=429))
        await door.turnstile.leave()
        assert store.all_told("over") == ["w:1"]
        nursery.cancel_scope.cancel()

    run(door, main)


def test_a_call_that_failed_and_taught_nothing_gives_its_place_back_with_the_next_question() -> None:
    store = FakeStore(every_s=0.1)
    door = Door(store, at_once=5)

    async def main(_: trio.Nursery) -> None:
        permit = await door.gate.acquire(COST)
        assert isinstance(permit, Permit)
        permit.failed(Problem(kind=Kind.MODERATION_BLOCKED, message="no", status=400))
        assert "over" not in store.told[-1]
        await door.call()
        assert store.all_told("over") == ["w:1"]

    run(door, main)


def test_a_call_may_be_late_by_less_than_the_books_leave_between_two_minutes() -> None:
    assert Bucket(1_200.0).terms.window_s - MINUTE_S > LATE_S


def test_an_answer_that_was_long_on_its_way_makes_the_call_late() -> None:
    store = FakeStore(every_s=0.1)
    door = Door(store)

    async def main(_: trio.Nursery) -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        await door.call()
        store.late_s = 0.4  # the slot is two tenths of a second from then on
        store.due = trio.current_time() + 0.6
        async with trio.open_nursery() as waiting:
            waiting.start_soon(door.call)
            await trio.sleep(0.5)
            clock.jump(0.4)
            store.late_s = 0.0

    run(door, main)
    assert store.asked == 3


def test_who_is_always_late_gets_through_all_the_same() -> None:
    store = FakeStore(every_s=0.1)
    door = Door(store)

    async def main(nursery: trio.Nursery) -> None:
        await door.call()
        store.late_s = 0.9
        for _ in range(10):
            nursery.start_soon(door.call)

    run(door, main)
    assert len(door.at) == 11
    assert store.asked <= 2 * 11


def test_calls_at_once_go_on_being_tried_while_the_store_is_lost() -> None:
    store = FakeStore(every_s=0.01, workers=4)
    door = Door(store)
    door.pool.calls = Calls(None, slow_start=True)

    async def main(nursery: trio.Nursery) -> None:
        for _ in range(400):
            nursery.start_soon(door.call, 5.0)
        await trio.sleep(1)
        store.lost = True
        await trio.sleep(30)
        assert door.pool.calls.out > 16 // 4
        nursery.cancel_scope.cancel()

    run(door, main)
