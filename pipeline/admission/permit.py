"""Leave to make one call, and what the gate is told when the call is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from headrace.log import log
from headrace.told import NOTHING

if TYPE_CHECKING:
    from headrace.admission.booking import Booking
    from headrace.admission.pool import Pool
    from headrace.records import Estimated, Problem, Usage
    from headrace.told import Told


class Watcher(Protocol):
    """Who has to know when a pool may let in more, or turns out to be somebody else's."""

    def changed(self, pool: Pool) -> None:
        """A call of the pool is over."""
        ...


class Permit:
    """Leave to make one HTTP call with one key; it ends with exactly one outcome, and later ones are ignored."""

    def __init__(self, gate: Watcher, pool: Pool, booking: Booking, *, waited_s: float = 0.0, waited_for: str | None = None) -> None:
        self.waited_s = waited_s
        self.waited_for = waited_for if waited_s > 0 else None
        """What kept the pool from giving it sooner, in the words of :mod:`headrace.admission.ledger`."""
        self._gate = gate
        self._pool = pool
        self._booking: Booking | None = booking
        self.key = booking.key.name

    @property
    def pool(self) -> Pool:
        """The pool that it draws on: another one than at first where two were merged meanwhile."""
        while self._pool.merged_into is not None:
            self._pool = self._pool.merged_into
        return self._pool

    def succeeded(self, usage: Usage | None, told: Told = NOTHING) -> None:
        """A picture came."""
        if (booking := self._close()) is not None:
            pool, now = self.pool, trio.current_time()
            before = pool.state(now)
            pool.succeeded(booking, usage, now, told)
            self._tell_change(pool, before, pool.state(now))
            self._gate.changed(pool)

    def failed(self, problem: Problem, told: Told = NOTHING) -> None:
        """No picture came."""
        if (booking := self._close()) is not None:
            pool, now = self.pool, trio.current_time()
            before = pool.state(now)
            pool.failed(booking, problem, now, told)
            self._tell_change(pool, before, pool.state(now))
            self._gate.changed(pool)

    def released(self) -> None:
        """The request never left."""
        if (booking := self._close()) is not None:
            pool = self.pool
            pool.released(booking)
            self._gate.changed(pool)

    def _tell_change(self, pool: Pool, before: str, after: str) -> None:
        if after.partition(" ")[0] != before.partition(" ")[0]:
            # A pause is the course of things; what ends or holds back a pool is not.
            level = logging.INFO if after.startswith(("paused", "ready")) else logging.WARNING
            log.log(level, "pool_changed", pool=pool.name, key=self.key, state=after)

    def _close(self) -> Booking | None:
        booking, self._booking = self._booking, None
        return booking


@attrs.frozen(kw_only=True)
class Admitted:
    """A request that may start now."""

    estimated: Estimated
    permit: Permit
    waited_s: float
    """Seconds it waited for admission."""
