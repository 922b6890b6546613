"""Money: what may still be spent, counting what is in flight at its estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Budget:
    """At most ``most_usd`` for all lines together; without a bound everything is affordable and only counted.

    ``before_usd`` is what earlier runs of the same job have spent.
    """

    def __init__(self, most_usd: float | None, before_usd: float = 0.0) -> None:
        self.most_usd = most_usd
        self.before_usd = before_usd
        self.spent_usd = before_usd
        self.reserved_usd = 0.0

    def line(self) -> Purse:
        """The part of one line; leaving its ``with`` block gives back what it still has set aside."""
        return Purse(self)


class Purse:
    """What one line has set aside for its prompts."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._reserved: dict[int, float] = {}

    def reserve(self, seq: int, cost_usd: float | None) -> str | None:
        """Set the estimated cost of prompt ``seq`` aside, in place of an earlier one; returns why that cannot be done, or None."""
        budget = self._budget
        if budget.most_usd is None:
            return None
        if cost_usd is None:
            return f"its price is unknown, and the budget is ${budget.most_usd:g}"
        before = self._reserved.get(seq, 0.0)
        taken = budget.spent_usd + budget.reserved_usd - before
        if taken + cost_usd > budget.most_usd:
            earlier = f" (${budget.before_usd:.4f} of it by earlier runs of this job)" if budget.before_usd else ""
            used = f"${taken:.4f} is paid or set aside{earlier}"
            return f"the budget of ${budget.most_usd:g} is spent: {used}, and this takes ${cost_usd:.4f}"
        self._reserved[seq] = cost_usd
        budget.reserved_usd += cost_usd - before
        return None

    def settle(self, seq: int, cost_usd: float | None) -> None:
        """What prompt ``seq`` really cost."""
        self._budget.spent_usd += cost_usd or 0.0
        self._budget.reserved_usd -= self._reserved.pop(seq, 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for seq in tuple(self._reserved):
            self.settle(seq, None)
