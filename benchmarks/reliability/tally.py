"""Findings of many trials in several threads, one list a question, until they are outcomes."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from reliability.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.define(eq=False)
class Tally:
    """Counts trials and figures, and keeps what broke by the question that it answers."""

    counts: Counter[str] = attrs.field(factory=Counter)
    peaks: Counter[str] = attrs.field(factory=Counter)
    _broken: dict[str, list[str]] = attrs.field(factory=dict)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def add(self, figure: str, amount: int = 1) -> None:
        """So many more; the most at once is kept too."""
        with self._lock:
            self.counts[figure] += amount
            self.peaks[figure] = max(self.peaks[figure], amount)

    def broke(self, question: str, findings: Iterable[str]) -> None:
        """What was found, nothing in the best case."""
        found = list(findings)
        with self._lock:
            self._broken.setdefault(question, []).extend(found)

    def outcome(self, question: str, trials: int, note: str = "") -> Outcome:
        """The line of the scorecard for one question."""
        return Outcome(question, trials, tuple(self._broken.get(question, ())), note)

    def strays(self, questions: Iterable[str]) -> tuple[str, ...]:
        """Findings of any other question: nothing that was found may go untold."""
        known = set(questions)
        return tuple(finding for name, found in self._broken.items() if name not in known for finding in found)
