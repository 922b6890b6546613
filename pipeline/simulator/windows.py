"""How much of a per-minute limit is used: three ways to count a minute, pure, with the time passed in.

Times are seconds of any clock that starts at 0 or later and does not go back; amounts are images, requests or tokens.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headrace.simulator.settings import Discipline

MINUTE_S = 60.0
# A caller who waits exactly as long as it was told arrives within a rounding error of the right instant.
_SLACK = 1e-6


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
        self._log: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def used(self, now: float) -> float:
        """What was charged in the 60 s before ``now``."""
        while self._log and self._log[0][0] + MINUTE_S - _SLACK <= now:
            self._used -= self._log.popleft()[1]
        return self._used

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until enough of the log is older than 60 s."""
        if amount > self.limit:
            return math.inf
        excess = self.used(now) + amount - self.limit
        for at, charged in self._log:
            if excess <= _SLACK:
                break
            excess -= charged
            if excess <= _SLACK:
                return at + MINUTE_S - now
        return 0.0

    def charge(self, amount: float, now: float) -> None:
        """Log ``amount``, or whatever is left of the limit."""
        amount = min(amount, self.limit - self.used(now))
        if amount > 0:
            self._log.append((now, amount))
            self._used += amount

    def full_s(self, now: float) -> float:
        """Seconds until the last charge is older than 60 s."""
        self.used(now)
        return self._log[-1][0] + MINUTE_S - now if self._log else 0.0

    def resize(self, limit: float, now: float) -> None:
        """Another limit; the log stays."""
        self.used(now)
        self.limit = limit


class Fixed:
    """Whole minutes of the clock, each with the whole limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._minute = -1
        self._used = 0.0

    def used(self, now: float) -> float:
        """What was charged in this minute of the clock."""
        minute = math.floor((now + _SLACK) / MINUTE_S)
        if minute > self._minute:
            self._minute, self._used = minute, 0.0
        return self._used

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until the next minute, where ``amount`` does not fit into this one."""
        if amount > self.limit:
            return math.inf
        return 0.0 if self.used(now) + amount <= self.limit + _SLACK else self._left(now)

    def charge(self, amount: float, now: float) -> None:
        """Use up ``amount``, or whatever is left of this minute."""
        self._used = max(self.used(now), min(self.limit, self._used + amount))

    def full_s(self, now: float) -> float:
        """Seconds until the next minute; 0 where nothing of this one is used."""
        return self._left(now) if self.used(now) > 0 else 0.0

    def resize(self, limit: float, now: float) -> None:
        """Another limit; what this minute has used stays used."""
        self.used(now)
        self.limit = limit

    def _left(self, now: float) -> float:
        return (self._minute + 1) * MINUTE_S - now


def make_window(discipline: Discipline, limit: float, burst_s: float) -> Window:
    """A fresh window of that discipline; ``burst_s`` is for the continuous one."""
    match discipline:
        case "continuous":
            return Continuous(limit, burst_s)
        case "sliding":
            return Sliding(limit)
        case "fixed":
            return Fixed(limit)
