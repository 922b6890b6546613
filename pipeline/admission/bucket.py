"""One limit a minute, kept at the client's door: paced by GCRA, and never exceeded in any window of a minute.

GCRA (the generic cell rate algorithm, ITU-T I.371) spaces requests evenly: the only discipline with next to no refusals on servers that
count by continuous buckets, by sliding logs and by fixed windows alike. It forgives lateness up to a tolerance,
and so alone it would let a little more than a minute's limit through in the first minute: an exact log of the last minute forbids that.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import attrs

from headrace.admission.credit import Credit

if TYPE_CHECKING:
    from collections.abc import Iterable

MINUTE_S = 60.0
SHARE = 0.99
"""Part of the limit that is aimed at: what delays on the way compress is then still within it."""
TOLERANCE_S = 1.0
"""So much of the rate may start at once after a pause; it also makes up for late wake-ups."""
NARROW = 1.5
WIDEST_S = 10.0
"""No pause saves up more of the rate than so many seconds, or one and a half of the largest request."""
START_S = 0.5
"""So much of the rate may start at once at the start."""
SMALL_LIMIT = 60.0
"""Up to so many a minute one refusal costs more than a margin: no tolerance, and a second between two minutes."""
SMALL_GUARD_S = 1.0
_SLACK_S = 0.25


@attrs.define(eq=False)
class Charge:
    """What one request took of a bucket, and when."""

    at: float
    cost: float
    used: float = 0.0
    """What the minute before had been charged, with this."""
    on_credit: bool = False
    """Whether it was ahead of the pace, because the server had said that it would take it."""
    waited_until: float | None = None
    """When it went out, where it had to wait elsewhere yet."""

    @property
    def left_at(self) -> float:
        """When it went out."""
        return self.at if self.waited_until is None else self.waited_until


@attrs.frozen
class Terms:
    """What another keeper of the same limit has to know of it."""

    unit_s: float
    """Seconds of the rate that one unit takes."""
    tolerance_s: float
    limit: float
    """What no window may exceed; infinite where nothing is promised."""
    window_s: float


class Bucket:
    """A limit a minute. Pure: ``now`` is an argument, in seconds of any monotonic clock.

    Args:
        limit: what no window of a minute may exceed; infinite where nothing is known.
        spread: the tolerance is at least so many times the largest request so far. Where another limit binds as well, this one has to
            save up what a run of small requests leaves of it: of six requests 99 % can be used, of one and a half 92 %.
    """

    def __init__(self, limit: float, spread: float = 1.5) -> None:
        self.limit = limit
        self.rate = limit
        """A minute; what is aimed at is a little less."""
        self.credit = Credit(limit)
        self._spread = spread
        self._largest = 0.0
        self._due = float("-inf")
        """When the next request is due if every one so far had been on time (GCRA's theoretical arrival time)."""
        self._fresh = True
        self._log: deque[Charge] = deque()
        self._total = 0.0
        """Sum of the costs in the log."""
        self._fit()

    def change(self, now: float, rate: float) -> None:
        """From now on another rate within the limit; what is overdue is paid off at the new rate."""
        before = self._second_cost
        self.rate = rate
        self._fit()
        if self._due > now and before:
            self._due = now + (self._due - now) * self._second_cost / before

    def drain(self, now: float) -> None:
        """Nothing may start ahead of the pace: what the server has let in before is not known here."""
        self._due = max(self._due, now + self._tolerance)

    def tighten(self, limit: float) -> None:
        """From now on no window of a minute may exceed this."""
        self.limit = min(self.limit, limit)
        self._fit()

    def absorb(self, other: Bucket, now: float) -> None:
        """Take over what another bucket has charged: both stand for the same limit."""
        self._log = deque(sorted([*self._log, *other._log], key=lambda charge: charge.at))
        self._total += other._total
        self._due = max(self._due, other._due, now + self._tolerance)

    def prime(self, charges: Iterable[tuple[float, float]]) -> None:
        """Enter what was charged before this run: times on this run's clock, so before its start, and costs."""
        largest = self._largest
        for at, cost in sorted(charges):
            self.take(cost, at)
        # What comes is the sum of a second, and no request.
        self._largest = largest
        self._fit()

    @property
    def terms(self) -> Terms:
        """As they are now."""
        return Terms(self._second_cost, self._tolerance, self.limit, self._window)

    @property
    def ready(self) -> float:
        """When the pace lets the next request start, of whatever cost; the log of the last minute may still say later."""
        return self._due - self._tolerance

    def earliest(self, cost: float, now: float) -> float:
        """When a request of that cost may start, ``now`` at the earliest; never where it is larger than the limit."""
        if cost > self.limit:
            return math.inf
        self._forget(now)
        start = now if self.credit.covers(cost, now) else max(now, self._due - self._tolerance)
        over = self._total + cost - self.limit
        if over > 0:
            for charge in self._log:
                over -= charge.cost
                if over <= 0:
                    return max(start, charge.at + self._window)
        return start

    def leaves_room(self, cost: float, behind: float, behind_at: float, now: float) -> bool:
        """Whether a request of the one cost, started now, does not delay one of the other that can start then."""
        paced = max(self._due, now) + cost * self._second_cost - self._tolerance
        return cost + behind <= self.limit and paced <= behind_at and self.earliest(cost + behind, now) <= behind_at

    def latest(self, now: float) -> float:
        """When a request may start at the latest, of whatever cost up to the limit."""
        self._forget(now)
        bounded = math.isfinite(self.limit) and self._log
        return max(now, self._due - self._tolerance, self._log[-1].at + self._window if bounded else now)

    def pressed(self, now: float) -> bool:
        """Whether a request that starts now has waited for this limit, and not this limit for a request."""
        return now - (self._due - self._tolerance) <= max(_SLACK_S, _SLACK_S * self._second_cost)

    def take(self, cost: float, now: float) -> Charge:
        """Book a request that starts now."""
        on_credit = self.credit.covers(cost, now) and self._due - self._tolerance > now
        self.credit.spend(cost, now)
        if cost > self._largest:
            self._largest = cost
            self._fit()
        if self._fresh:
            # All of the tolerance at the start would be more than the margin of a minute, which some servers count on into the next.
            self._fresh, self._due = False, max(self._due, now + max(0.0, self._tolerance - START_S))
        if not on_credit:
            self._due = max(self._due, now) + cost * self._second_cost
        self._forget(now)
        self._total += cost
        charge = Charge(now, cost, self._total, on_credit)
        self._log.append(charge)
        return charge

    def correct(self, charge: Charge, cost: float) -> None:
        """Make a booking what it turned out to be: tokens that were billed, or nothing for a request that never left."""
        if not charge.on_credit:
            self._due += (cost - charge.cost) * self._second_cost
        if self._log and charge.at >= self._log[0].at:
            self._total += cost - charge.cost
        charge.cost = cost

    def used(self, now: float) -> float:
        """What the last minute was charged."""
        self._forget(now)
        return self._total

    def used_after(self, at: float) -> float:
        """What was charged after that moment, as far as the last minute goes back."""
        later = 0.0
        for charge in reversed(self._log):
            if charge.at <= at:
                break
            later += charge.cost
        return later

    def usage(self, now: float) -> float:
        """Part of the limit that the last minute used, from 0 to 1 and a little above after a correction."""
        return self.used(now) / min(self.limit, self.rate)

    def recent(self, now: float) -> list[tuple[float, float]]:
        """The last minute's charges in steps of a second: the time of the last one in each step, and their sum."""
        self._forget(now)
        steps: dict[float, tuple[float, float]] = {}
        for charge in self._log:
            step = math.floor(charge.at)
            steps[step] = (charge.at, steps.get(step, (0.0, 0.0))[1] + charge.cost)
        return list(steps.values())

    def _fit(self) -> None:
        # Of an unlimited rate a request takes no time.
        self._second_cost = MINUTE_S / (self.rate * SHARE)
        # A tolerance below the largest request would let its pause be lost.
        largest_s = self._largest * self._second_cost
        wide = min(self._spread * largest_s, max(WIDEST_S, NARROW * largest_s))
        self._tolerance = 0.0 if self.rate <= SMALL_LIMIT else max(TOLERANCE_S, wide)
        self._window = MINUTE_S + (SMALL_GUARD_S if self.limit <= SMALL_LIMIT else MINUTE_S / SHARE - MINUTE_S)

    def _forget(self, now: float) -> None:
        while self._log and self._log[0].at + self._window <= now:
            self._total -= self._log.popleft().cost
        if not self._log:
            self._total = 0.0  # sums of floats drift
