"""The gate in front of simulated servers, in virtual time and without HTTP: what admission alone does, a few thousand calls a second.

The delays on the way are there, refusals are the simulator's own answers, and they are read by the code that reads real ones.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio
from reliability.simulation import pinned
from trio.testing import MockClock

from headrace.admission.booking import Cost
from headrace.admission.gate import Gate
from headrace.admission.key import Key
from headrace.admission.permit import Permit
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.provider.failures import Reply, problem_of
from headrace.provider.told import told_of
from headrace.records import Kind, Problem, Usage
from headrace.simulator import SimulatedPool, SimulatorSettings, World
from headrace.simulator.answers import vendor_headers
from headrace.simulator.limits import limit_headers, refusal_reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from headrace.admission.books import PoolStatistics
    from headrace.told import Told

MODEL = "gpt-image-2.5-flare"


@attrs.frozen(kw_only=True)
class Job:
    """What one request asks for."""

    images: int = 1
    tokens: int = 300
    """Of the bill."""
    estimated: int | None = None
    """What the client takes it for, where that is another number."""
    model: str = MODEL


@attrs.define(kw_only=True)
class Seen:
    """What became of the calls."""

    sent: list[tuple[float, str, int]] = attrs.field(factory=list)
    """When each call left, from which pool, with how many images."""
    served: list[tuple[float, int]] = attrs.field(factory=list)
    """When a call was let in by the server, and its images."""
    tokens: list[tuple[float, int]] = attrs.field(factory=list)
    refused: list[float] = attrs.field(factory=list)
    in_flight: list[tuple[float, int]] = attrs.field(factory=list)
    out: int = 0
    """Calls that are being served."""
    books: tuple[PoolStatistics, ...] = ()

    def images_between(self, start: float, end: float) -> int:
        """Images that the server let in."""
        return sum(images for at, images in self.served if start <= at < end)

    def refused_between(self, start: float, end: float) -> float:
        """Share of the calls that were refused."""
        calls = sum(start <= at < end for at, _, _ in self.sent)
        return sum(start <= at < end for at in self.refused) / max(1, calls)


@attrs.frozen(kw_only=True)
class Plant:
    """Servers, a client that always has work, and the way between them.

    Args:
        servers: the pools of the API.
        clients: the pools as headrace knows them; the names of their keys are the keys of the servers.
        jobs: what is asked for, again and again.
    """

    servers: Sequence[SimulatedPool]
    clients: Sequence[Pool]
    settings: SimulatorSettings = attrs.field(factory=SimulatorSettings)
    jobs: Sequence[Job] = (Job(),)
    latency_s: float = 10.0
    sigma: float = 0.35
    jitter_s: float = 0.03
    """Median of the delay on the way there and back, log-normal with a sigma of 1."""
    waiting: int = 64
    """Requests that wait at the gate at any time."""
    seed: int = 1

    def run(self, seconds: float, *beside: Callable[[World], Awaitable[None]], number: int | None = None) -> Seen:
        """Run it for so many virtual seconds, or until so many images are there; what is ``beside`` runs beside it."""
        seen = Seen()
        with pinned(self.seed):
            trio.run(self._main, seconds, beside, number, seen, clock=MockClock(autojump_threshold=0))
        return seen

    async def _main(self, seconds: float, beside: Sequence[Callable[[World], Awaitable[None]]], number: int | None, seen: Seen) -> None:
        world = World(attrs.evolve(self.settings, pools=tuple(self.servers)))
        gate, random = Gate(self.clients), Random(self.seed)  # noqa: S311 - a simulation
        waiting = trio.Semaphore(self.waiting)
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(gate.run)
                for each in beside:
                    nursery.start_soon(each, world)
                async with trio.open_nursery() as working:
                    for job in _again_and_again(self.jobs, number, random):
                        await waiting.acquire()
                        working.start_soon(self._job, world, gate, job, waiting, random, seen)
                nursery.cancel_scope.cancel()
        seen.books = gate.statistics()

    async def _job(self, world: World, gate: Gate, job: Job, waiting: trio.Semaphore, random: Random, seen: Seen) -> None:
        permit = await gate.acquire(_cost(job))
        waiting.release()
        while isinstance(permit, Permit):
            seen.sent.append((trio.current_time(), permit.pool.name, job.images))
            problem = await self._call(world, permit, job, random, seen)
            if problem is None:
                return
            permit = await gate.acquire(_cost(job))
        raise SystemExit(f"nobody takes a request any more: {permit.message}")

    async def _call(self, world: World, permit: Permit, job: Job, random: Random, seen: Seen) -> Problem | None:
        server = world.pool_of(permit.key)
        if server is None:
            permit.failed(Problem(kind=Kind.AUTH, message="no such key"))
            return Problem(kind=Kind.AUTH, message="no such key")
        await trio.sleep(self._delay(random))
        now = trio.current_time()
        refusal = server.admit(job.images, job.tokens, now)
        headers = (*vendor_headers(server, 0, 0), *(limit_headers(server, now) if world.settings.limit_headers else ()))
        if refusal is not None:
            seen.refused.append(now)
            answer = refusal_reply(refusal, model=job.model, settings=server.settings, style=world.settings.refusals)
            await trio.sleep(self._delay(random))
            reply = Reply(429, dict((*answer.headers, *headers)), answer.joined())
            problem = problem_of(reply)
            permit.failed(problem, told_of(reply))
            return problem
        seen.served.append((now, job.images))
        seen.tokens.append((now, job.tokens))
        seen.out += 1
        seen.in_flight.append((now, seen.out))
        await trio.sleep(self.latency_s * random.lognormvariate(0, self.sigma) if self.latency_s else 0)
        server.leave()
        seen.out -= 1
        await trio.sleep(self._delay(random))
        permit.succeeded(Usage(input_tokens=0, output_tokens=job.tokens), _told(headers))
        return None

    def _delay(self, random: Random) -> float:
        return self.jitter_s * random.lognormvariate(0, 1) if self.jitter_s else 0.0


def client_pool(name: str, *, exceed: bool = False, models: Sequence[str] = (), **limits: float) -> Pool:
    """A pool with one key of the same name, as the settings would make it."""
    return Pool(name, Limits(**limits), [Key(name)], exceed=exceed, models=models)  # type: ignore[arg-type]  # one shorthand for both types


def _told(headers: tuple[tuple[str, str], ...]) -> Told:
    return told_of(Reply(200, dict(headers), b""))


def _cost(job: Job) -> Cost:
    return Cost(images=job.images, tokens=job.estimated or job.tokens, model=job.model)


def _again_and_again(jobs: Sequence[Job], number: int | None, random: Random) -> Iterator[Job]:
    left = math.inf if number is None else number
    while left > 0:
        job = random.choice(jobs)
        left -= job.images
        yield job
