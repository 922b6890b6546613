"""Where the calls of one pool get their slots of the shared limits, one after the other.

Only one asks at a time, and the next asks when its slot is near: so nearly every question is a grant, and little is booked ahead.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

from headrace.admission import ledger
from headrace.quota.account import Account
from headrace.quota.exchange import CALLS, PAUSED, SCRIPT, Answer, ask, encoded, keys_of
from headrace.quota.learning import Learning
from headrace.quota.safe import Safe
from headrace.quota.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.admission.booking import Cost
    from headrace.admission.bucket import Terms
    from headrace.admission.pool import Pool
    from headrace.quota.account import Holding
    from headrace.quota.worker import Worker
    from headrace.redis.link import Link

    Changed = Callable[[Pool], None]

LEAD_S = 0.25
"""The next call asks so long before the last slot: time for the way to the store and back."""
WAITING = 2
"""So many calls without a slot wait here; the others wait at the gate, where another pool can take them."""
BEAT_S = 0.75
"""Whoever has used something tells so often what there is to tell: books that were lost open after a second."""
IDLE_BEAT_S = 10.0
"""Whoever has not says so often that it is there; after half a minute of silence it is not."""
LATE_S = 0.5
"""A slot that is missed by so much (the process or the machine stood still) is nobody's any more: others have had theirs since. It is
less than the 0.6 s that the pace leaves of a minute, so that calls that were late do not make the next minute too full."""
SAME_S = 1.0
"""A pause that ends so near to our own is our own, come back."""
SILENT_S = 30.0
"""Books that are new need so long to count the processes: not fewer than before are reckoned with until then."""
LEASE_S = 30.0
"""A lease outlives the longest call by so much."""


class Turnstile:
    """One pool.

    Args:
        pool: whose limits are shared.
        prefix: of its keys in the store.
        link: to the store.
        worker: this process.
        timeout_s: a call takes so long at most.
        changed: told when the pool has room again, or may start something else than before.
        keys: fingerprints of the pool's keys, by their names.
    """

    def __init__(
        self, pool: Pool, prefix: str, link: Link, worker: Worker, timeout_s: float, changed: Changed, keys: Mapping[str, str] | None = None
    ) -> None:
        self.cause = ledger.SHARED
        self._pool = pool
        self._prefix = prefix
        self._link = link
        self._worker = worker
        self._changed = changed
        self._account = Account(timeout_s + LEASE_S)
        self._learning = Learning(pool, keys or {})
        self._turn = trio.Lock()
        self._telling = trio.Lock()
        self._waiting = 0
        self._workers, self._counted_at = 0, float("-inf")
        self._number = 0
        self._told_at = float("-inf")
        self._trip_s = math.inf
        """The shortest way to the store and back of late: what takes longer was late on its way."""
        self._safe: Safe | None = None
        self._hurry = trio.Event()
        """Set where others should know something at once."""

    @property
    def free(self) -> bool:
        """Whether one more may wait."""
        return self._waiting < WAITING

    def comes(self) -> None:
        """Somebody was let in at the gate."""
        self._waiting += 1

    def goes(self) -> None:
        """Who had come has a slot, or will not pass."""
        self._waiting -= 1

    async def passed(self, cost: Cost) -> Slot:
        """Wait for a slot, and for its moment."""
        late_s = LATE_S
        while True:
            holding = await self._moment(cost)
            slot = self._held(holding)
            now = trio.current_time()
            if now <= holding.due + late_s and now >= self._pool.paused_until:
                return slot
            slot.released()
            late_s *= 2 if now > holding.due + late_s else 1  # who is always late has to get through all the same
            await trio.sleep_until(self._pool.paused_until)
            self.comes()

    def _held(self, holding: Holding) -> Slot:
        return Slot(self._pool, self._account, holding, self._hurries)

    def _hurries(self) -> bool:
        if news := self._pool.paused_until > trio.current_time() or self._learning.has_news:
            self._hurry.set()
        return news

    async def _moment(self, cost: Cost) -> Holding:
        holding = None
        try:
            async with self._turn:
                holding = await self._slot(cost)
                self.goes()
                self._tell_room()
                await trio.sleep_until(holding.start - LEAD_S)
            await trio.sleep_until(holding.start)
        except BaseException:
            if holding is None:
                self.goes()
            else:
                self._held(holding).released()
            raise
        return holding

    async def run(self) -> None:
        """Tell what there is to tell, and that this process is there, where nobody asks; runs until cancelled."""
        while True:
            now = trio.current_time()
            due = self._told_at + (BEAT_S if self._account.in_use(now) else IDLE_BEAT_S)
            if self._link.up and (now >= due or self._hurry.is_set()):
                self._hurry = trio.Event()
                await self._exchange(self._terms())
            elif self._link.up:
                with trio.move_on_after(min(BEAT_S, due - now)):
                    await self._hurry.wait()
            else:
                await self._link.turned(BEAT_S)

    async def leave(self) -> None:
        """Tell the rest, and that this process is no more."""
        if self._link.up:
            await self._exchange(self._terms(), leaves=True)

    async def _slot(self, cost: Cost) -> Holding:
        while True:
            terms = self._terms()
            costs = {resource: getattr(cost, resource) for resource in terms}
            self._number += 1
            lease = f"{self._worker.name}:{self._number}"
            holding = await (self._booked(costs, terms, lease) if self._link.up else self._given(costs, terms, lease))
            if holding is not None:
                return holding

    async def _booked(self, costs: dict[str, int], terms: dict[str, Terms], lease: str) -> Holding | None:
        """A slot of the shared books, or None after a wait."""
        try:
            answer = await self._exchange(terms, ask(costs, terms, lease, self._pool.calls.bound, len(self._account.leases)))
            if answer is None:
                self._account.abandon(lease)  # it may have been booked all the same
                return None
            self._hear(answer, tuple(costs))
            if answer.granted:
                start = trio.current_time() + answer.wait_s
                return self._account.hold(costs, start, lease=lease, slot_us=answer.slot_us, late_s=answer.late_s)
            await self._link.turned(answer.wait_s)
        except trio.Cancelled:
            self._account.abandon(lease)  # it may have been booked, or a place is kept for it
            raise
        return None

    def _hear(self, answer: Answer, resources: Sequence[str]) -> None:
        """What keeps calls waiting, and what the other processes use."""
        binding = resources[answer.binding - 1] if answer.binding > PAUSED else None
        self.cause = ledger.CALLS if answer.binding == CALLS else ledger.SHARED if binding is None else f"{binding}/min"
        for resource, total in zip(resources, answer.totals, strict=True):
            self._pool.meters.meter(resource).shared(total, trio.current_time(), pressed=resource == binding)

    async def _given(self, costs: dict[str, int], terms: dict[str, Terms], lease: str) -> Holding | None:
        """Leave to start now by this process's own part of the limits, or None after a wait."""
        self.cause = ledger.SHARED
        now = trio.current_time()
        workers = max(self._workers, self._worker.least)
        if self._safe is None and workers:
            rates = {resource: each for resource, each in terms.items() if each.unit_s > 0}
            self._safe = Safe(rates, workers, self._account, now)
        wait_s = math.inf if self._safe is None or self._link.paused else self._safe.wait_s(costs, self._pool.calls.bound, now)
        if self._safe is None or wait_s > 0:
            await self._link.turned(min(wait_s, BEAT_S))
            return None
        self._safe.take(costs, now)
        return self._account.hold(costs, now, lease=lease)

    async def _exchange(self, terms: dict[str, Terms], asked: dict[str, Any] | None = None, *, leaves: bool = False) -> Answer | None:
        async with self._telling:
            now, account = trio.current_time(), self._account
            if self._safe is not None:
                self._safe = None
                account.rejoin(now)
            news = account.news(now, leaves=leaves)
            ours = {"worker": self._worker.name, "leaves": leaves or None, "ask": asked}
            told = account.told(news, terms, now) | self._learning.told() | ours
            answer = None
            try:
                answered = await self._link.run(SCRIPT, keys_of(self._prefix, terms), encoded(told))
                self._told_at = trio.current_time()
                self._trip_s = min(self._told_at - now, 2 * self._trip_s + 0.01)
                answer = None if answered is None else Answer.of(answered, self._told_at - now - self._trip_s)
            finally:
                if answer is None:
                    account.undelivered(news)
            if answer is not None:
                self._delivered(answer, now)
            return answer

    def _delivered(self, answer: Answer, now: float) -> None:
        if self._account.delivered(answer.opened, self._told_at):
            self._learning.forgotten()
            self._counted_at, self._told_at = self._told_at + SILENT_S, float("-inf")  # the rest is told at once
        self._workers = max(1, answer.workers, self._workers if now < self._counted_at else 0)
        self._pool.calls.others = max(0, answer.calls - self._account.places - answer.granted)
        changed = self._learning.heard(answer, heard_at := trio.current_time())
        if answer.pause_s > 0 and (until := heard_at + answer.pause_s) > self._pool.paused_until + SAME_S:
            self._pool.pause(until, "another process that shares its limits was asked to wait")
            changed = True
        if changed:
            self._tell_room()

    def _tell_room(self) -> None:
        pool = self._pool
        while pool.merged_into is not None:
            pool = pool.merged_into
        self._changed(pool)

    def _terms(self) -> dict[str, Terms]:
        """Of what limits there are; of one that nobody knows yet the use is counted."""
        return {name: meter.bucket.terms for name, meter in self._pool.meters.by_name.items()}
