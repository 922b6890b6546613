"""How many calls a pool has out at once, and how many it may: named, or found. Pure.

What is needed is the rate times the latency (Little's law: 250 pictures a minute of 35 s each are 146 calls), so no constant fits. Where a
rate is known it bounds the calls by itself; where nothing is known their number doubles with each round that comes back, until a refusal.
"""

from __future__ import annotations

import math

from headrace.admission.last_good import LastGood, Patience
from headrace.admission.lesson import Lesson
from headrace.told import CALLS

FIRST = 16
"""Calls at once where nothing at all is known."""
PATIENCE = Patience(hold_s=60.0, hold_calls=150, longest_calls=300, stand_s=10.0, stand_calls=5, longest_s=180.0, unit=1.0)

ROUND_S = 2.0
"""A refusal comes back within so many seconds; a picture does not."""


class Calls:
    """Calls at once.

    Args:
        named: what the settings allow; None where they do not say.
        slow_start: whether nothing else is known of the pool's limits, so that the first calls have to find out.
    """

    def __init__(self, named: int | None, *, slow_start: bool) -> None:
        self.named = named
        self.out = 0
        self.others = 0
        """Where the limits are shared: what other processes have out."""
        self._most = math.inf if named is None else float(named)
        self._start = float(FIRST) if slow_start and named is None else None
        """How many there may be in the slow start; None once it is over."""
        self._found: LastGood | None = None
        self._round_at = float("-inf")

    @property
    def most(self) -> float:
        """As many may be out."""
        most = self._most
        if self._found is not None:
            most = min(most, math.floor(self._found.level))
        return most if self._start is None else min(most, self._start)

    @property
    def bound(self) -> int | None:
        """As many may be out in all processes together; None where nobody knows of such a limit."""
        most = self.most
        if self._start is not None:
            # Whoever has none out may begin: what others have been let have says nothing against it.
            most = max(most, self.others + 1)
        return None if math.isinf(most) else math.floor(most)

    @property
    def learnt(self) -> int | None:
        """What refusals taught; None where there were none, or where the settings say less."""
        return None if self._found is None or self._found.level >= self._most else math.floor(self._found.level)

    @property
    def free(self) -> bool:
        """Whether one more may go out."""
        return self.out < self.most

    def sent(self, now: float) -> None:
        """One goes out."""
        self.out += 1
        if self._found is not None and self.out + self.others >= self.most:
            self._found.used(now, 1.0 + self.others / self.out)

    def back(self, *, well: bool) -> None:
        """One came back; ``well`` where it was served."""
        if self._start is not None and well and self.out + self.others >= math.floor(self._start):
            self._start += 1.0 + self.others / self.out
        self.out -= 1

    def paced(self) -> None:
        """A rate is known from now on, and bounds the calls."""
        self._start = None

    def refused(self, sent_at: float, now: float) -> bool:
        """A call was refused because there were too many (it is out no more); returns whether something was learnt."""
        out = self.out + self.others
        if self._found is None:
            if not out:
                return False  # one call alone is not too many: the pause has to do
            self.put(out, now)
            self._round_at = now
            return True
        if sent_at <= self._round_at and now <= self._round_at + ROUND_S:
            # Of a burst that was too large those that are still out were let in.
            self.put(max(1, min(out, math.floor(self._found.level))), now)
            return True
        return self._found.refused(sent_at, now, out)

    def absorb(self, other: Calls) -> None:
        """Those of another pool that turned out to be this one."""
        self.out += other.out
        self._most = min(self._most, other._most)

    @property
    def lesson(self) -> Lesson | None:
        """What another process can go on with; None where nothing was found."""
        if self._found is None:
            return None
        return Lesson(resource=CALLS, named=self.named, limit=None, source="refusals", standing=self._found.standing)

    def take_up(self, lesson: Lesson, now: float) -> None:
        """Another process has found that: go on with it."""
        if self._found is None:
            self.put(1, now)
            self._round_at = now
        assert self._found is not None  # noqa: S101 - put() makes it
        self._found.go_on(lesson.standing, now)

    def put(self, most: int, now: float) -> None:
        """What an earlier run had found, or the server names."""
        self._start = None
        self._found = LastGood(1.0, PATIENCE, least=1.0, most=self._most)
        self._found.put(most, now)
