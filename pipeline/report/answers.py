"""What became of the prompts: by status, by what gave the picture, by why they failed; how long calls took."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import attrs

from headrace.observe.counters import FREE
from headrace.records import Strategy

if TYPE_CHECKING:
    from headrace.records import Result
    from headrace.report.rows import Item
    from headrace.report.worktime import WorkTime

_EXAMPLES = 3
_BY_MEANING = (Strategy.CACHE_CANONICAL, Strategy.CACHE_VERIFIED, Strategy.CACHE_COSINE, Strategy.CACHED_SIMILAR)


def in_other_words(result: Result) -> bool:
    """Whether a prompt was given the picture of one in other words: whether that fits is for a person to say."""
    if result.match is None:
        return False
    shared = result.match.prompt is not None and result.match.prompt != result.prompt
    return result.strategy in _BY_MEANING or (result.strategy is Strategy.COALESCED and shared)


@attrs.frozen
class Example:
    """One prompt that failed."""

    name: str
    prompt: str | None
    message: str


@attrs.frozen(kw_only=True)
class Latency:
    """How long the calls of one model and quality took, in seconds."""

    model: str
    quality: str
    count: int
    p10: float
    p50: float
    p90: float
    p99: float
    mean: float


@attrs.define
class Tier:
    """What one strategy gave."""

    prompts: int = 0
    pictures: int = 0
    saved_usd: float = 0.0


@attrs.define
class Answers:
    """Sums over the prompts, taken in one at a time."""

    work: WorkTime
    by_status: Counter[str] = attrs.field(factory=Counter)
    tiers: defaultdict[str, Tier] = attrs.field(factory=lambda: defaultdict(Tier))
    failures: Counter[str] = attrs.field(factory=Counter)
    examples: defaultdict[str, list[Example]] = attrs.field(factory=lambda: defaultdict(list))
    price_unknown: bool = False
    by_meaning: int = 0
    """Prompts that were given the picture of a prompt in other words."""
    saved: list[float] = attrs.field(factory=list)
    """USD saved at each point of the charts."""
    _seconds: defaultdict[tuple[str, str], array[float]] = attrs.field(factory=lambda: defaultdict(lambda: array("f")))

    def __attrs_post_init__(self) -> None:
        self.saved = [0.0] * self.work.points

    def add(self, item: Item) -> None:
        """Take one in."""
        self.by_status[item.status] += 1
        result = item.result
        if result is None:
            return
        if result.error is not None:
            kind = result.error.kind.value
            self.failures[kind] += 1
            if len(self.examples[kind]) < _EXAMPLES:
                self.examples[kind].append(Example(item.name, item.prompt, result.error.message))
        self.by_meaning += in_other_words(result)
        if result.strategy is not None:
            tier = self.tiers[result.strategy.value]
            tier.prompts += 1
            tier.pictures += len(result.images)
            tier.saved_usd += result.saved_usd or 0.0
            if result.saved_usd and item.ended_at is not None:
                self.saved[self.work.point(item.ended_at)] += result.saved_usd
            if result.latency_s is not None and result.strategy not in FREE:
                self._seconds[result.model or "?", result.quality or "?"].append(result.latency_s)
        self.price_unknown = self.price_unknown or result.cost_usd is None

    @property
    def total(self) -> int:
        """Prompts."""
        return self.by_status.total()

    @property
    def ended(self) -> int:
        """Prompts that have a result."""
        return self.total - self.by_status["unfinished"]

    @property
    def free(self) -> int:
        """Prompts that got a picture without a call."""
        return sum(self.tiers[name].prompts for name in FREE if name in self.tiers)

    @property
    def pictures(self) -> int:
        """Pictures that were given, those of the cache as often as they were."""
        return sum(tier.pictures for tier in self.tiers.values())

    @property
    def saved_usd(self) -> float:
        """What the cache did not have to pay again."""
        return sum(tier.saved_usd for tier in self.tiers.values())

    def ranked(self) -> list[tuple[str, Tier]]:
        """The tiers, what gave most prompts their picture first."""
        return sorted(self.tiers.items(), key=lambda each: -each[1].prompts)

    def latencies(self) -> list[Latency]:
        """By model and quality, the most used first."""
        groups = sorted(self._seconds.items(), key=lambda group: -len(group[1]))
        return [_latency(model, quality, sorted(seconds)) for (model, quality), seconds in groups]


def _latency(model: str, quality: str, seconds: list[float]) -> Latency:
    # The nearest rank: a figure that was measured, and no mean of two.
    p10, p50, p90, p99 = (seconds[max(0, math.ceil(share * len(seconds)) - 1)] for share in (0.1, 0.5, 0.9, 0.99))
    mean = math.fsum(seconds) / len(seconds)
    return Latency(model=model, quality=quality, count=len(seconds), p10=p10, p50=p50, p90=p90, p99=p99, mean=mean)
