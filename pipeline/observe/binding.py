"""The constraint that binds, named: which limit of which pool, or what else, and what more of it would bring.

Seconds by cause come from each pool's ledger; what is left to do here is to say it in few lines, for one pool as for a hundred.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.admission import ledger
from headrace.admission.bucket import SMALL_LIMIT, START_S
from headrace.log import log
from headrace.told import CALLS, RESOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from headrace.admission.books import PoolStatistics

TELLING_S = 10.0
"""A share of the time, or of a limit a minute, says something from so many seconds on."""
SHOWN = 5
WORTH_SAYING = 0.1
"""Share of the time from which a constraint is named."""
WORTH_BUYING = 0.05
"""Share of the time from which one more organisation is spoken of."""
LOOK_S = 60.0
WORTH_A_WARNING = 0.5
OF_THE_LINE = (ledger.INPUT, ledger.IN_FLIGHT, ledger.CONSUMER)
"""What holds up all pools alike."""
SAME = 0.01
_LEARNT = {"refusal": "learnt from a refusal", "refusals": "learnt from refusals", "header": "learnt from headers"}


@attrs.frozen
class _Bound:
    """How long one pool was held up by what."""

    pool: PoolStatistics
    whole_s: float
    causes: tuple[tuple[str, float], ...]
    """Of its own, with their shares of the whole, the largest first."""


def constraints(pools: Sequence[PoolStatistics], max_in_flight: int | None = None) -> Iterator[str]:
    """What bound, in lines for the end of a run.

    Args:
        pools: their books; those without a call are passed over, unless what waited was for other models.
        max_in_flight: prompts that may be between being read and being emitted; left out of the lines where it is None.
    """
    bounds = [_bound(pool) for pool in pools if pool.calls or pool.bound.get(ledger.MIX)]
    whole_s = sum(bound.whole_s for bound in bounds)
    if max((bound.whole_s for bound in bounds), default=0.0) < TELLING_S:
        yield f"limits: nothing was waited for longer than {TELLING_S:.0f} s, too soon to tell what binds"
    else:
        for cause in OF_THE_LINE:
            share = sum(bound.pool.bound.get(cause, 0.0) for bound in bounds) / whole_s
            if share >= WORTH_SAYING:
                yield _of_the_line(cause, share, pools, max_in_flight)
        yield from _of_pools(bounds)
    yield from _offers(pools)


def needed(pools: Sequence[PoolStatistics]) -> tuple[float, float, int] | None:
    """Images a minute that the known limits allow, mean seconds of a call, and how many calls at once that takes (Little's law).

    None where no limit or no call is known.
    """
    rate = calls = busy_s = ended = 0.0
    for pool in pools:
        if (back := pool.calls - pool.in_flight) <= 0:
            continue
        latency_s, images = pool.busy_s / back, pool.admitted["images"] / pool.calls
        known = {each.resource: each.limit * each.scale for each in pool.known if each.limit is not None}
        at_once = [known["images"] * latency_s / 60 / images] if "images" in known and images else []
        at_once += [known[CALLS]] if CALLS in known else []
        if at_once and latency_s:
            calls += min(at_once)
            rate += min(at_once) * images * 60 / latency_s
        busy_s, ended = busy_s + pool.busy_s, ended + back
    return (rate, busy_s / ended, max(1, round(calls))) if calls else None


async def watch(statistics: Callable[[], Sequence[PoolStatistics]], max_in_flight: int) -> None:
    """Warn once when ``max_in_flight``, and once when the mix of models bound most of a minute; runs until cancelled."""
    before: Mapping[str, Mapping[str, float]] = {}
    told: set[str] = set()
    while True:
        await trio.sleep(LOOK_S)
        pools = [pool for pool in statistics() if pool.bound]
        lately = {}
        for pool in pools:
            earlier = before.get(pool.name, {})
            lately[pool.name] = {cause: seconds - earlier.get(cause, 0.0) for cause, seconds in pool.bound.items()}
        before = {pool.name: pool.bound for pool in pools}
        whole_s = sum(sum(bound.values()) for bound in lately.values())
        held_s = sum(bound.get(ledger.IN_FLIGHT, 0.0) for bound in lately.values())
        if ledger.IN_FLIGHT not in told and held_s > WORTH_A_WARNING * whole_s:
            told.add(ledger.IN_FLIGHT)
            because = _need(pools) or "the limits allow more"
            log.warning("max_in_flight_binds", max_in_flight=max_in_flight, because=because, next="raise [run] max_in_flight")
        idle = [pool for pool in pools if lately[pool.name].get(ledger.MIX, 0.0) > WORTH_A_WARNING * LOOK_S]
        if ledger.MIX not in told and idle:
            told.add(ledger.MIX)
            names = _named([pool.name for pool in idle])
            log.warning("mix_of_models_binds", idle=names, because="what waits is for models that these pools are not for")


def used(pool: PoolStatistics, resource: str) -> float | None:
    """Part of a limit of the settings that was used between the first call and the last, from 0 to 1; None where that cannot be told."""
    span = (pool.last_at or 0.0) - (pool.first_at or 0.0)
    if span < TELLING_S:
        return None
    if resource == CALLS:
        cap, each_s = pool.limits.max_concurrency, pool.busy_s / max(pool.calls, 1)
        # The last calls came back later than they were admitted, by the length of a call.
        return None if cap is None else min(1.0, pool.busy_s / (cap * (span + each_s)))
    limit: float | None = getattr(pool.limits, f"{resource}_per_minute")
    if limit is None:
        return None
    # The first request takes none of the time, and what is let in at the start before the pace neither.
    ahead = pool.admitted[resource] / max(pool.calls, 1) + (limit * START_S / 60 if limit > SMALL_LIMIT else 0.0)
    return min(1.0, pool.admitted[resource] / (limit * span / 60 + ahead))


def _bound(pool: PoolStatistics) -> _Bound:
    whole_s = sum(seconds for cause, seconds in pool.bound.items() if cause != ledger.NOTHING)
    left_out = (*OF_THE_LINE, ledger.NOTHING, ledger.BENCHED)  # what is benched has a line of its own
    own = [(cause, seconds / whole_s) for cause, seconds in pool.bound.items() if cause not in left_out and whole_s]
    return _Bound(
        pool, whole_s, tuple(sorted(((cause, share) for cause, share in own if share >= WORTH_SAYING), key=lambda each: -each[1]))
    )


def _of_the_line(cause: str, share: float, pools: Sequence[PoolStatistics], max_in_flight: int | None) -> str:
    if cause == ledger.INPUT:
        return f"the input bound {share:.0%} of the time: prompts came slower than the limits allow"
    if cause == ledger.CONSUMER:
        return f"the consumer bound {share:.0%} of the time: results were taken slower than the limits allow"
    most = "" if max_in_flight is None else f" ({max_in_flight:,})"
    because = ": " + (f"{need}; " if (need := _need(pools)) else "") + "raise [run] max_in_flight"
    return f"max_in_flight{most} bound {share:.0%} of the time{because}"


def _need(pools: Sequence[PoolStatistics]) -> str | None:
    if (found := needed(pools)) is None:
        return None
    rate, latency_s, calls = found
    return f"{rate:,.0f} images/min at {latency_s:,.{0 if latency_s >= TELLING_S else 1}f} s need {calls:,} in flight"


def _of_pools(bounds: Sequence[_Bound]) -> Iterator[str]:
    held = [bound for bound in bounds if bound.causes]
    best = max((_gain(bound, bounds) for bound in held), default=0.0)
    for bound in held[:SHOWN]:
        advice = ""
        if WORTH_BUYING <= best == _gain(bound, bounds):
            advice = f"; {'a second' if len(bounds) == 1 else 'one more'} organisation like it would save {best:.0%} of the time"
        yield f"{bound.pool.name}: {_told(bound)}{advice}"
    rest = Counter(bound.causes[0][0] for bound in held[SHOWN:])
    if rest:
        causes = ", ".join(f"{cause} at {count:,}" for cause, count in rest.most_common())
        yield f"and {rest.total():,} more pools, bound most by: {causes}"


def _told(bound: _Bound) -> str:
    parts = []
    for cause, share in bound.causes:
        if cause == ledger.MIX:
            parts.append(f"idle {share:.0%} of the time, because what waited was for other models than {', '.join(bound.pool.models)}")
        else:
            parts.append(f"{cause} bound {share:.0%}{' of the time' if not parts else ''}{_about(bound.pool, cause)}")
    return ", ".join(parts)


def _about(pool: PoolStatistics, cause: str) -> str:
    """The limit in numbers, where it came from, and how much of it was tried and used."""
    resource = CALLS if cause == ledger.CALLS else cause.removesuffix("/min")
    if resource not in (*RESOURCES, CALLS):
        return f" ({pool.refused:,} of {pool.calls:,} calls refused)" if cause == ledger.PAUSED else ""
    known = next((each for each in pool.known if each.resource == resource), None)
    if known is None or known.limit is None:
        return " (not known yet)"
    unit = "" if resource == CALLS else "/min"
    told = [f"{known.limit:,.0f}{unit}", _LEARNT.get(known.source, known.source)]
    if abs(known.scale - 1) > SAME:
        told.append(f"{known.scale:.0%} of it tried")
    elif getattr(pool.limits, "max_concurrency" if resource == CALLS else f"{resource}_per_minute") == known.limit:
        told += [] if (share := used(pool, resource)) is None else [f"{share:.1%} of it used"]
    return f" ({', '.join(told)})"


def _gain(bound: _Bound, bounds: Sequence[_Bound]) -> float:
    """Share of the time that one more organisation like this would save: as much as its part of the work is of what there would be."""
    share = sum(share for cause, share in bound.causes if cause == ledger.CALLS or cause.endswith("/min"))
    made, all_made = bound.pool.admitted["images"], sum(each.pool.admitted["images"] for each in bounds)
    return share * made / (all_made + made) if made else 0.0


def _offers(pools: Sequence[PoolStatistics]) -> Iterator[str]:
    offers = [(pool, known) for pool in pools for known in pool.known if known.offered is not None]
    for pool, known in offers[:SHOWN]:
        theirs, ours = f"{known.offered:,.0f} {known.resource}/min", "" if known.limit is None else f"{known.limit:,.0f}"
        yield f"{pool.name}: the API speaks of {theirs}, the settings allow {ours}"
    if len(offers) > SHOWN:
        yield f"and {len(offers) - SHOWN:,} more limits that the settings keep below what the API speaks of"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
