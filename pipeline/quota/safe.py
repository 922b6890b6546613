"""What one process may use of a pool's limits while nobody can say what the others use: its part of them. Pure: takes ``now``.

Its own last minute counts, so that the parts never add up to more than the limit, not even around the moment when the store was lost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headrace.admission.bucket import MINUTE_S, Bucket
from headrace.admission.bucket import SHARE as AIMED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.admission.bucket import Terms
    from headrace.quota.account import Account

SHARE = 0.98
"""So much of the pace is kept: the rest is for processes that come back to the shared books some seconds before others do."""
UNSEEN_S = 2.0


class Safe:
    """A part of each limit.

    Args:
        terms: of the whole limits, by resource.
        workers: processes that share them.
        account: what this one has used.
        now: when it begins.
    """

    def __init__(self, terms: Mapping[str, Terms], workers: int, account: Account, now: float) -> None:
        self._account = account
        self._workers = workers
        self._buckets: dict[str, Bucket] = {}
        for resource, each in terms.items():
            bucket = self._buckets[resource] = Bucket(each.limit / workers)
            bucket.change(now, SHARE * _rate(each) / workers)
            recent = [*account.recent(resource, now)]
            bucket.prime(recent)
            # It takes a while to see that the store is lost, and so long nothing started.
            bucket.drain(max([now - UNSEEN_S, *(at for at, _ in recent)]))

    def wait_s(self, costs: Mapping[str, int], most: int | None, now: float) -> float:
        """Seconds until a call may start; infinite where only a call that comes back, or the store, can help.

        ``most`` calls at once all may have; None where there is no such limit.
        """
        if most is not None and len(self._account.leases) >= most // self._workers:
            return math.inf
        ready = [self._buckets[resource].earliest(cost, now) for resource, cost in costs.items() if resource in self._buckets]
        return max(ready, default=now) - now

    def take(self, costs: Mapping[str, int], now: float) -> None:
        """A call starts."""
        for resource, cost in costs.items():
            if resource in self._buckets:
                self._buckets[resource].take(cost, now)


def _rate(terms: Terms) -> float:
    return MINUTE_S / (terms.unit_s * AIMED)
