"""Who waits for a permit, in order of arrival, and who of them can start now. Pure but for the event that wakes somebody.

One lane a model: a model whose pools are busy holds up nobody of another. Within a lane the first comes first; where it does not fit into
a pool's minute yet, later ones that are small enough not to delay it may use the pool meanwhile (EASY backfilling; Lifka, 1995).
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.admission.booking import Booking, Cost
    from headrace.admission.permit import Permit
    from headrace.admission.pool import Pool
    from headrace.records import Problem

LOOK_AHEAD = 128
"""So many of a lane that cannot start are passed over before the rest of it is left alone."""


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits."""

    cost: Cost
    number: int
    """Its place in the order of arrival."""
    since: float = 0.0
    """When it began to wait."""
    outcome: Permit | Problem | None = None
    woken: trio.Event = attrs.field(factory=trio.Event)


Grant = tuple[Waiter, "Pool", "Booking"]


class Queue:
    """Everybody who waits."""

    def __init__(self) -> None:
        self._lanes: dict[str, OrderedDict[int, Waiter]] = {}
        self._arrived = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for lane in self._lanes.values() for waiter in lane.values())

    @property
    def models(self) -> tuple[str, ...]:
        """The models that somebody waits for."""
        return tuple(self._lanes)

    def wanted(self, pool: Pool) -> bool:
        """Whether somebody of those who wait wants a model that the pool is for."""
        return not pool.models or any(map(pool.serves, self._lanes))

    def join(self, cost: Cost, now: float = 0.0) -> Waiter:
        """Wait from now on."""
        self._arrived += 1
        waiter = Waiter(cost, self._arrived, now)
        self._lanes.setdefault(cost.model, OrderedDict())[waiter.number] = waiter
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer; nothing happens where it does not wait."""
        lane = self._lanes.get(waiter.cost.model)
        if lane is not None and lane.pop(waiter.number, None) is not None and not lane:
            del self._lanes[waiter.cost.model]

    def assign(self, pools: Sequence[Pool], now: float) -> tuple[list[Grant], float]:
        """Book whatever can start now; returns who got what, and when the next can start if nothing else changes."""
        ready, wake_at = self._ready(pools, now) if self._lanes else ([], math.inf)
        granted: list[Grant] = []
        kept: dict[Pool, tuple[Cost, float]] = {}
        for waiter in self._in_order(ready, granted):
            best, at = _best(waiter.cost, ready, kept, now)
            if best is None:
                wake_at = min(wake_at, at)
                continue
            granted.append((waiter, best, best.take(waiter.cost, now)))
            if not best.has_room:
                ready.remove(best)
            elif (next_at := best.ready_at(now)) > now:
                ready.remove(best)
                wake_at = min(wake_at, next_at)
        return granted, wake_at

    def _ready(self, pools: Sequence[Pool], now: float) -> tuple[list[Pool], float]:
        """Pools that could start a call for somebody now, and when the first of the others can."""
        ready, wake_at = [], math.inf
        for pool in pools:
            if pool.has_room and self.wanted(pool):
                if (at := pool.ready_at(now)) <= now:
                    ready.append(pool)
                elif at < wake_at:
                    wake_at = at
        return ready, wake_at

    def _in_order(self, ready: list[Pool], granted: list[Grant]) -> Iterator[Waiter]:
        """By arrival, over the lanes that a ready pool is for; of a lane that cannot go on the rest is left out."""
        heads: list[tuple[int, Waiter, Iterator[Waiter]]] = []
        for lane in self._lanes.values():
            waiters = iter(lane.values())
            first = next(waiters)
            heads.append((first.number, first, waiters))
        heapq.heapify(heads)
        passed = dict.fromkeys(self._lanes, 0)
        while heads and ready:
            _, waiter, waiters = heads[0]
            model, before = waiter.cost.model, len(granted)
            if any(pool.serves(model) for pool in ready):
                yield waiter
                passed[model] += len(granted) == before
                following = next(waiters, None) if passed[model] <= LOOK_AHEAD else None
            else:
                following = None
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following.number, following, waiters))


def _best(cost: Cost, ready: Sequence[Pool], kept: dict[Pool, tuple[Cost, float]], now: float) -> tuple[Pool | None, float]:
    """The best of the pools that can start it now, and now; else None, and when the first of them can, which is kept for it."""
    can: list[Pool] = []
    first, first_at = None, math.inf
    for pool in ready:
        if not pool.fits(cost):
            continue
        at = pool.earliest(cost, now)
        if pool in kept:
            if at <= now and pool.leaves_room(cost, *kept[pool], now):
                can.append(pool)
        elif at <= now:
            can.append(pool)
        elif at < first_at:
            first, first_at = pool, at
    if can:
        return (can[0] if len(can) == 1 else max(can, key=lambda pool: pool.score(now))), now
    if first is not None:
        kept[first] = (cost, first_at)
    return None, first_at
