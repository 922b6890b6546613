"""Who is already being paid for: a prompt that asks for the same picture as one in flight waits for it and shares its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs
import trio

if TYPE_CHECKING:
    from types import TracebackType

    from headrace.records import Failure, Hit


@attrs.define(eq=False)
class Flight:
    """One prompt that is being paid for."""

    outcome: Hit | Failure | None = None
    landed: trio.Event = attrs.field(factory=trio.Event)

    async def follow(self) -> Hit | Failure | None:
        """What its leader got, as soon as it has landed; None where it went away without an outcome, so that somebody else has to lead."""
        await self.landed.wait()
        return self.outcome


class InFlight:
    """The keys in flight, one leader each; shared by all lines of a process that share their cache."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def flight(self, key: str | None) -> Flight | None:
        """Who leads a key right now, if anybody does."""
        return self._flights.get(key or "")

    def line(self) -> Leads:
        """What one line leads; leaving its ``with`` block hands everything it still leads over to the followers."""
        return Leads(self._flights)


class Leads:
    """The part of one line in the keys in flight."""

    def __init__(self, flights: dict[str, Flight]) -> None:
        self._flights = flights
        self._mine: set[str] = set()

    def lead(self, key: str) -> bool:
        """Whether this line leads ``key`` from now on; otherwise it is led already, and :meth:`follow` waits for the outcome."""
        if key in self._flights:
            return False
        self._flights[key] = Flight()
        self._mine.add(key)
        return True

    async def follow(self, key: str) -> Hit | Failure | None:
        """What the leader got; None where it went away without an outcome, so that somebody else has to lead."""
        flight = self._flights.get(key)
        return None if flight is None else await flight.follow()

    def land(self, key: str, outcome: Hit | Failure | None) -> None:
        """The outcome of a key that this line leads, for all its followers; a key that it does not lead is ignored."""
        if key in self._mine:
            self._mine.remove(key)
            flight = self._flights.pop(key)
            flight.outcome = outcome
            flight.landed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for key in tuple(self._mine):
            self.land(key, None)
