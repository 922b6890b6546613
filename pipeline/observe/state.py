"""How a run goes, out of its sums over time: rates, the time and the money that are still to come. Pure: takes ``now``, never waits."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from headrace.records import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.admission.books import PoolStatistics
    from headrace.observe.counters import Counters, Failed
    from headrace.observe.watcher import Snapshot

WINDOW_S = 60.0
"""Rates are those of so many seconds."""
CAUSE_S = 10.0
"""What a pool waits for is what it waited for longest in so many seconds."""
TELLING_S = 5.0
"""A rate says something from so many seconds on."""
SAMPLE_S = 1.0


@attrs.frozen(kw_only=True)
class PoolState:
    """A pool as the view shows it."""

    books: PoolStatistics
    waits_for: str | None
    """What kept its next call waiting longest in the last seconds, in the words of :mod:`headrace.admission.ledger`."""


@attrs.frozen(kw_only=True)
class State:
    """How a run stands, and where it goes."""

    elapsed_s: float
    total: int | None
    """Prompts in the input; None where nobody knows."""
    done: int
    """Prompts that have a result, those of earlier runs included."""
    ok: int
    failed: int
    skipped: int
    cached: int
    """Prompts that got a picture without a call, in this run."""
    recalled: int
    """Prompts that an earlier run finished."""
    prompts_per_minute: float | None
    pictures_per_minute: float | None
    """Of the last minute, and of this run alone; None where it is too soon to tell."""
    eta_s: float | None
    spent_usd: float
    """Earlier runs of the job included."""
    projected_usd: float | None
    """What the whole job will have cost."""
    saved_usd: float
    max_cost_usd: float | None
    price_unknown: bool
    pools: tuple[PoolState, ...]
    depths: Mapping[str, int]
    in_flight: int
    max_in_flight: int
    failures: tuple[Failed, ...]
    """The last ones, the latest first."""
    alerts: tuple[str, ...] = ()


@attrs.frozen
class _Sample:
    at: float
    prompts: int
    pictures: int
    bound: Mapping[str, Mapping[str, float]]


class Course:
    """What a run did in the last minute.

    Args:
        began: when it began, on the clock that :meth:`state` is asked by.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._samples: deque[_Sample] = deque()

    def state(self, counters: Counters, snapshot: Snapshot, total: int | None, now: float, alerts: Sequence[str] = ()) -> State:
        """How things stand at ``now``; to be asked once every few seconds at least, because rates are told from what was seen before."""
        sample = _Sample(
            now, counters.total - counters.recalled, counters.pictures_made, {pool.name: pool.bound for pool in snapshot.pools}
        )
        self._keep(sample)
        prompts, pictures = self._rates(sample)
        done = counters.total
        left = None if total is None else max(0, total - done)
        return State(
            elapsed_s=now - self._began,
            total=None if total is None else max(total, done),
            done=done,
            ok=counters.by_status[Status.OK],
            failed=counters.by_status[Status.FAILED],
            skipped=counters.by_status[Status.SKIPPED],
            cached=counters.free,
            recalled=counters.recalled,
            prompts_per_minute=prompts,
            pictures_per_minute=pictures,
            eta_s=None if left is None else 0.0 if not left else left * 60 / prompts if prompts else None,
            spent_usd=snapshot.spent_usd,
            projected_usd=_projected(counters, snapshot, left),
            saved_usd=counters.saved_usd,
            max_cost_usd=snapshot.max_cost_usd,
            price_unknown=counters.price_unknown,
            pools=tuple(PoolState(books=pool, waits_for=self._cause(pool, now)) for pool in snapshot.pools),
            depths=snapshot.depths,
            in_flight=snapshot.in_flight,
            max_in_flight=snapshot.max_in_flight,
            failures=tuple(reversed(counters.last_failed)),
            alerts=tuple(alerts),
        )

    def _keep(self, sample: _Sample) -> None:
        samples = self._samples
        if not samples or sample.at - samples[-1].at >= SAMPLE_S:
            samples.append(sample)
        while len(samples) > 1 and samples[1].at <= sample.at - WINDOW_S:
            samples.popleft()

    def _rates(self, sample: _Sample) -> tuple[float | None, float | None]:
        # Before the first picture there was no time in which one could have come: a rate over it would promise too little.
        first = next((each for each in self._samples if each.prompts), None)
        if first is None or (span := sample.at - first.at) < TELLING_S:
            return None, None
        return (sample.prompts - first.prompts) * 60 / span, (sample.pictures - first.pictures) * 60 / span

    def _cause(self, pool: PoolStatistics, now: float) -> str | None:
        before = next((each for each in self._samples if each.at >= now - CAUSE_S), self._samples[-1])
        earlier = before.bound.get(pool.name, {})
        lately = {cause: seconds - earlier.get(cause, 0.0) for cause, seconds in pool.bound.items()}
        cause = max(lately, key=lambda each: lately[each], default=None)
        return cause if cause is not None and lately[cause] > 0 else None


def _projected(counters: Counters, snapshot: Snapshot, left: int | None) -> float | None:
    fresh = counters.total - counters.recalled
    if left is None or not fresh:
        return None
    return snapshot.spent_usd + left * counters.cost_usd / fresh
