"""What came of one client of ``peers.py``, and whether headrace is first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OURS = "headrace"
CPU_GOAL = 2.0
THOROUGH = 0.99
"""Who answers so much of the prompts is compared in speed; one given up must not take a client out of the comparison."""
COLUMNS = ("client", "answered", "share", "429s", "paid twice", "seconds", "CPU ms")


@attrs.frozen(kw_only=True)
class Row:
    """What came of one client."""

    client: str
    prompts: int
    answered: int
    share: float
    refused: int
    paid_twice: int
    paid: int
    seconds: float
    cpu_ms: float | None
    """A picture; None where there is none."""
    problems: dict[str, int]

    def cells(self) -> tuple[str, ...]:
        """Its line of the table."""
        cpu = "-" if self.cpu_ms is None else f"{self.cpu_ms:.1f}"
        counts = (f"{self.answered} / {self.prompts}", f"{self.share:.1%}", f"{self.refused:,}", str(self.paid_twice))
        return self.client, *counts, f"{self.seconds:.1f}", cpu


def behind(rows: Sequence[Row]) -> Iterator[str]:
    """The columns in which headrace is not first; ties are first, and of CPU it may use twice what the leanest does."""
    ours = next((row for row in rows if row.client == OURS), None)
    others = [row for row in rows if row is not ours]
    if ours is None or not others:
        return
    if ours.answered < max(row.answered for row in others):
        yield "answered"
    # Who gives many prompts up has other work to do than who answers them.
    thorough = [row for row in others if row.answered >= THOROUGH * row.prompts]
    if any(row.share > ours.share for row in thorough):
        yield "share"
    if any(row.refused < ours.refused for row in others):
        yield "429s"
    if any(row.paid_twice < ours.paid_twice for row in others):
        yield "paid twice"
    if any(row.seconds < ours.seconds for row in thorough):
        yield "seconds"
    if ours.cpu_ms is None or ours.cpu_ms > CPU_GOAL * min((row.cpu_ms for row in others if row.cpu_ms is not None), default=math.inf):
        yield "CPU ms"
