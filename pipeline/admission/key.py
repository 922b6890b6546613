"""One API key as admission sees it: a name, a weight, and how it has been doing. Pure."""

from __future__ import annotations

import math

import attrs

HEALTH_MEMORY_S = 60.0
"""A key forgets a failure with this time constant: one that failed once is not avoided for ever."""


@attrs.define(eq=False)
class Key:
    """One API key, by its name."""

    name: str
    weight: float = 1.0
    in_flight: int = 0
    benched: str | None = None
    """Why it is not used any more."""
    _illness: float = 0.0
    _ill_at: float = 0.0

    def health(self, now: float) -> float:
        """From 1 for a key that works down towards 0 for one whose calls fail."""
        return 1.0 - self._illness * math.exp((self._ill_at - now) / HEALTH_MEMORY_S)

    def merit(self, now: float) -> float:
        """How much it should be used: weight x health."""
        return self.weight * self.health(now)

    def ended(self, *, failed: bool, now: float) -> None:
        """A call with it came back."""
        illness = 1.0 - self.health(now)
        self._illness = illness + (1.0 - illness) * 0.3 if failed else illness * 0.7
        self._ill_at = now
