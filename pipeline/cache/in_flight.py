"""Who is already being paid for: a prompt equal to one in flight waits for it and shares its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs
import trio

if TYPE_CHECKING:
    from types import TracebackType

    from headrace.records import Answer, Failure


@attrs.define(eq=False)
class _Flight:
    outcome: Answer | Failure | None = None
    landed: trio.Event = attrs.field(factory=trio.Event)


class InFlight:
    """The keys in flight, one leader each; shared by all lines of a process that share their cache."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    def line(self) -> Leads:
        """What one line leads; leaving its ``with`` block hands everything it still leads over to the followers."""
        return Leads(self._flights)


class Leads:
    """The part of one line in the keys in flight."""

    def __init__(self, flights: dict[str, _Flight]) -> None:
        self._flights = flights
        self._mine: set[str] = set()

    def lead(self, key: str) -> bool:
        """Whether this line leads ``key`` from now on; otherwise it is led already, and :meth:`follow` waits for the outcome."""
        if key in self._flights:
            return False
        self._flights[key] = _Flight()
        self._mine.add(key)
        return True

    async def follow(self, key: str) -> Answer | Failure | None:
        """What the leader got; None where it went away without an outcome, so that somebody else has to lead."""
        flight = self._flights.get(key)
        if flight is None:
            return None
        await flight.landed.wait()
        return flight.outcome

    def land(self, key: str, outcome: Answer | Failure | None) -> None:
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
