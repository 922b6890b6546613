"""How much of a per-minute limit is used: four ways to count a minute, pure, with the time passed in.

Times are seconds of any clock that starts at 0 or later and does not go back; amounts are images, requests or tokens.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headrace.simulator.settings import Discipline

MINUTE_S = 60.0
# A caller who waits exactly as long as it was told arrives within a rounding error of the right instant.
_SLACK = 1e-6
_TIDY_FROM = 1_000


class Window(Protocol):
    """One limit a minute and what of it is used."""

    limit: float

    def used(self, now: float) -> float:
        """What counts against the limit at ``now``; at most the limit."""
        ...

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` fits: 0 when it fits now, infinity when it never will."""
        ...

    def charge(self, amount: float, now: float) -> None:
        """Use up ``amount``, or whatever is left of the limit where that is less."""
        ...

    def full_s(self, now: float) -> float:
        """Seconds until the whole limit is free again, if nothing is used meanwhile."""
        ...

    def resize(self, limit: float, now: float) -> None:
        """From ``now`` on, another limit; what was used stays used."""
        ...


class Continuous:
    """A bucket that refills all the time, which is what the vendor's own figures fit."""

    def __init__(self, limit: float, burst_s: float) -> None:
        self._burst_s = burst_s
        self._at = 0.0
        self._set(limit)
        self._level = self._capacity

    def _set(self, limit: float) -> None:
        self.limit = limit
        # A bucket that holds less than one whole thing would let nothing through for ever.
        self._capacity = max(1.0, limit * self._burst_s / MINUTE_S) if limit else 0.0

    def _settle(self, now: float) -> float:
        if now > self._at:
            self._level = min(self._capacity, self._level + (now - self._at) * self.limit / MINUTE_S)
            self._at = now
        return self._level

    def used(self, now: float) -> float:
        """What counts against the limit at ``now``, so that the vendor's message adds up for every capacity."""
        return self.limit - self._settle(now)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` fits."""
        if amount > self._capacity:
            return math.inf
        missing = amount - self._settle(now)
        return missing * MINUTE_S / self.limit if missing > _SLACK else 0.0

    def charge(self, amount: float, now: float) -> None:
        """Use up ``amount``.

        The level goes down to 0 and no further: under a caller who keeps asking, a bucket in debt would never
        recover, and no recorded refusal has ever quoted more used than the limit.
        """
        self._level = max(0.0, self._settle(now) - amount)

    def full_s(self, now: float) -> float:
        """Seconds until the bucket is full."""
        missing = self._capacity - self._settle(now)
        return missing * MINUTE_S / self.limit if missing > 0 else 0.0

    def resize(self, limit: float, now: float) -> None:
        """Another rate and capacity; the level is cut to the new capacity."""
        self._settle(now)
        self._set(limit)
        self._level = min(self._level, self._capacity)


class Sliding:
    """An exact log of the last 60 s."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._times: list[float] = []
        # All that was charged up to each entry of the log, so that both ends of the minute are found by bisection.
        self._totals = [0.0]
        self._gone = 0

    def used(self, now: float) -> float:
        """What was charged in the 60 s before ``now``."""
        self._gone = bisect_right(self._times, now - MINUTE_S + _SLACK, self._gone)
        return self._totals[-1] - self._totals[self._gone]

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until enough of the log is older than 60 s."""
        if amount > self.limit:
            return math.inf
        self.used(now)
        entries = bisect_left(self._totals, self._totals[-1] + amount - self.limit - _SLACK)
        return self._times[entries - 1] + MINUTE_S - now if entries > self._gone else 0.0

    def charge(self, amount: float, now: float) -> None:
        """Log ``amount``, or whatever is left of the limit."""
        amount = min(amount, self.limit - self.used(now))
        if amount > 0:
            self._times.append(now)
            self._totals.append(self._totals[-1] + amount)
            if self._gone > max(_TIDY_FROM, len(self._times) / 2):
                self._tidy()

    def full_s(self, now: float) -> float:
        """Seconds until the last charge is older than 60 s."""
        self.used(now)
        return self._times[-1] + MINUTE_S - now if len(self._times) > self._gone else 0.0

    def resize(self, limit: float, now: float) -> None:
        """Another limit; the log stays."""
        self.used(now)
        self.limit = limit

    def _tidy(self) -> None:
        before = self._totals[self._gone]
        del self._times[: self._gone]
        self._totals = [total - before for total in self._totals[self._gone :]]
        self._gone = 0


class Counter:
    """Two whole minutes of the clock: what the last one took, weighted by how much of it the last 60 s still cover, and this one's."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._minute, self._last, self._this = -1, 0.0, 0.0

    def used(self, now: float) -> float:
        """The two counts together."""
        minute = math.floor((now + _SLACK) / MINUTE_S)
        if minute > self._minute:
            self._last, self._this = (self._this if minute == self._minute + 1 else 0.0), 0.0
            self._minute = minute
        return self._this + self._last * min(1.0, self._left(now) / MINUTE_S)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until the older of the two counts weighs little enough: this minute's becomes that in the next."""
        if amount > self.limit:
            return math.inf
        if self.used(now) + amount <= self.limit + _SLACK:
            return 0.0
        room = self.limit - amount
        if self._this <= room:
            return self._left(now) - MINUTE_S * (room - self._this) / self._last
        return self._left(now) + MINUTE_S - MINUTE_S * room / self._this

    def charge(self, amount: float, now: float) -> None:
        """Count ``amount``, or whatever is left of the limit."""
        left = self.limit - self.used(now)
        self._this += max(0.0, min(amount, left))

    def full_s(self, now: float) -> float:
        """Seconds until neither minute counts any more, two minutes at most."""
        return self._left(now) + (MINUTE_S if self._this else 0.0) if self.used(now) > 0 else 0.0

    def resize(self, limit: float, now: float) -> None:
        """Another limit; both counts stay."""
        self.used(now)
        self.limit = limit

    def _left(self, now: float) -> float:
        return (self._minute + 1) * MINUTE_S - now


class Fixed:
    """Whole windows of the clock, each with its share of the limit in whole things."""

    def __init__(self, limit: float, window_s: float) -> None:
        self._window_s = window_s
        self._window, self._spent = -1, 0.0
        self._set(limit)

    def _set(self, limit: float) -> None:
        self.limit = limit
        # As with the bucket: a window that holds less than one whole thing would let nothing through for ever.
        self._share = max(1.0, math.floor(limit * self._window_s / MINUTE_S)) if limit else 0.0

    def _remaining(self, now: float) -> float:
        window = math.floor((now + _SLACK) / self._window_s)
        if window > self._window:
            self._window, self._spent = window, 0.0
        return max(0.0, self._share - self._spent)

    def used(self, now: float) -> float:
        """What counts against the limit at ``now``, so that the vendor's message adds up for every length of a window."""
        return max(0.0, self.limit - self._remaining(now))

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until the next window, where ``amount`` does not fit into this one."""
        if amount > self._share:
            return math.inf
        return 0.0 if amount <= self._remaining(now) + _SLACK else self._left(now)

    def charge(self, amount: float, now: float) -> None:
        """Use up ``amount``, or whatever is left of this window."""
        left = self._remaining(now)
        self._spent += min(amount, left)

    def full_s(self, now: float) -> float:
        """Seconds until the next window; 0 where nothing of this one is used."""
        self._remaining(now)
        return self._left(now) if self._spent > 0 else 0.0

    def resize(self, limit: float, now: float) -> None:
        """Another limit; what this window has used stays used."""
        self._remaining(now)
        self._set(limit)

    def _left(self, now: float) -> float:
        return (self._window + 1) * self._window_s - now


def make_window(discipline: Discipline, limit: float, *, burst_s: float = MINUTE_S, window_s: float = MINUTE_S) -> Window:
    """A fresh window of that discipline; ``burst_s`` is for the continuous one, ``window_s`` for the fixed one."""
    match discipline:
        case "continuous":
            return Continuous(limit, burst_s)
        case "sliding":
            return Sliding(limit)
        case "counter":
            return Counter(limit)
        case "fixed":
            return Fixed(limit, window_s)
