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

from headrace.admission.pool import Cost
from headrace.admission.verdict import verdict
from headrace.log import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.admission.pool import Booking, Pool, PoolStatistics
    from headrace.records import Estimated, Problem, Usage


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
            now = trio.current_time()
            before = self._pool.state(now)
            self._pool.succeeded(booking, usage, now)
            self._tell_change(before, self._pool.state(now))
            self._gate.changed()

    def failed(self, problem: Problem) -> None:
        """No picture came."""
        if (booking := self._close()) is not None:
            now = trio.current_time()
            before = self._pool.state(now)
            self._pool.failed(booking, problem, now)
            log.info("call_failed", pool=self._pool.name, key=self.key, kind=problem.kind.value, status=problem.status)
            self._tell_change(before, self._pool.state(now))
            self._gate.changed()

    def released(self) -> None:
        """The request never left."""
        if (booking := self._close()) is not None:
            self._pool.released(booking)
            self._gate.changed()

    def _tell_change(self, before: str, after: str) -> None:
        if after.partition(" ")[0] != before.partition(" ")[0]:
            # A pause is the course of things; what ends or holds back a pool is not.
            level = logging.INFO if after.startswith(("paused", "ready")) else logging.WARNING
            log.log(level, "pool_changed", pool=self._pool.name, key=self.key, state=after)

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
    """Admits requests to the pools of one API, each as early as any pool allows.

    Args:
        pools: whose limits there are.
        max_wait_s: a request that every pool would keep waiting for longer is told so at once.
    """

    def __init__(self, pools: Sequence[Pool], max_wait_s: float = math.inf) -> None:
        self.pools = tuple(pools)
        self._max_wait_s = max_wait_s
        self._queue: OrderedDict[int, _Waiter] = OrderedDict()
        self._timer = trio.CancelScope()
        self._living = len(self.pools)
        self._largest = Cost(0, 0, 0)
        """Images, tokens and requests, each the most that anybody ever asked for."""
        self._held: str | None = None

    async def run(self) -> None:
        """Wake up when the next waiting request is due; runs until cancelled, beside whatever uses the gate."""
        while True:
            with self._timer:
                await trio.sleep_forever()
            self._timer = trio.CancelScope()
            self.changed()

    async def acquire(self, cost: Cost) -> Permit | Problem:
        """Wait for leave to make one call; a :class:`Problem` where no pool will give it, or not within ``max_wait_s``."""
        if (problem := verdict(self.pools, cost, trio.current_time(), self._patience_s)) is not None:
            return problem
        waiter = _Waiter(cost)
        self._queue[id(waiter)] = waiter
        self._largest = Cost(*map(max, attrs.astuple(self._largest), attrs.astuple(cost)))
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

    def hold(self, reason: str) -> None:
        """Let nothing in until :meth:`resume`; whoever waits goes on waiting, for as long as it takes."""
        self._held = reason
        self.changed()

    def resume(self) -> None:
        """Let in again what the limits allow."""
        self._held = None
        self.changed()

    def changed(self) -> None:
        """Let in whoever can start now, tell whoever waits in vain, and set the alarm for the next."""
        now = trio.current_time()
        self._tell(now)
        granted, wake_at = self._assign(now)
        while granted:
            for waiter, permit in granted:
                self._wake(waiter, permit)
            # What was let in keeps others waiting longer, and who leaves for that may have kept a pool from those behind.
            granted = []
            if self._tell(now):
                granted, wake_at = self._assign(now)
        self._timer.deadline = wake_at

    def statistics(self) -> tuple[PoolStatistics, ...]:
        """The books of every pool as they are now."""
        now = trio.current_time()
        books = tuple(pool.statistics(now) for pool in self.pools)
        if self._held is None:
            return books
        return tuple(attrs.evolve(each, state=f"held: {self._held}") for each in books)

    @property
    def _patience_s(self) -> float:
        return self._max_wait_s if self._held is None else math.inf

    def _assign(self, now: float) -> tuple[list[tuple[_Waiter, Permit]], float]:
        granted: list[tuple[_Waiter, Permit]] = []
        wake_at = math.inf
        free = [pool for pool in self.pools if pool.has_room and self._held is None]
        for waiter in self._queue.values():
            if not free:
                break
            fitting = [pool for pool in free if pool.too_large(waiter.cost) is None]
            if not fitting:
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
        return granted, wake_at

    def _tell(self, now: float) -> bool:
        """Tell everybody who waits in vain why; returns whether there was somebody."""
        living = [pool for pool in self.pools if pool.alive]
        died, self._living = len(living) != self._living, len(living)
        patience_s = self._patience_s
        soon = [pool for pool in living if pool.latest(now) <= now + patience_s]
        # The queue may be long: nobody is looked at while some pool is near enough for whatever was ever asked for.
        if not died and (len(soon) == len(living) or any(pool.too_large(self._largest) is None for pool in soon)):
            return False
        told = [(waiter, problem) for waiter in self._queue.values() if (problem := verdict(self.pools, waiter.cost, now, patience_s))]
        for waiter, problem in told:
            self._wake(waiter, problem)
        return bool(told)

    def _wake(self, waiter: _Waiter, outcome: Permit | Problem) -> None:
        del self._queue[id(waiter)]
        waiter.outcome = outcome
        waiter.woken.set()
