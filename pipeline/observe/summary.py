"""What a run came to, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.admission.bucket import TOLERANCE_S
from headrace.records import Status, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.admission.pool import PoolStatistics
    from headrace.observe.counters import Counters

TELLING_S = 10.0
"""A share of a limit a minute says something from so many seconds on."""

_WORDS = {
    Strategy.PRIMARY: "made",
    Strategy.REDUCED_QUALITY: "made in reduced quality",
    Strategy.ALTERNATIVE_API: "made by the alternative API",
    Strategy.CACHE_EXACT: "from the cache",
    Strategy.COALESCED: "shared with an equal prompt in flight",
}


def summary(counters: Counters, pools: Sequence[PoolStatistics], elapsed_s: float) -> Iterator[str]:
    """The lines of the summary."""
    by_status = counters.by_status
    yield f"{counters.total:,} prompts in {elapsed_s:.1f} s: " + ", ".join(f"{by_status[status]:,} {status.value}" for status in Status)
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
        if pool.state.startswith(("benched", "held")):
            yield f"pool {pool.name} is {pool.state}"


def _use_of_limits(pools: Sequence[PoolStatistics]) -> str:
    shares = limits_used(pools)
    if not shares:
        return f"limits: the calls were over within {TELLING_S:.0f} s, too soon to tell the share that was used"
    used = [f"{share:.1%} of {resource}" for resource, share in sorted(shares.items(), key=lambda item: -item[1])]
    return f"limits used while there was work: {', '.join(used)}; the first is the one that bound"


def limits_used(pools: Sequence[PoolStatistics]) -> dict[str, float]:
    """Part of each limit that was used, from 0 to 1, over all pools together; empty for what was too short to tell.

    The time is that between the first and the last call, and the second whose rate may start at once.
    """
    first = min((pool.first_at for pool in pools if pool.first_at is not None), default=0.0)
    last = max((pool.last_at for pool in pools if pool.last_at is not None), default=0.0)
    if last - first < TELLING_S:
        return {}
    shares = {}
    for resource in ("images", "tokens", "requests"):
        limited = [pool for pool in pools if getattr(pool.limits, f"{resource}_per_minute") is not None]
        if limited:
            allowed = sum(getattr(pool.limits, f"{resource}_per_minute") for pool in limited) * (last - first + TOLERANCE_S) / 60
            shares[f"{resource}/min"] = sum(pool.admitted[resource] for pool in limited) / allowed
    capped = [(pool, pool.limits.max_concurrency) for pool in pools if pool.limits.max_concurrency is not None]
    if capped:
        # The last calls came back later than they were admitted, by the length of a call.
        busy, calls = sum(pool.busy_s for pool, _ in capped), sum(pool.calls for pool, _ in capped)
        shares["calls at once"] = busy / sum(most * (last - first + busy / max(calls, 1)) for _, most in capped)
    return shares
