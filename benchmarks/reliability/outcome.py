"""What every trial of reliability comes to: a name, how often it was tried, and what broke."""

from __future__ import annotations

import attrs

RULE_OF_THREE = 3.0
"""No failure in n trials: with 95 % confidence fewer than 3/n fail."""


@attrs.frozen
class Outcome:
    """One line of the scorecard."""

    name: str
    trials: int
    failures: tuple[str, ...] = ()
    """One line each, with the seed or whatever else repeats it."""
    note: str = ""

    @property
    def bound(self) -> float | None:
        """The share of trials that may fail, with 95 % confidence; None where some did."""
        return None if self.failures or not self.trials else min(1.0, RULE_OF_THREE / self.trials)
