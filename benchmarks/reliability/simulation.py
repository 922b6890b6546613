"""The whole line in virtual time under one seed: the same seed gives the same run, to the last event.

Every source of chance is a seed here: trio's scheduler, the jitter of retries, the simulator's dice. Work that would go to threads is done
in place, and nothing waits for the real clock; so a minute of waiting takes no time, and what went wrong once goes wrong again.
"""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Self

import attrs
import trio
from trio.testing import MockClock

from headrace.assembly import open_race
from headrace.errors import StoppedError
from headrace.offload import inline
from headrace.owners import simulated_owners, simulated_pools
from headrace.simulator import SimulatedPool, SimulatorSettings, World
from reliability.door import Door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from headrace.owners import Owner
    from headrace.race import Race
    from headrace.records import Result
    from headrace.settings import Settings

PATIENCE_S = 1e6
"""Virtual seconds after which a run hangs."""


def chance(seed: int, what: str) -> Random:
    """Randomness of its own for one purpose: what another one draws changes nothing here."""
    return Random(f"{seed} {what}")  # noqa: S311 - to be repeatable is the point


@contextmanager
def pinned(seed: int) -> Iterator[None]:
    """Trio's choices of who runs next follow from the seed.

    They are private to trio, which shuffles on purpose so that nobody relies on an order; this is the one place that knows them.
    """
    from trio._core import _run as scheduler  # noqa: PLC0415 - private: only where it is needed

    choices: Any = scheduler
    before, state = choices._ALLOW_DETERMINISTIC_SCHEDULING, choices._r.getstate()  # noqa: SLF001
    choices._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    choices._r.seed(seed)  # noqa: SLF001
    try:
        yield
    finally:
        choices._ALLOW_DETERMINISTIC_SCHEDULING = before  # noqa: SLF001
        choices._r.setstate(state)  # noqa: SLF001


class Items:
    """An input that knows how much of it was read.

    Args:
        items: what is read.
        pause_s: virtual seconds before each of them.
    """

    def __init__(self, items: Iterable[object], pause_s: Callable[[], float] = lambda: 0.0) -> None:
        self._items = iter(items)
        self._pause_s = pause_s
        self.read = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        await trio.sleep(self._pause_s())
        for item in self._items:
            self.read += 1
            return item
        raise StopAsyncIteration


@attrs.frozen(kw_only=True)
class Line:
    """What came out of one line."""

    items: Items
    results: list[Result] = attrs.field(factory=list)
    stopped: list[str] = attrs.field(factory=list)
    """Why it ended before its input did, where it did."""
    most_held: list[int] = attrs.field(factory=lambda: [0])
    """The most prompts that were read and had not been handed over."""


class Simulation:
    """One simulated API behind its door, and headrace in front of it.

    Args:
        seed: of everything.
        settings: of headrace; its keys and pools are those that the API knows.
        api: what the API is like; its pools are taken from ``settings``.
        pools: changes those pools, where the API is to be another than the settings say.
        most_calls: so many calls are no run but a circle.
    """

    def __init__(
        self,
        seed: int,
        settings: Settings,
        api: SimulatorSettings | None = None,
        *,
        pools: Callable[[SimulatedPool], SimulatedPool] = lambda pool: pool,
        most_calls: int = 20_000,
    ) -> None:
        self.seed = seed
        self.settings = settings
        self.owners = _owners(settings)
        api = api or SimulatorSettings()
        self.world = World(
            attrs.evolve(api, pools=tuple(pools(pool) for pool in simulated_pools(self.owners)), pictures="template", seed=seed)
        )
        self.door = Door(self.world, self.owners, estimator=settings.provider.estimator, most=most_calls)
        self.events: list[str] = []

    def run(self, main: Callable[[], Awaitable[None]], *, patience_s: float = PATIENCE_S) -> None:
        """Run it in virtual time.

        Raises:
            TooSlowError: it hangs.
        """

        async def in_time() -> None:
            with trio.fail_after(patience_s):
                await main()

        with pinned(self.seed):
            trio.run(in_time, clock=MockClock(autojump_threshold=0))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Race]:
        """What ``headrace run`` opens, in a process of its own as far as the API can tell."""
        self.door.restarted()
        jitter = chance(self.seed, f"jitter {self.door.life}")
        async with open_race(self.settings, environ={}, offload=inline, app=self.door, random=jitter) as race:
            yield race

    async def line(self, race: Race, line: Line, *, pause_s: Callable[[], float] = lambda: 0.0, drain_s: float = math.inf) -> None:
        """Run one line to its end.

        Args:
            race: what it shares with others.
            line: its input, and where its results go.
            pause_s: how long the consumer takes for each result.
            drain_s: when it is told to take no more input.
        """
        async with race.results(line.items) as results, trio.open_nursery() as beside:

            async def drain() -> None:
                await trio.sleep(drain_s)
                results.drain()

            beside.start_soon(drain)
            try:
                async for result in results:
                    line.most_held[0] = max(line.most_held[0], line.items.read - len(line.results))
                    line.results.append(result)
                    self.events.append(f"{trio.current_time()!r} {json.dumps(result.as_dict(), sort_keys=True)}")
                    await trio.sleep(pause_s())
            except StoppedError as error:
                line.stopped.append(str(error))
            beside.cancel_scope.cancel()

    def trace(self) -> str:
        """A digest of everything that happened: calls, results, books, with their times."""
        # Ids of requests are made to be different every time.
        calls = [str(attrs.asdict(call) | {"request_id": None}) for call in self.door.calls]
        books = [sorted(self.world.bill.items()), sorted(self.world.counts.items())]
        return hashlib.sha256("\n".join([*calls, *self.events, str(books)]).encode("utf-8", "surrogatepass")).hexdigest()


def _owners(settings: Settings) -> tuple[Owner, ...]:
    other = settings.fallback.alternative
    mine = simulated_owners(settings.pool, settings.key)
    return mine if other is None else (*mine, *simulated_owners(other.pool, other.key, "alternative"))
