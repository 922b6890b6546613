"""What came out so far."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import attrs

from headrace.records import Status, Strategy

if TYPE_CHECKING:
    from headrace.records import Result

FREE = frozenset(
    {
        Strategy.CACHE_EXACT,
        Strategy.CACHE_CANONICAL,
        Strategy.CACHE_VERIFIED,
        Strategy.CACHE_COSINE,
        Strategy.COALESCED,
        Strategy.CACHED_SIMILAR,
    }
)


LAST = 10
"""So many of the last failures of this run are remembered."""


@attrs.frozen
class Failed:
    """A prompt that got no picture; its id and the message are foreign text."""

    id: str
    kind: str
    message: str


class Counters:
    """Sums over the results of a run."""

    def __init__(self) -> None:
        self.by_status: Counter[Status] = Counter()
        self.by_strategy: Counter[Strategy] = Counter()
        self.failures: Counter[str] = Counter()
        self.last_failed: deque[Failed] = deque(maxlen=LAST)
        self.pictures_made = 0
        self.cost_usd = 0.0
        self.saved_usd = 0.0
        self.price_unknown = False
        self.recalled = 0
        """Prompts whose result an earlier run made; what they cost is in ``recalled_usd`` alone."""
        self.recalled_usd = 0.0

    @property
    def total(self) -> int:
        """Prompts that have a result."""
        return self.by_status.total()

    @property
    def free(self) -> int:
        """Prompts that got a picture without a call."""
        return sum(self.by_strategy[strategy] for strategy in FREE)

    def count(self, result: Result) -> None:
        """Take one result into the sums."""
        self.by_status[result.status] += 1
        if result.error is not None:
            self.failures[result.error.kind.value] += 1
        if result.recalled:
            self.recalled += 1
            self.recalled_usd += result.cost_usd or 0.0
            return
        if result.error is not None:
            self.last_failed.append(Failed(result.id, result.error.kind.value, result.error.message))
        if result.strategy is not None:
            self.by_strategy[result.strategy] += 1
            if result.strategy not in FREE:
                self.pictures_made += len(result.images)
        self.price_unknown = self.price_unknown or result.cost_usd is None
        self.cost_usd += result.cost_usd or 0.0
        self.saved_usd += result.saved_usd or 0.0
