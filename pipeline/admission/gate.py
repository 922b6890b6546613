"""Where requests wait for their turn: the async shell around the pools and the queue.

Whenever something changes (a request arrives, a call comes back, a limit refills) whoever can start now is let in, by the best of the
pools that can start it, and the alarm is set for the next. Nobody polls, and no rate is booked ahead of the calls that will use it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.admission import ledger
from headrace.admission.booking import Cost
from headrace.admission.owners import Owners
from headrace.admission.permit import Permit
from headrace.admission.queue import Queue
from headrace.admission.verdict import shared_too_long, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.admission.books import PoolStatistics
    from headrace.admission.pool import Pool
    from headrace.admission.queue import Waiter
    from headrace.admission.shared import Turnstile
    from headrace.records import Problem


class Gate:
    """Admits requests to the pools of one API, each as early as any pool allows.

    Args:
        pools: whose limits there are.
        max_wait_s: a request that every pool would keep waiting for longer is told so at once.
    """

    def __init__(self, pools: Sequence[Pool], max_wait_s: float = math.inf) -> None:
        self.pools = tuple(pools)
        self.idle: Callable[[], str] = lambda: ledger.INPUT
        """What keeps requests from coming where nobody waits."""
        self._max_wait_s = max_wait_s
        self._queue = Queue()
        self._owners = Owners()
        self._timer = trio.CancelScope()
        self._known = {pool: (True, pool.meters.largest) for pool in self.pools}
        """Of each pool whether it lived, and what it let in at most, when it was last looked at."""
        self._lost = False
        """Whether somebody may wait in vain since everybody was last looked at: a pool died, or turned out to be smaller."""
        self._soon = self.pools[0] if self.pools else None
        """A pool that was near enough for whatever was ever asked for; most likely it still is."""
        self._largest = Cost(0, 0, 0)
        """Images, tokens and requests, each the most that anybody ever asked for."""
        self._models: tuple[str, ...] = ()
        self._held: str | None = None

    async def run(self) -> None:
        """Wake up when the next waiting request is due; runs until cancelled, beside whatever uses the gate."""
        for pool in self.pools:
            self._merge(pool)  # what an earlier run found out
        while True:
            with self._timer:
                await trio.sleep_forever()
            self._timer = trio.CancelScope()
            self._settle()

    async def acquire(self, cost: Cost) -> Permit | Problem:
        """Wait for leave to make one call; a :class:`Problem` where no pool will give it, or not within ``max_wait_s``."""
        if (problem := verdict(self.pools, cost, trio.current_time(), self._patience_s)) is not None:
            return problem
        waiter = self._queue.join(cost, trio.current_time())
        largest = self._largest
        if cost.images > largest.images or cost.tokens > largest.tokens or cost.requests > largest.requests:
            self._largest = Cost(max(cost.images, largest.images), max(cost.tokens, largest.tokens), max(cost.requests, largest.requests))
        try:
            self._settle()
            await waiter.woken.wait()
        except BaseException:
            self._queue.leave(waiter)
            if isinstance(waiter.outcome, Permit):
                if waiter.outcome.turnstile is not None:
                    waiter.outcome.turnstile.goes()
                waiter.outcome.released()
            else:
                self._settle()  # a pool may have been kept for it
            raise
        assert waiter.outcome is not None  # noqa: S101 - set before the event
        if isinstance(waiter.outcome, Permit) and (turnstile := waiter.outcome.turnstile) is not None:
            return await self._passed(waiter.outcome, turnstile, cost)
        return waiter.outcome

    async def _passed(self, permit: Permit, turnstile: Turnstile, cost: Cost) -> Permit | Problem:
        with trio.move_on_after(self._max_wait_s):
            return await permit.passed(turnstile, cost)
        return shared_too_long(permit.pool, turnstile.cause, self._max_wait_s)

    def hold(self, reason: str) -> None:
        """Let nothing in until :meth:`resume`; whoever waits goes on waiting, for as long as it takes."""
        self._held = reason
        self._settle()

    def resume(self) -> None:
        """Let in again what the limits allow."""
        self._held = None
        self._settle()

    def changed(self, pool: Pool) -> None:
        """A call of that pool is over."""
        self._merge(pool)
        known = pool.alive, pool.meters.largest
        if self._known[pool] != known:
            self._known[pool], self._lost = known, True
        self._settle((pool,))

    def statistics(self) -> tuple[PoolStatistics, ...]:
        """The books of every pool as they are now."""
        now = trio.current_time()
        books = tuple(pool.statistics(now) for pool in self.pools)
        if self._held is None:
            return books
        return tuple(attrs.evolve(each, state=f"held: {self._held}") for each in books)

    def _merge(self, pool: Pool) -> None:
        merged = self._owners.merged(pool, self.pools, trio.current_time())
        if merged is not None:
            self.pools = tuple(each for each in self.pools if each is not merged)
            self._soon, self._lost = None, True

    @property
    def _patience_s(self) -> float:
        return self._max_wait_s if self._held is None else math.inf

    def _settle(self, touched: Iterable[Pool] = ()) -> None:
        """Let in whoever can start now, tell whoever waits in vain, and set the alarm for the next."""
        now = trio.current_time()
        self._tell(now)
        granted, wake_at = self._assign(now)
        turned = {*touched, *(pool for _, pool in granted)}
        while granted:
            for waiter, _ in granted:
                self._queue.leave(waiter)
                waiter.woken.set()
            # What was let in keeps others waiting longer, and who leaves for that may have kept a pool from those behind.
            granted = []
            if self._tell(now):
                granted, wake_at = self._assign(now)
                turned.update(pool for _, pool in granted)
        self._timer.deadline = wake_at
        if (models := self._queue.models) != self._models:
            self._models, turned = models, set(self.pools)
        for pool in turned:
            pool.ledger.turn(self._cause(pool, now), now)

    def _assign(self, now: float) -> tuple[list[tuple[Waiter, Pool]], float]:
        if self._held is not None:
            return [], math.inf
        granted, wake_at = self._queue.assign(self.pools, now)
        for waiter, pool, booking in granted:
            waiter.outcome = Permit(self, pool, booking, waited_s=now - waiter.since, waited_for=pool.ledger.cause)
        return [(waiter, pool) for waiter, pool, _ in granted], wake_at

    def _tell(self, now: float) -> bool:
        """Tell everybody who waits in vain why; returns whether there was somebody."""
        if not self._queue.models:
            return False
        lost, self._lost = self._lost, False
        patience_s = self._patience_s
        # The queue may be long: nobody is looked at while some pool is near enough for whatever was ever asked for.
        if not lost and self._is_soon(now + patience_s, now):
            return False
        told = [(waiter, problem) for waiter in self._queue if (problem := verdict(self.pools, waiter.cost, now, patience_s))]
        for waiter, problem in told:
            self._queue.leave(waiter)
            waiter.outcome = problem
            waiter.woken.set()
        return bool(told)

    def _is_soon(self, latest: float, now: float) -> bool:
        def soon(pool: Pool) -> bool:
            return pool.alive and not pool.models and pool.latest(now) <= latest and pool.too_large(self._largest) is None

        if self._soon is not None and soon(self._soon):
            return True
        self._soon = next(filter(soon, self.pools), None)
        return self._soon is not None or all(pool.latest(now) <= latest for pool in self.pools if pool.alive)

    def _cause(self, pool: Pool, now: float) -> str:
        """What keeps the pool from starting a call."""
        if not pool.alive:
            return ledger.BENCHED
        if pool.closed_until > now:
            return ledger.FAILING if pool.failing else ledger.PAUSED
        if self._queue.models and self._queue.wanted(pool):
            if pool.turnstile is not None and not pool.turnstile.free:
                return pool.turnstile.cause
            binding = pool.meters.binding(now)
            return f"{binding}/min" if pool.has_room and binding != ledger.CALLS else "calls at once"
        return ledger.MIX if self._queue.models else self.idle()
