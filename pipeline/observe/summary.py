"""What a run came to, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.admission.bucket import SMALL_LIMIT, TOLERANCE_S
from headrace.records import Status, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.admission.books import PoolStatistics
    from headrace.journal.journal import Journal
    from headrace.observe.counters import Counters

TELLING_S = 10.0
"""A share of a limit a minute says something from so many seconds on."""

SHOWN = 5

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


def summary(counters: Counters, pools: Sequence[PoolStatistics], elapsed_s: float) -> Iterator[str]:
    """The lines of the summary."""
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
        yield _use_of_limits(pools)
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


def _use_of_limits(pools: Sequence[PoolStatistics]) -> str:
    shares = [(pool.name, *bound) for pool in pools if (bound := binding_limit(pool)) is not None]
    if not shares:
        return f"limits: the calls were over within {TELLING_S:.0f} s, too soon to tell the share that was used"
    told = ", ".join(f"{name} {share:.1%} of {resource}" for name, resource, share in shares[:SHOWN])
    more = f", and {len(shares) - SHOWN} more" if len(shares) > SHOWN else ""
    return f"the limit that bound each pool, and the share that was used: {told}{more}"


def binding_limit(pool: PoolStatistics) -> tuple[str, float] | None:
    """The limit that a pool used most, and which part of it, from 0 to 1; None where it has none, or worked too short a time to tell.

    The time is that from its first call to its last. The first request takes none of it, and what the tolerance lets start at once neither.
    """
    span = (pool.last_at or 0.0) - (pool.first_at or 0.0)
    if span < TELLING_S:
        return None
    shares = {}
    for resource in ("images", "tokens", "requests"):
        limit = getattr(pool.limits, f"{resource}_per_minute")
        if limit is not None:
            tolerated = limit * TOLERANCE_S / 60 if limit > SMALL_LIMIT else 0.0
            at_once = tolerated + pool.admitted[resource] / max(pool.calls, 1)
            shares[f"{resource}/min"] = pool.admitted[resource] / (limit * span / 60 + at_once)
    if pool.limits.max_concurrency is not None:
        # The last calls came back later than they were admitted, by the length of a call.
        shares["calls at once"] = pool.busy_s / (pool.limits.max_concurrency * (span + pool.busy_s / max(pool.calls, 1)))
    return max(shares.items(), key=lambda item: item[1], default=None)
