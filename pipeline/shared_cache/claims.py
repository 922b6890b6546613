"""This process's claims in the store: prompts that it pays for while others wait, and those that it waits for.

A claim is a lease: one task renews all that are held, so that a process that is killed keeps nobody waiting for longer than
:data:`LEASE_S`. Another asks for all that are waited for at once: its calls do not grow with those who wait.
"""

from __future__ import annotations

import hashlib
from collections import deque
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from random import Random

    from headrace.redis.link import Link

T = TypeVar("T")

SCRIPT = files("headrace.shared_cache").joinpath("claims.lua").read_text("utf-8")
LEASE_S = 15.0
LOOK_S = 0.5
"""Between two looks at what is waited for, on average: pictures take 10 to 120 s."""
OPENING_S = LEASE_S / 3 + 1.0
"""A store that is back may have let leases end: so long nobody claims, and whoever holds one has renewed it by then."""
AT_ONCE = 32
"""Calls under way: each has a second of its own, and a thousand at once would take longer."""
MANY = 500
"""Keys in one call: a script holds up everybody."""
KEPT = 10_000
"""Answers that wait for a store that is lost."""
_YOURS = 0


@attrs.frozen(eq=False)
class Waiting:
    """Somebody who waits for flights of others to end."""

    keys: frozenset[str]
    over: trio.Event = attrs.field(factory=trio.Event)


@attrs.frozen
class News:
    """That claims are over, and the answer under some keys where there is one."""

    flights: Sequence[tuple[str, str]]
    """With their tokens."""
    answers: tuple[str, ...] = ()
    text: str = ""


