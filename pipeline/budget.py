"""Money: what may still be spent, counting what is in flight at its estimate."""

from __future__ import annotations


class Budget:
    """At most ``most_usd``; without a bound everything is affordable and only counted."""

    def __init__(self, most_usd: float | None) -> None:
        self.most_usd = most_usd
        self.spent_usd = 0.0
        self._reserved: dict[int, float] = {}
        self._reserved_usd = 0.0

    def reserve(self, seq: int, cost_usd: float | None) -> str | None:
        """Set the estimated cost of prompt ``seq`` aside; returns why that cannot be done, or None."""
        if self.most_usd is None:
            return None
        if cost_usd is None:
            return f"its price is unknown, and the budget is ${self.most_usd:g}"
        if self.spent_usd + self._reserved_usd + cost_usd > self.most_usd:
            return f"the budget of ${self.most_usd:g} is spent"
        self._reserved[seq] = cost_usd
        self._reserved_usd += cost_usd
        return None

    def settle(self, seq: int, cost_usd: float | None) -> None:
        """What prompt ``seq`` really cost."""
        self.spent_usd += cost_usd or 0.0
        self._reserved_usd -= self._reserved.pop(seq, 0.0)
