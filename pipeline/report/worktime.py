"""Time at work: the runs of a folder one behind the other, without the hours or days between them. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
_POINTS = 60
"""Points of a chart, at the most."""


class WorkTime:
    """Seconds since 1970 as seconds at work.

    Args:
        spans: beginning and end of each run, in order; what overlaps counts once.
    """

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        self.offsets: list[float] = []
        """Seconds at work at which each run began."""
        self.total_s = 0.0
        for started, ended in spans:
            begun = max(started, self._ends[-1]) if self._ends else started
            if ended > begun:
                self._starts.append(begun)
                self._ends.append(ended)
                self.offsets.append(self.total_s)
                self.total_s += ended - begun

    def at(self, moment: float) -> float:
        """Seconds at work by then; between two runs those of the first."""
        run = bisect_right(self._starts, moment) - 1
        return 0.0 if run < 0 else self.offsets[run] + (min(moment, self._ends[run]) - self._starts[run])

    @property
    def step_s(self) -> float:
        """Seconds of one point in a chart."""
        return float(next((step for step in _STEPS if self.total_s / step <= _POINTS), self.total_s / _POINTS))

    @property
    def points(self) -> int:
        """How many there are."""
        return int(self.total_s / self.step_s) + 1

    def point(self, moment: float) -> int:
        """The number of the point that a moment belongs to."""
        return min(int(self.at(moment) / self.step_s), self.points - 1)
