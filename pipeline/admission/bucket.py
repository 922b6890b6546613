"""One limit a minute, kept at the client's door: paced by GCRA, and never exceeded in any window of a minute.

GCRA (the generic cell rate algorithm, ITU-T I.371) spaces requests evenly: the only discipline with next to no refusals on servers that
count by continuous buckets, by sliding logs and by fixed windows alike. It forgives lateness up to a tolerance,
and so alone it would let a little more than a minute's limit through in the first minute: an exact log of the last minute forbids that.
"""

from __future__ import annotations

from collections import deque

import attrs

MINUTE_S = 60.0
SHARE = 0.99
"""Part of the limit that is aimed at: what delays on the way compress is then still within it."""
TOLERANCE_S = 1.0
"""So much of the rate may start at once, after the start or after a pause; it also makes up for late wake-ups."""
LARGEST = 1.5
"""The tolerance is at least so many times the largest request so far, in time."""
SMALL_LIMIT = 60.0
"""Up to so many a minute one refusal costs more than a margin: no tolerance, and a second between two minutes."""
SMALL_GUARD_S = 1.0


@attrs.define(eq=False)
class Charge:
    """What one request took of a bucket, and when."""

    at: float
    cost: float


class Bucket:
    """A limit a minute. Pure: ``now`` is an argument, in seconds of any monotonic clock."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._second_cost = MINUTE_S / (limit * SHARE)
        small = limit <= SMALL_LIMIT
        self._tolerance = 0.0 if small else TOLERANCE_S
        self._window = MINUTE_S + (SMALL_GUARD_S if small else MINUTE_S / SHARE - MINUTE_S)
        self._due = float("-inf")
        """When the next request is due if every one so far had been on time (GCRA's theoretical arrival time)."""
        self._log: deque[Charge] = deque()
        self._total = 0.0
        """Sum of the costs in the log."""

    def earliest(self, cost: float, now: float) -> float:
        """When a request of that cost may start, ``now`` at the earliest; the cost must not be above the limit."""
        self._forget(now)
        start = max(now, self._due - self._tolerance)
        over = self._total + cost - self.limit
        if over > 0:
            for charge in self._log:
                over -= charge.cost
                if over <= 0:
                    return max(start, charge.at + self._window)
        return start

    def latest(self, now: float) -> float:
        """When a request may start at the latest, of whatever cost up to the limit."""
        self._forget(now)
        return max(now, self._due - self._tolerance, self._log[-1].at + self._window if self._log else now)

    def take(self, cost: float, now: float) -> Charge:
        """Book a request that starts now."""
        if self._tolerance:
            # A tolerance below the largest request would let its pause be lost.
            self._tolerance = max(self._tolerance, LARGEST * cost * self._second_cost)
        self._due = max(self._due, now) + cost * self._second_cost
        charge = Charge(now, cost)
        self._log.append(charge)
        self._total += cost
        return charge

    def correct(self, charge: Charge, cost: float) -> None:
        """Make a booking what it turned out to be: tokens that were billed, or nothing for a request that never left."""
        self._due += (cost - charge.cost) * self._second_cost
        if self._log and charge.at >= self._log[0].at:
            self._total += cost - charge.cost
        charge.cost = cost

    def usage(self, now: float) -> float:
        """Part of the limit that the last minute used, from 0 to 1 and a little above after a correction."""
        self._forget(now)
        return self._total / self.limit

    def _forget(self, now: float) -> None:
        while self._log and self._log[0].at + self._window <= now:
            self._total -= self._log.popleft().cost
        if not self._log:
            self._total = 0.0  # sums of floats drift