class Claims:
    """The part of one process.

    Args:
        link: the way to the store.
        namespace: of those who share.
        kept_s: an answer is there for so long.
        random: spreads the looks of many processes.
    """

    def __init__(self, link: Link, namespace: str, kept_s: float, random: Random) -> None:
        self._link = link
        self._prefix = f"{{{namespace}:cache}}"  # in braces: one slot of a cluster
        self.place = f"{self._prefix}:place"
        """The key of the mark of the place."""
        self._kept_ms = min(max(1, round(kept_s * 1000)), 2**53)
        self._random = random
        self._held: dict[str, tuple[str, ...]] = {}
        self.waiting: set[Waiting] = set()
        """Who waits for another process."""
        self._asked = trio.Event()
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._untold: deque[News] = deque(maxlen=KEPT)
        self.calls = 0
        """Scripts run so far."""

    async def check(self) -> None:
        """See that the script can do its work.

        Raises:
            UsageError: it cannot.
        """
        await self._link.tried(SCRIPT, [*self._answers(["ready"]), *self._flights(["ready"])], "claim", "ready", "1", "")

    async def mark(self, new: str = "") -> str | None:
        """The mark of the place where all have their pictures: ``new`` where there was none; None where the store is lost."""
        said = await self._run([self.place], "place", new, str(self._kept_ms))
        return None if said is None else said.decode("ascii", "replace")

    async def claim(self, token: str, keys: Sequence[str], spoilt: str | None = None) -> tuple[str, str] | None:
        """A key under which there is an answer, and that; None where the prompt is to be paid for by whoever has the token.

        Waits as long as another process pays for one of the keys. Where the store is lost nobody waits for it.

        Args:
            token: of nobody else, ever.
            keys: all of them are claimed, or none.
            spoilt: an answer that is no good: the store forgets it.
        """
        names = [*self._answers(keys), *self._flights(keys)]
        refused = "" if spoilt is None else _digest(spoilt)
        while self._link.up:
            await trio.sleep_until(max(trio.current_time(), self._link.back_at + OPENING_S))
            said = await self._in_turn(names, "claim", token, f"{LEASE_S * 1000:.0f}", refused)
            if said is None or said[0] == _YOURS:
                break
            if said[0] > _YOURS:
                return keys[said[0] - 1], said[1].decode("utf-8", "surrogateescape")
            await self._others(keys)
        # Where the store did not answer, renewing claims as soon as it does.
        self._held[token] = tuple(keys)
        return None

    async def end(self, token: str, keys: Sequence[str], answers: Sequence[str] = (), text: str = "") -> None:
        """The claim on ``keys`` is over; ``text`` is the answer under each of ``answers``, for everybody."""
        self._held.pop(token, None)
        news = News([(flight, token) for flight in self._flights(keys)], tuple(self._answers(answers)), text)
        if not await self._tell(news) and news.answers:
            self._untold.append(news)

    async def leave(self, claims: Mapping[str, Sequence[str]]) -> None:
        """Some claims are over without an answer, all at once: their keys by their tokens."""
        for token in claims:
            self._held.pop(token, None)
        for some in _batches((flight, token) for token, keys in claims.items() for flight in self._flights(keys)):
            await self._tell(News(some))

    async def keep(self) -> None:
        """Renew what is held, and tell a store that is back what it has missed; runs until cancelled."""
        async with trio.open_nursery() as nursery:
            # Beside each other: what there is to tell may take longer than a lease.
            for work in (self._renew, self.catch_up):
                nursery.start_soon(self._now_and_then, work)

    async def catch_up(self) -> None:
        """Tell what the store has missed."""
        while self._untold:
            news, told = self._untold.popleft(), False
            try:
                told = await self._tell(news)
            finally:
                if not told:
                    self._untold.appendleft(news)
            if not told:
                return

    async def look(self) -> None:
        """Let those go on who wait for nobody any more; runs until cancelled."""
        heard_at = trio.current_time()
        while True:
            if not self.waiting:
                self._asked = trio.Event()
                await self._asked.wait()
                heard_at = trio.current_time()
            await trio.sleep(LOOK_S * self._random.uniform(0.5, 1.5))
            asked = tuple(self.waiting)
            standing = await self._standing(frozenset().union(*(each.keys for each in asked)))
            if standing is not None:
                heard_at = trio.current_time()
            elif trio.current_time() < heard_at + LEASE_S:
                continue
            # A store that is lost for as long as a lease knows of nobody who pays.
            for each in asked:
                if standing is None or each.keys.isdisjoint(standing):
                    each.over.set()

    async def _others(self, keys: Iterable[str]) -> None:
        waiting = Waiting(frozenset(keys))
        self.waiting.add(waiting)
        self._asked.set()
        try:
            await waiting.over.wait()
        finally:
            self.waiting.discard(waiting)

    async def _standing(self, keys: Iterable[str]) -> set[str] | None:
        """Those of the keys that somebody pays for; None where the store is lost."""
        standing: set[str] = set()
        for some in _batches(keys):
            said = await self._run(self._flights(some), "wait") if self._link.up else None
            if said is None:
                return None
            standing.update(key for key, there in zip(some, said, strict=True) if there)
        return standing

    async def _now_and_then(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            if self._link.up:
                await work()
            await self._link.turned(LEASE_S / 3)

    async def _renew(self) -> None:
        held = [(flight, token) for token, keys in self._held.items() for flight in self._flights(keys)]
        for some in _batches(held):
            gone = await self._extend(some)
            if gone is None:
                return
            # Leases that ended with the store, or while this process stood still.
            ended = [each for each, is_gone in zip(some, gone, strict=True) if is_gone and each[1] in self._held]
            if ended:
                await self._extend(ended, "again")
            for flight, token in ended:
                if token not in self._held:
                    # It was over meanwhile, and nobody knows which of the two the store did last.
                    await self._tell(News([(flight, token)]))

    async def _extend(self, held: Sequence[tuple[str, str]], again: str = "") -> Any:
        flights, tokens = zip(*held, strict=True)
        return await self._run(flights, "renew", f"{LEASE_S * 1000:.0f}", again, *tokens)

    async def _tell(self, news: News) -> bool:
        if not self._link.up:
            return False
        names = [*news.answers, *(flight for flight, _ in news.flights)]
        told = "end", str(len(news.answers)), news.text, str(self._kept_ms), *(token for _, token in news.flights)
        return not names or await self._in_turn(names, *told) is not None

    async def _in_turn(self, keys: Sequence[str], *args: str) -> Any:
        # Renewing and looking never stand in this queue: thousands who claim would outlast a lease.
        async with self._turns:
            return await self._run(keys, *args)

    async def _run(self, keys: Sequence[str], *args: str) -> Any:
        self.calls += 1
        return await self._link.run(SCRIPT, keys, *args)

    def _answers(self, keys: Iterable[str]) -> list[str]:
        return [f"{self._prefix}:answer:{key}" for key in keys]

    def _flights(self, keys: Iterable[str]) -> list[str]:
        return [f"{self._prefix}:flight:{key}" for key in keys]


def _digest(text: str) -> str:
    """SHA-1 as Redis makes it: to tell one answer from another, no more."""
    return hashlib.sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _batches(each: Iterable[T]) -> Iterator[tuple[T, ...]]:
    rest = iter(each)
    while some := tuple(islice(rest, MANY)):
        yield some
