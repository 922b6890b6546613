"""Leave to make one call, and what the gate is told when the call is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from headrace.log import log, prompts_heard
from headrace.told import NOTHING

if TYPE_CHECKING:
    from headrace.admission.booking import Booking, Cost
    from headrace.admission.pool import Pool
    from headrace.admission.shared import Share, Turnstile
    from headrace.records import Estimated, Problem, Usage
    from headrace.told import Told


class Watcher(Protocol):
    """Who has to know when a pool may let in more, or turns out to be somebody else's."""

    def changed(self, pool: Pool) -> None:
        """A call of the pool is over."""
        ...


LEAST_S = 0.001
"""What is shorter is no wait, whatever the pool was doing."""


class Permit:
    """Leave to make one HTTP call with one key; it ends with exactly one outcome, and later ones are ignored."""

    def __init__(self, gate: Watcher, pool: Pool, booking: Booking, *, waited_s: float = 0.0, waited_for: str | None = None) -> None:
        self.waited_s = waited_s
        self.waited_for = waited_for if waited_s >= LEAST_S else None
        """What kept the pool from giving it sooner, in the words of :mod:`headrace.admission.ledger`."""
        self._gate = gate
        self._pool = pool
        self._booking: Booking | None = booking
        self.key = booking.key.name
        self.turnstile = pool.turnstile
        """What has to be passed yet, where limits are shared with other processes."""
        self._share: Share | None = None

    @property
    def pool(self) -> Pool:
        """The pool that it draws on: another one than at first where two were merged meanwhile."""
        while self._pool.merged_into is not None:
            self._pool = self._pool.merged_into
        return self._pool

    async def passed(self, turnstile: Turnstile, cost: Cost) -> Permit:
        """This permit, once the limits that are shared with other processes allow the call as well."""
        asked_at = trio.current_time()
        try:
            self._share = await turnstile.passed(cost)
        except BaseException:
            self.released()
            raise
        now = trio.current_time()
        if self._booking is not None:
            self._booking = self._booking.started(now)
        waited_s = now - asked_at
        if waited_s > self.waited_s:
            self.waited_for = turnstile.cause
        self.waited_s += waited_s
        return self

    def succeeded(self, usage: Usage | None, told: Told = NOTHING) -> None:
        """A picture came."""
        if (booking := self._close()) is not None:
            pool, now = self.pool, trio.current_time()
            before = pool.state(now)
            pool.succeeded(booking, usage, now, told)
            self._tell_change(pool, before, pool.state(now))
            if self._share is not None:
                self._share.succeeded(usage)
            self._gate.changed(pool)

    def failed(self, problem: Problem, told: Told = NOTHING) -> None:
        """No picture came."""
        if (booking := self._close()) is not None:
            pool, now = self.pool, trio.current_time()
            before = pool.state(now)
            pool.failed(booking, problem, now, told)
            self._tell_change(pool, before, pool.state(now))
            if self._share is not None:
                self._share.failed()
            self._gate.changed(pool)

    def released(self) -> None:
        """The request never left."""
        if (booking := self._close()) is not None:
            pool = self.pool
            pool.released(booking)
            if self._share is not None:
                self._share.released()
            self._gate.changed(pool)

    def _tell_change(self, pool: Pool, before: str, after: str) -> None:
        if after.partition(" ")[0] != before.partition(" ")[0]:
            # A pause is the course of things; what ends or holds back a pool is not.
            level = logging.INFO if after.startswith(("paused", "ready")) else logging.WARNING
            # Behind the colon is what the API said, which may quote a prompt.
            state = after if prompts_heard() else after.partition(":")[0]
            log.log(level, "pool_changed", pool=pool.name, key=self.key, state=state)

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
