"""What kept a pool from starting its next call, and for how long: the constraint that binds. Pure."""

from __future__ import annotations

from collections import defaultdict

INPUT = "the input"
IN_FLIGHT = "max_in_flight"
CONSUMER = "the consumer"
MIX = "the mix of models"
CALLS = "calls at once"
PAUSED = "a pause after a 429"
FAILING = "its server's failures"
BENCHED = "benched"
SHARED = "the shared quota"
"""Other processes have the same limits, and the store that says who is next is lost, or has opened its books only now."""
NOTHING = "nothing to do"
"""The input is at its end, or nobody has asked for anything: that is no constraint."""


class Ledger:
    """Seconds by what bound."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._cause: str | None = None
        self._since = 0.0

    @property
    def cause(self) -> str | None:
        """What keeps the next call waiting, as far as it was told."""
        return self._cause

    def turn(self, cause: str, now: float) -> None:
        """From now on this is what keeps the next call waiting."""
        if cause != self._cause:
            self._book(now)
            self._cause = cause

    def seconds(self, now: float) -> dict[str, float]:
        """So far, the largest first."""
        self._book(now)
        return dict(sorted(self._seconds.items(), key=lambda item: -item[1]))

    def _book(self, now: float) -> None:
        if self._cause is not None and now > self._since:
            self._seconds[self._cause] += now - self._since
        self._since = now
