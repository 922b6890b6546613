"""The shortest time in which limits let a job through: work flows like water, to whichever pool has room.

A linear program finds it: the least T so that all requests are placed and no pool gives more than its limits in T. Its dual says what
binds: by how many per cent one per cent more of a limit would shorten the job.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import attrs
import numpy as np
from scipy.optimize import linprog

from headrace.admission import ledger
from headrace.admission.bucket import MINUTE_S, SHARE, SMALL_GUARD_S, SMALL_LIMIT, START_S
from headrace.forecast.latency import RESIDUAL, last_call_s
from headrace.told import CALLS, IMAGES, REQUESTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headrace.admission.pool import Pool
    from headrace.forecast.latency import Latency
    from headrace.forecast.work import Work

_BINDING = 0.005
"""Share of the time from which a limit is said to bind."""


@attrs.frozen(kw_only=True)
class Share:
    """What one pool does of a job."""

    pool: str
    requests: float
    images: float
    used: Mapping[str, float]
    """Part of each of its limits that is used, from 0 to 1, by the name of the cause."""

    @property
    def binding(self) -> str | None:
        """The limit that is used most; None where it has none."""
        return max(self.used, key=lambda cause: self.used[cause], default=None)


@attrs.frozen(kw_only=True)
class Forecast:
    """How long a job takes."""

    starts_s: float
    """Until the last call can start."""
    last_call_s: float
    """From then on until the last one is back."""
    binding: tuple[tuple[str | None, str, float], ...]
    """Pool, cause and by how many per cent one per cent more of it shortens the first part; the largest first. No pool: of the line."""
    shares: tuple[Share, ...]

    @property
    def seconds(self) -> float:
        """From the first call to the last answer."""
        return self.starts_s + self.last_call_s


@attrs.define
class _Lane:
    """Requests that the same pools serve: they are handed out in their order, so that each pool gets its part of every kind."""

    pools: tuple[int, ...]
    use: defaultdict[str, float] = attrs.field(factory=lambda: defaultdict(float))
    """Of each resource; of calls at once in seconds."""


@attrs.frozen
class _Limit:
    pool: int | None
    cause: str
    resource: str
    rate: float
    """A second; calls at once for calls."""
    ahead: float
    """What need not have been let in by the pace: what may start at once, or is still out at the end."""


def forecast(works: Sequence[Work], pools: Sequence[Pool], max_in_flight: int, latency: Latency) -> Forecast | None:
    """How long these pools take for that work; None where there is some that none of them is for."""
    works = [work for work in works if work.requests]
    lanes = _lanes(works, pools, latency)
    if not all(lane.pools for lane in lanes):
        return None
    if not lanes:
        return Forecast(starts_s=0.0, last_call_s=0.0, binding=(), shares=())
    limits = list(_limits(lanes, pools, max_in_flight))
    starts_s, placed, weights = _solve(lanes, limits)
    calls = [(float(work.requests), latency.mean_s(work.kind.model, work.kind.quality)) for work in works]
    binding = [
        (None if each.pool is None else pools[each.pool].name, each.cause, weight) for each, weight in zip(limits, weights, strict=True)
    ]
    return Forecast(
        starts_s=starts_s,
        last_call_s=last_call_s(calls, starts_s),
        binding=tuple(sorted((each for each in binding if each[2] >= _BINDING), key=lambda each: -each[2])),
        shares=tuple(_shares(pools, lanes, limits, placed, starts_s)),
    )


def _lanes(works: Sequence[Work], pools: Sequence[Pool], latency: Latency) -> list[_Lane]:
    lanes: dict[tuple[int, ...], _Lane] = {}
    for work in works:
        serving = tuple(place for place, pool in enumerate(pools) if pool.serves(work.kind.model))
        lane = lanes.setdefault(serving, _Lane(serving))
        busy_s = work.requests * latency.mean_s(work.kind.model, work.kind.quality)
        for resource, amount in ((REQUESTS, work.requests), (IMAGES, work.images), (TOKENS, work.tokens), (CALLS, busy_s)):
            lane.use[resource] += amount
        lane.use["squares"] += busy_s**2 / work.requests
    return list(lanes.values())


def _limits(lanes: Sequence[_Lane], pools: Sequence[Pool], max_in_flight: int) -> Iterator[_Limit]:
    whole = {resource: sum(lane.use[resource] for lane in lanes) for resource in (REQUESTS, IMAGES, TOKENS, CALLS, "squares")}
    residual_s = RESIDUAL * whole["squares"] / whole[CALLS] if whole[CALLS] else 0.0
    for place, pool in enumerate(pools):
        for known in pool.known():
            if known.limit is None:
                continue
            if known.resource == CALLS:
                yield _Limit(place, ledger.CALLS, CALLS, known.limit, known.limit * residual_s)
                continue
            limit = known.limit * known.scale
            small = limit <= SMALL_LIMIT
            rate = limit / (MINUTE_S + SMALL_GUARD_S) if small else limit * SHARE / MINUTE_S
            # The first request waits for nothing, and half a second of the rate may start with it.
            ahead = whole[known.resource] / whole[REQUESTS] + (0.0 if small else rate * START_S)
            yield _Limit(place, f"{known.resource}/min", known.resource, rate, ahead)
    yield _Limit(None, ledger.IN_FLIGHT, CALLS, max_in_flight, max_in_flight * residual_s)


def _solve(lanes: Sequence[_Lane], limits: Sequence[_Limit]) -> tuple[float, dict[tuple[int, int], float], list[float]]:
    """The time, the part of each lane that each pool does, and the weight of each limit."""
    columns = [(number, pool) for number, lane in enumerate(lanes) for pool in lane.pools]
    most = np.zeros((len(limits), len(columns) + 1))
    for row, limit in enumerate(limits):
        most[row, -1] = -limit.rate
        for column, (number, pool) in enumerate(columns):
            if limit.pool in (None, pool):
                most[row, column] = lanes[number].use[limit.resource]
    all_placed = np.zeros((len(lanes), len(columns) + 1))
    for column, (number, _) in enumerate(columns):
        all_placed[number, column] = 1.0
    # Rows of a like size: tokens are counted by the million, calls by the dozen.
    scale = np.array([limit.rate for limit in limits])
    found = linprog(
        np.eye(len(columns) + 1)[-1],
        A_ub=most / scale[:, None],
        b_ub=np.array([limit.ahead for limit in limits]) / scale,
        A_eq=all_placed,
        b_eq=np.ones(len(lanes)),
    )
    if not found.success:
        raise RuntimeError(f"a job that pools serve has no shortest time: {found.message}")
    placed = dict(zip(columns, map(float, found.x), strict=False))
    return float(found.x[-1]), placed, [-float(weight) for weight in found.ineqlin.marginals]


def _shares(
    pools: Sequence[Pool], lanes: Sequence[_Lane], limits: Sequence[_Limit], placed: Mapping[tuple[int, int], float], starts_s: float
) -> Iterator[Share]:
    for place, pool in enumerate(pools):
        done: defaultdict[str, float] = defaultdict(float)
        for (number, where), part in placed.items():
            if where == place:
                for resource, amount in lanes[number].use.items():
                    done[resource] += part * amount
        used = {each.cause: done[each.resource] / (each.rate * starts_s + each.ahead) for each in limits if each.pool == place}
        yield Share(pool=pool.name, requests=done[REQUESTS], images=done[IMAGES], used=used)
