"""Where requests wait for their turn: the async shell around the pools.

Requests queue in order of arrival. Whenever something changes (one arrives, one comes back, a limit refills) :meth:`Gate._assign` walks
the queue once: a request that some pool can start now goes to the best such pool; one that has to wait keeps the pool that can start it
earliest for itself, so that what comes behind can use the other pools but never overtake it at its own. Nobody polls, and no rate is
booked ahead of the calls that will use it.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.log import log
from headrace.records import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.admission.pool import Booking, Cost, Pool, PoolStatistics
    from headrace.records import Estimated, Usage


class Permit:
    """Leave to make one HTTP call with one key; it ends with exactly one outcome, and later ones are ignored."""

    def __init__(self, gate: Gate, pool: Pool, booking: Booking) -> None:
        self._gate = gate
        self._pool = pool
        self._booking: Booking | None = booking
        self.key = booking.key.name

    @property
    def pool(self) -> Pool:
        """The pool that it draws on."""
        return self._pool

    def succeeded(self, usage: Usage | None) -> None:
        """A picture came."""
        if (booking := self._close()) is not None:
            self._pool.succeeded(booking, usage, trio.current_time())
            self._gate.changed()

    def failed(self, problem: Problem) -> None:
        """No picture came."""
        if (booking := self._close()) is not None:
            before = self._pool.statistics(trio.current_time()).state
            self._pool.failed(booking, problem, trio.current_time())
            after = self._pool.statistics(trio.current_time()).state
            log.info("call_failed", pool=self._pool.name, key=self.key, kind=problem.kind.value, status=problem.status)
            if after.partition(" ")[0] != before.partition(" ")[0]:
                # A pause is the course of things; what ends or holds back a pool is not.
                level = logging.INFO if after.startswith(("paused", "ready")) else logging.WARNING
                log.log(level, "pool_changed", pool=self._pool.name, key=self.key, state=after)
            self._gate.changed()

    def released(self) -> None:
        """The request never left."""
        if (booking := self._close()) is not None:
            self._pool.released(booking)
            self._gate.changed()

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


@attrs.define(eq=False)
class _Waiter:
    cost: Cost
    outcome: Permit | Problem | None = None
    woken: trio.Event = attrs.field(factory=trio.Event)


class Gate:
    """Admits requests to the pools of one API, each as early as any pool allows."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self.pools = tuple(pools)
        self._queue: OrderedDict[int, _Waiter] = OrderedDict()
        self._timer = trio.CancelScope()
        self._living = len(self.pools)

    async def run(self) -> None:
        """Wake up when the next waiting request is due; runs until cancelled, beside whatever uses the gate."""
        while True:
            with self._timer:
                await trio.sleep_forever()
            self._timer = trio.CancelScope()
            self.changed()

    async def acquire(self, cost: Cost) -> Permit | Problem:
        """Wait for leave to make one call; a :class:`Problem` where no pool will ever give it."""
        if (problem := self._hopeless(cost)) is not None:
            return problem
        waiter = _Waiter(cost)
        self._queue[id(waiter)] = waiter
        try:
            self.changed()
            await waiter.woken.wait()
        except BaseException:
            self._queue.pop(id(waiter), None)
            if isinstance(waiter.outcome, Permit):
                waiter.outcome.released()
            else:
                self.changed()  # a pool may have been kept for it
            raise
        assert waiter.outcome is not None  # noqa: S101 - set before the event
        return waiter.outcome

    def changed(self) -> None:
        """Let in whoever can start now, and set the alarm for the next."""
        now = trio.current_time()
        granted, wake_at = self._assign(now)
        self._timer.deadline = wake_at
        for waiter, outcome in granted:
            waiter.outcome = outcome
            waiter.woken.set()

    def statistics(self) -> tuple[PoolStatistics, ...]:
        """The books of every pool as they are now."""
        now = trio.current_time()
        return tuple(pool.statistics(now) for pool in self.pools)

    def _assign(self, now: float) -> tuple[list[tuple[_Waiter, Permit | Problem]], float]:
        granted: list[tuple[_Waiter, Permit | Problem]] = list(self._told())
        told = {id(waiter) for waiter, _ in granted}
        wake_at = math.inf
        free = [pool for pool in self.pools if pool.has_room]
        for waiter in self._queue.values():
            if not free:
                break
            fitting = [pool for pool in free if pool.too_large(waiter.cost) is None]
            if not fitting or id(waiter) in told:
                continue
            starts = [(pool.earliest(waiter.cost, now), pool) for pool in fitting]
            earliest, pool = min(starts, key=lambda start: start[0])
            if earliest > now:
                wake_at = min(wake_at, earliest)
                free.remove(pool)
                continue
            pool = max((pool for at, pool in starts if at <= now), key=lambda pool: pool.score(now))
            granted.append((waiter, Permit(self, pool, pool.take(waiter.cost, now))))
            if not pool.has_room:
                free.remove(pool)
        for waiter, _ in granted:
            del self._queue[id(waiter)]
        return granted, wake_at

    def _told(self) -> Iterator[tuple[_Waiter, Problem]]:
        # Whether anybody waits in vain can change only when a pool dies.
        living = sum(pool.alive for pool in self.pools)
        if living != self._living:
            self._living = living
            for waiter in self._queue.values():
                if (problem := self._hopeless(waiter.cost)) is not None:
                    yield waiter, problem

    def _hopeless(self, cost: Cost) -> Problem | None:
        living = [pool for pool in self.pools if pool.alive]
        if not living:
            reasons = "; ".join(reason for pool in self.pools for reason in pool.reasons())
            return Problem(kind=Kind.NO_POOL, message=f"no key can work any more: {reasons}", retryable=True)
        complaints = [pool.too_large(cost) for pool in living]
        if all(complaints):
            return Problem(kind=Kind.TOO_LARGE, message="larger than any limit: it takes " + "; ".join(filter(None, complaints)))
        return None
