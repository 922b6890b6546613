"""Several processes with one pool in virtual time: what one learns, the others know, and one refusal teaches once."""

from __future__ import annotations

import json
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio
from trio.testing import MockClock

from headrace.admission.booking import Cost
from headrace.admission.gate import Gate
from headrace.admission.key import Key
from headrace.admission.permit import Permit
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.quota.turnstile import Turnstile
from headrace.quota.worker import Worker
from headrace.records import Kind, Problem
from headrace.redis.link import Link
from headrace.secret import Secret
from headrace.told import Refusal, Told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headrace.redis.client import Redis

COST = Cost(images=1, tokens=100)
WAY_S = 0.005


@attrs.define
class Books:
    """What ``exchange.lua`` keeps, for one pool and as far as these tests need it; times are seconds."""

    due: dict[str, float] = attrs.field(factory=dict)
    used: dict[str, deque[tuple[float, int]]] = attrs.field(factory=dict)
    leases: set[str] = attrs.field(factory=set)
    workers: set[str] = attrs.field(factory=set)
    paused: float = 0.0
    known: dict[str, tuple[int, str]] = attrs.field(factory=dict)
    stamp: int = 0
    exchanges: int = 0
    next: tuple[str, float] = ("", 0.0)

    async def run(self, _: str, keys: Sequence[str], text: str) -> list[Any]:
        await trio.sleep(WAY_S)
        self.exchanges += 1
        now, told, resources = trio.current_time(), json.loads(text), [key.rpartition(":")[2] for key in keys[4:]]
        self.workers.add(told["worker"])
        self.leases -= set(told.get("over", ()))
        self.paused = max(self.paused, now + told.get("pause", 0) / 1e6)
        taken, heard = self._taught(told.get("taught", {}), told["heard"]), told["heard"]
        news = {field: document for field, (at, document) in self.known.items() if at > heard and field not in taken}
        granted, at, binding = self._slot(told.get("ask"), resources, now, told["worker"])
        totals = [sum(cost for _, cost in self._log(resource, now)) for resource in resources]
        waits = [round((at - now) * 1e6), round(at * 1e6), 1, len(self.workers), binding]
        pause = round(max(0.0, self.paused - now) * 1e6)
        answer = [granted, *waits, len(self.leases), pause, self.stamp, json.dumps(news).encode(), *totals]
        await trio.sleep(WAY_S)
        return answer

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()

    def _taught(self, taught: dict[str, str], heard: int) -> set[str]:
        taken = {field for field in taught if self.known.get(field, (0, ""))[0] <= heard}
        for field in taken:
            self.stamp += 1
            self.known[field] = self.stamp, taught[field]
        return taken

    def _slot(self, ask: dict[str, Any] | None, resources: list[str], now: float, worker: str) -> tuple[int, float, int]:
        if ask is None:
            return 0, now, 0
        at, binding, horizon = max(now, self.paused), 0, ask["horizon"] / 1e6
        for number, (resource, (_, _, tolerance, *_)) in enumerate(zip(resources, ask["needs"], strict=True), 1):
            if (ready := self.due.get(resource, now + tolerance / 1e6) - tolerance / 1e6) > at:
                at, binding = ready, number
        kept = self.next[0] != worker and self.next[1] > now
        if 0 <= ask["most"] <= len(self.leases) + kept:
            if not kept and at <= now + horizon and ask["out"] < max(1, ask["most"] // len(self.workers)):
                self.next = worker, now + ask["again"] / 1e6 + 1
            at, binding = max(at, now + horizon + ask["again"] / 1e6), -1
        if at > now + horizon:
            return 0, at - horizon, binding
        for resource, (cost, pace, tolerance, *_) in zip(resources, ask["needs"], strict=True):
            self.due[resource] = max(self.due.get(resource, now + tolerance / 1e6), at) + cost * pace / 1e6
            self._log(resource, now).append((at, cost))
        self.leases.add(ask["lease"])
        if not kept:
            self.next = "", 0.0
        return 1, at, binding

    def _log(self, resource: str, now: float) -> deque[tuple[float, int]]:
        log = self.used.setdefault(resource, deque())
        while log and log[0][0] <= now - 60:
            log.popleft()
        return log


@attrs.define
class Server:
    """An API with a bucket that holds a minute's limit, and with a limit of calls at once."""

    limit: float = 1e9
    at_once: float = 1e9
    latency_s: float = 5.0
    says: bool = False
    """Whether a refusal says the limit."""
    level: float | None = None
    at: float = 0.0
    out: int = 0
    served: list[float] = attrs.field(factory=list)
    refused: list[float] = attrs.field(factory=list)
    first_refused: trio.Event = attrs.field(factory=trio.Event)
    random: Random = attrs.field(factory=lambda: Random(0))

    async def answer(self) -> tuple[Problem, Told] | None:
        await trio.sleep(0.03)
        now = trio.current_time()
        level = self.limit if self.level is None else self.level
        self.level = min(self.limit, level + (now - self.at) * self.limit / 60)
        self.at = now
        if self.level < 1 or self.out >= self.at_once:
            self.refused.append(now)
            self.first_refused.set()
            many = self.out >= self.at_once
            kind, resource = (Kind.SLOW_DOWN, "calls") if many else (Kind.RATE_LIMITED, "images")
            told = Told(refusal=Refusal(resource=resource, limit=self.limit if self.says and not many else None))
            return Problem(kind=kind, message="slow", status=429, retry_after_s=None if many else 1.0), told
        self.level -= 1
        self.served.append(now)
        self.out += 1
        await trio.sleep(self.latency_s * self.random.lognormvariate(0.0, 0.3))
        self.out -= 1
        return None


class Process:
    """One process that has more work than the limits let it do."""

    def __init__(self, books: Books, server: Server, name: str, limits: Limits, *, exceed: bool = False) -> None:
        self.server = server
        self.pool = Pool("studio", limits, [Key("a"), Key("b")], exceed=exceed)
        self.gate = Gate([self.pool])
        self.link = Link(cast("Redis", books), Secret("redis://nowhere"))
        worker = Worker(name=name, least=1)
        self.turnstile = Turnstile(self.pool, "x", self.link, worker, 60.0, self.gate.changed, {"a": "1111", "b": "2222"})
        self.pool.turnstile = self.turnstile
        self.calls = 0

    async def run(self, works_s: float = float("inf")) -> None:
        async with trio.open_nursery() as nursery:
            for service in (self.gate.run, self.link.keep, self.turnstile.run):
                nursery.start_soon(service)
            for _ in range(25):
                nursery.start_soon(self._works, trio.current_time() + works_s)

    async def _works(self, until: float) -> None:
        while trio.current_time() < until:
            permit = await self.gate.acquire(COST)
            assert isinstance(permit, Permit)
            self.calls += 1
            if (failed := await self.server.answer()) is None:
                permit.succeeded(None)
            else:
                permit.failed(*failed)

    @property
    def level(self) -> float:
        return self.pool.meters.by_name["images"].pace.level


def virtually(main: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    async def beside() -> None:
        with trio.fail_after(1e5):
            async with trio.open_nursery() as nursery:
                await main(nursery)
                nursery.cancel_scope.cancel()

    trio.run(beside, clock=MockClock(autojump_threshold=0))


def levels(processes: Sequence[Process]) -> set[float]:
    return {round(process.level, 6) for process in processes}


def four(books: Books, server: Server, limits: Limits) -> list[Process]:
    return [Process(books, server, f"w{number}", limits) for number in range(4)]


def test_four_processes_find_a_limit_below_the_one_they_were_told_and_keep_to_it_together() -> None:
    server = Server(limit=300)
    processes = four(Books(), server, Limits(images_per_minute=600))

    async def main(nursery: trio.Nursery) -> None:
        for process in processes:
            nursery.start_soon(process.run)
        await trio.sleep(240)
        late = [at for at in server.served if at > 180]
        assert 0.95 * 300 < len(late) < 1.1 * 300
        assert len([at for at in server.refused if at > 180]) < 0.03 * len(late)
        assert len(levels(processes)) == 1
        assert 0.9 * 300 < processes[0].level < 1.2 * 300

    virtually(main)
    assert min(process.calls for process in processes) > 0.8 * max(process.calls for process in processes)


def test_a_limit_that_one_process_is_told_is_known_to_all_within_a_second() -> None:
    server = Server(limit=200, says=True)
    processes = four(Books(), server, Limits())

    async def main(nursery: trio.Nursery) -> None:
        for process in processes:
            nursery.start_soon(process.run)
        await server.first_refused.wait()
        await trio.sleep(1)
        assert {process.pool.meters.by_name["images"].limit for process in processes} == {200.0}
        assert [process.pool.calls.most for process in processes] == [float("inf")] * 4  # the rate is enough
        await trio.sleep(60)
        assert len(server.refused) < 0.05 * len(server.served)

    virtually(main)


def test_calls_at_once_are_found_together() -> None:
    server = Server(at_once=24)
    processes = four(Books(), server, Limits())

    async def main(nursery: trio.Nursery) -> None:
        for process in processes:
            nursery.start_soon(process.run)
        await trio.sleep(90)
        assert [process.pool.calls.bound for process in processes] == [24] * 4
        assert len(server.refused) < 0.05 * len(server.served)
        assert len([at for at in server.served if at > 30]) > 0.85 * 24 * 60 / server.latency_s

    virtually(main)


def test_one_refusal_teaches_once_however_many_processes_it_meets() -> None:
    server = Server()
    processes = four(Books(), server, Limits(images_per_minute=600))

    async def main(nursery: trio.Nursery) -> None:
        for process in processes:
            nursery.start_soon(process.run, 30)
        await trio.sleep(60)
        permits = [permit for process in processes if isinstance(permit := await process.gate.acquire(COST), Permit)]
        assert len(permits) == 4
        found = []
        for permit in permits:
            permit.failed(Problem(kind=Kind.RATE_LIMITED, message="slow", status=429, retry_after_s=0.1))
            await trio.sleep(1.5)
            found.append(processes[0].level)
        assert len(set(found)) == len(levels(processes)) == 1
        assert 300 <= found[0] < 600

    virtually(main)


def test_a_process_that_starts_begins_with_what_the_others_have_learnt() -> None:
    books, server = Books(), Server(limit=300, says=True)
    first, second = (Process(books, server, name, Limits()) for name in ("first", "second"))

    async def main(nursery: trio.Nursery) -> None:
        nursery.start_soon(first.run, 120)
        nursery.start_soon(second.run, 120)
        await trio.sleep(130)
        refused = len(server.refused)
        assert refused
        late = Process(books, server, "late", Limits())
        nursery.start_soon(late.run)
        await trio.sleep(1)
        assert late.pool.meters.by_name["images"].limit == 300
        await trio.sleep(30)
        assert len(server.refused) <= refused + 3
        other = Process(books, server, "other", Limits(images_per_minute=100))
        nursery.start_soon(other.run)
        await trio.sleep(1)
        assert other.level == 100  # its settings say something else, and hold

    virtually(main)


def two(server: Server, limits: Limits) -> tuple[int, int]:
    """Calls of a process that has been at work for a minute, and of one that comes then, in the minute from its tenth second on."""
    books, calls = Books(), [0, 0]
    processes = [Process(books, server, name, limits) for name in ("first", "second")]

    async def main(nursery: trio.Nursery) -> None:
        nursery.start_soon(processes[0].run)
        await trio.sleep(60)
        nursery.start_soon(processes[1].run)
        await trio.sleep(10)
        before = [process.calls for process in processes]
        await trio.sleep(60)
        calls[:] = [process.calls - former for process, former in zip(processes, before, strict=True)]

    virtually(main)
    return calls[0], calls[1]


def test_a_process_that_comes_late_gets_its_part_of_the_calls_at_once() -> None:
    first, second = two(Server(), Limits(max_concurrency=10))
    assert second > 0.8 * first
    assert first + second > 0.9 * 10 * 60 / 5.2


def test_a_process_that_comes_late_starts_as_well_where_nobody_knows_any_limit() -> None:
    first, second = two(Server(), Limits())
    assert second > 0.8 * first
