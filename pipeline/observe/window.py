"""Sums over the last so many seconds, in memory that does not grow with what is summed. Pure: time is an argument."""

from __future__ import annotations

from collections import deque

import attrs

SLOTS = 60
"""A window moves on by so many steps."""


@attrs.define
class Mean:
    """A sum, and of how many."""

    count: int = 0
    total: float = 0.0

    @property
    def value(self) -> float:
        """The mean; of flags it is the share of those that are set."""
        return self.total / self.count if self.count else 0.0


class Window:
    """The mean of what was put in within the last ``length_s`` seconds, to the slot."""

    def __init__(self, length_s: float) -> None:
        self._slot_s = length_s / SLOTS
        self._slots: deque[tuple[int, Mean]] = deque()

    def put(self, value: float, now: float) -> None:
        """One more; ``now`` never goes back."""
        number = int(now // self._slot_s)
        if not self._slots or self._slots[-1][0] != number:
            self._forget(number)
            self._slots.append((number, Mean()))
        slot = self._slots[-1][1]
        slot.count += 1
        slot.total += value

    def mean(self, now: float) -> Mean:
        """Of what is in it now."""
        self._forget(int(now // self._slot_s))
        slots = [slot for _, slot in self._slots]
        return Mean(sum(slot.count for slot in slots), sum(slot.total for slot in slots))

    def _forget(self, number: int) -> None:
        while self._slots and self._slots[0][0] <= number - SLOTS:
            self._slots.popleft()
