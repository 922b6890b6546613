"""What a run came to, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.observe.binding import constraints
from headrace.records import Status, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.admission.books import PoolStatistics
    from headrace.journal.journal import Journal
    from headrace.observe.counters import Counters

_WORDS = {
    Strategy.PRIMARY: "made",
    Strategy.REDUCED_QUALITY: "made in reduced quality",
    Strategy.ALTERNATIVE_API: "made by the alternative API",
    Strategy.CACHE_EXACT: "from the cache",
    Strategy.CACHE_CANONICAL: "from the cache for the same content words",
    Strategy.CACHE_VERIFIED: "from the cache for the same meaning",
    Strategy.CACHE_COSINE: "from the cache for a near cosine",
    Strategy.COALESCED: "shared with one in flight",
    Strategy.CACHED_SIMILAR: "given a similar picture from the cache",
}


def summary(counters: Counters, pools: Sequence[PoolStatistics], elapsed_s: float, max_in_flight: int | None = None) -> Iterator[str]:
    """The lines of the summary; ``max_in_flight`` is named where it bound."""
    by_status = counters.by_status
    yield f"{counters.total:,} prompts in {elapsed_s:.1f} s: " + ", ".join(f"{by_status[status]:,} {status.value}" for status in Status)
    if counters.recalled:
        yield f"{counters.recalled:,} of them were finished by earlier runs, for ${counters.recalled_usd:.4f}; what follows is of this run"
    ways = [f"{count:,} {_WORDS[strategy]}" for strategy, count in counters.by_strategy.items()]
    if ways:
        yield "ok: " + ", ".join(ways)
    if counters.failures:
        yield "not ok: " + ", ".join(f"{count:,} {kind}" for kind, count in counters.failures.most_common())
    calls, refused = sum(pool.calls for pool in pools), sum(pool.refused for pool in pools)
    if calls:
        yield f"calls: {calls:,} attempts, {refused:,} refused (429), {counters.pictures_made * 60 / elapsed_s:,.0f} pictures/min"
        yield from constraints(pools, max_in_flight)
    unknown = " (some prices are unknown)" if counters.price_unknown else ""
    yield f"cost: ${counters.cost_usd:.4f}{unknown}, saved ${counters.saved_usd:.4f}"
    for pool in pools:
        if pool.state != "ready":
            yield f"pool {pool.name} is {pool.state}"


def doubts(journal: Journal | None, cancelled: int, folder: str) -> Iterator[str]:
    """What may have been paid for nothing, in the run before or in this one, and where it is named."""
    named = f"headrace status {folder} names them"
    if cancelled:
        yield f"{cancelled} prompts were cancelled and have no line; calls under way may have been paid: {named}"
    if journal is not None and journal.asked_again:
        yield f"{journal.asked_again} calls of a run that was killed may have been paid, and were made again: {named}"
    if journal is not None and journal.held:
        yield f"{journal.held} prompts may have been paid in a run that was killed, and are left alone; --in-doubt retry asks again"
