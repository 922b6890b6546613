"""What the limits allowed over time, in pictures a minute, whatever they are counted in."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from headrace.admission.ledger import NOTHING
from headrace.report.rows import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headrace.report.calls import Calls
    from headrace.report.rows import Limit, LimitSeen, Run
    from headrace.report.worktime import WorkTime

_MINUTE_S = 60.0


@attrs.define
class Pool:
    """What a pool did in all runs: calls and pictures as the journal has them of each call, the rest by the pool's own books."""

    name: str
    calls: int = 0
    refused: int = 0
    paid: int = 0
    """Calls that brought pictures."""
    pictures: int = 0
    busy_s: float = 0.0
    """Seconds that those calls took."""
    charged: Counter[str] = attrs.field(factory=Counter)
    """Images, tokens and requests that its limits were charged."""
    bound: Counter[str] = attrs.field(factory=Counter)
    """Seconds by what kept the next call from starting."""
    state: str = "ready"
    known: tuple[Limit, ...] = ()
    """Of its limits, in the end."""

    @property
    def binding(self) -> tuple[str, float] | None:
        """What held it up longest, and its share of the time in which it had something to do."""
        held = Counter({cause: seconds for cause, seconds in self.bound.items() if cause != NOTHING})
        if not held.total():
            return None
        cause, seconds = held.most_common(1)[0]
        return cause, seconds / held.total()

    def pictures_a_minute(self, known: Iterable[Limit]) -> float | None:
        """What these limits allow of calls like those that brought pictures; None where none is known."""
        rates = [rate for each in known if (rate := self._rate(each)) is not None]
        return min(rates, default=None)

    def _rate(self, known: Limit) -> float | None:
        if not self.paid:
            return None
        limit, a_call = known.limit * known.scale, self.pictures / self.paid
        if known.resource == "images":
            return limit
        if known.resource == "requests":
            return limit * a_call
        if known.resource == "tokens":
            return limit * self.charged["images"] / self.charged["tokens"] if self.charged["tokens"] else None
        # Little's law: so many at once, each so long.
        return limit * _MINUTE_S * self.paid / self.busy_s * a_call if known.resource == "calls" and self.busy_s else None


def pools_of(calls: Calls, runs: Iterable[Run], seen: Iterable[LimitSeen]) -> dict[str, Pool]:
    """The pools of all runs that were asked for anything, by name."""
    pools: dict[str, Pool] = {}
    for key in calls.keys.values():
        pool = pools.setdefault(key.pool, Pool(key.pool))
        pool.calls += key.calls
        pool.refused += key.refused
        pool.paid += key.paid
        pool.pictures += key.pictures
        pool.busy_s += key.busy_s
    for run in runs:
        for books in run.pools:
            found = pools.get(str(books.get("name")))
            if found is not None:
                found.charged.update(_amounts(books.get("admitted")))
                found.bound.update(_amounts(books.get("bound")))
                found.state = str(books.get("state", "ready"))
    for change in seen:
        if change.pool in pools:
            pools[change.pool].known = change.known
    return pools


def allowed(pools: Mapping[str, Pool], seen: Iterable[LimitSeen], work: WorkTime) -> Sequence[float | None]:
    """Pictures a minute that the limits allowed at each point of the charts; None where no pool's limits were known.

    Pools whose limits nobody knew add nothing: the pace may be above it.
    """
    points: list[float | None] = [None] * work.points
    now: dict[str, float | None] = {}
    reached, run = 0, None
    for change in seen:
        point = work.point(change.at)
        while reached < point:
            points[reached] = _sum(now)
            reached += 1
        if change.run != run:
            # Each run begins by telling of all of its pools; those of the one before it may be others.
            run = change.run
            now.clear()
        if change.pool in pools:
            now[change.pool] = pools[change.pool].pictures_a_minute(change.known)
    points[reached:] = [_sum(now)] * (work.points - reached)
    return points


def _sum(rates: Mapping[str, float | None]) -> float | None:
    known = [rate for rate in rates.values() if rate is not None]
    return sum(known) if known else None


def _amounts(value: object) -> dict[str, float]:
    return {str(name): amount(each) or 0.0 for name, each in value.items()} if isinstance(value, dict) else {}
