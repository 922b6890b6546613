"""The run's metrics for Prometheus: what happened is counted as it happens, how things stand is looked up when they are scraped.

Labels are of few values: names of pools and keys come from the settings, everything else from lists of ours. Models are named by prompts,
which anybody may have written: those that neither the catalogue nor the settings have are ``other``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.admission import ledger
from headrace.models import AUTO, catalogue
from headrace.observe.alerts import PACE
from headrace.records import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from headrace.admission.books import PoolStatistics
    from headrace.observe.watcher import Snapshot
    from headrace.records import Call, Result

OTHER = "other"
NONE = "none"
CALL_S = (1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300)
"""A picture takes 10 to 120 s, and a call is given up after 300."""
WAIT_S = (0.1, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)
STATES = ("ready", "paused", "refused", "held_back", "benched")
"""Of a pool: ``refused`` is a pause of more than a minute, ``held_back`` is for a server that fails."""

_CAUSES = {
    ledger.INPUT: "input",
    ledger.IN_FLIGHT: "max_in_flight",
    ledger.CONSUMER: "consumer",
    ledger.MIX: "mix_of_models",
    ledger.CALLS: "calls_at_once",
    ledger.PAUSED: "pause_after_429",
    ledger.FAILING: "failing_server",
    ledger.BENCHED: "benched",
    ledger.NOTHING: "nothing_to_do",
    None: NONE,
}
_TIERS = {
    Strategy.CACHE_EXACT: "exact",
    Strategy.CACHE_CANONICAL: "canonical",
    Strategy.CACHE_VERIFIED: "verified",
    Strategy.CACHE_COSINE: "cosine",
    Strategy.COALESCED: "coalesced",
    Strategy.CACHED_SIMILAR: "similar",
}


class Metrics:
    """Counts what happened, in a registry of its own: several runs in one process stay apart.

    Args:
        snapshot: how things stand.
        alerts: how many alerts of each rule are on.
        models: names of models that may be labels, besides those of the catalogue.
        cached: whether there is a cache to decide.
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot], alerts: Callable[[], Mapping[str, int]], models: Collection[str], *, cached: bool
    ) -> None:
        self.registry = registry = CollectorRegistry()
        known = catalogue().models
        self._models = {*known, *models}
        self._qualities = {AUTO, *(quality for model in known.values() for quality in model.qualities)}
        self._cached = cached

        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(f"headrace_{name}", told, labels, registry=registry)

        def histogram(name: str, told: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"headrace_{name}", told, labels, registry=registry, buckets=buckets)

        self._prompts = counter(
            "prompts", "Prompts that have a result; those of earlier runs have the strategy recalled.", "status", "strategy"
        )
        self._failures = counter("prompt_failures", "Prompts without a picture, by why.", "kind")
        self._pictures = counter("pictures", "Pictures in results of this run.", "strategy", "model", "quality")
        self._tokens = counter("tokens", "Tokens that the API billed.", "direction")
        self._cost_usd = counter("cost_usd", "US dollars paid in this run; pictures of unknown price count nothing.")
        self._saved_usd = counter("saved_usd", "US dollars that hits of the cache did not cost.")
        self._cache = counter("cache_decisions", "Prompts by the tier of the cache that answered them; miss is paid for.", "tier")
        self._calls = counter("calls", "Calls that are over, by how: ok, or why there is no picture.", "pool", "key", "outcome")
        self._refused = counter("rate_limited_calls", "Calls that the API refused for their pace (429).", "pool", "key")
        self._wait_s = histogram(
            "call_wait_seconds", "Wait of a call for leave to start, by what it waited for in the end.", WAIT_S, "cause"
        )
        self._call_s = histogram("call_duration_seconds", "Duration of calls that brought pictures.", CALL_S, "model", "quality")
        for pool in snapshot().pools:
            for key in pool.keys:
                # A series that begins with its first refusal would hide that refusal from rate().
                self._refused.labels(pool.name, key)
        registry.register(_Standing(snapshot, alerts))

    def called(self, call: Call) -> None:
        """A call is over."""
        kind = None if call.problem is None else call.problem.kind
        self._calls.labels(call.pool, call.key, "ok" if kind is None else kind.value).inc()
        self._wait_s.labels(_cause(call.waited_for)).observe(call.waited_s)
        if kind in PACE:
            self._refused.labels(call.pool, call.key).inc()
        if kind is None:
            self._call_s.labels(*self._made(call.request.model, call.request.quality)).observe(call.ended - call.started)
        if call.usage is not None:
            self._tokens.labels("input").inc(call.usage.input_tokens)
            self._tokens.labels("output").inc(call.usage.output_tokens)

    def ended(self, result: Result) -> None:
        """A prompt has its result."""
        strategy = NONE if result.strategy is None else result.strategy.value
        self._prompts.labels(result.status.value, "recalled" if result.recalled else strategy).inc()
        if result.error is not None:
            self._failures.labels(result.error.kind.value).inc()
        if result.recalled:
            return
        if result.images:
            self._pictures.labels(strategy, *self._made(result.model, result.quality)).inc(len(result.images))
        self._cost_usd.inc(result.cost_usd or 0.0)
        self._saved_usd.inc(result.saved_usd or 0.0)
        if result.strategy in _TIERS:
            self._cache.labels(_TIERS[result.strategy]).inc()
        elif self._cached and result.attempts:
            self._cache.labels("miss").inc()

    def _made(self, model: str | None, quality: str | None) -> tuple[str, str]:
        return (model if model in self._models else OTHER) or OTHER, (quality if quality in self._qualities else OTHER) or OTHER


class _Standing(Collector):
    """How things stand, looked up at each scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot], alerts: Callable[[], Mapping[str, int]]) -> None:
        self._snapshot = snapshot
        self._alerts = alerts

    def collect(self) -> Iterator[Metric]:
        """The metrics, each with all its series."""
        now = self._snapshot()
        yield _gauge("prompts_in_flight", "Prompts that were read and have no result yet.", [((), now.in_flight)])
        yield _gauge("prompts_in_flight_max", "How many there may be.", [((), now.max_in_flight)])
        yield _gauge(
            "stage_prompts", "Prompts in each stage that works on many at once.", [((name,), n) for name, n in now.depths.items()], "stage"
        )
        yield _gauge(
            "spent_usd", "US dollars that the job has cost, earlier runs included, as far as prices are known.", [((), now.spent_usd)]
        )
        if now.max_cost_usd is not None:
            yield _gauge("budget_usd", "US dollars that the job may cost.", [((), now.max_cost_usd)])
        yield _gauge("alerts_active", "Alerts that are on.", [((rule,), n) for rule, n in self._alerts().items()], "alert")
        yield from _of_pools(now.pools)


def _of_pools(pools: Sequence[PoolStatistics]) -> Iterator[Metric]:
    yield _gauge("calls_in_flight", "Calls that are out.", [((pool.name,), pool.in_flight) for pool in pools], "pool")
    states = [((pool.name, state), _state(pool.state) == state) for pool in pools for state in STATES]
    yield _gauge("pool_state", "1 for the state that the pool is in.", states, "pool", "state")
    known = [(pool.name, each) for pool in pools for each in pool.known]
    limits = [((pool, each.resource), each.limit) for pool, each in known if each.limit is not None]
    yield _gauge("pool_limit", "Limit a minute; of calls: at once.", limits, "pool", "resource")
    used = [((pool, each.resource), each.used) for pool, each in known]
    yield _gauge("pool_limit_used", "What the last minute used of it; of calls: those out now.", used, "pool", "resource")
    scales = [((pool, each.resource), each.scale) for pool, each in known]
    yield _gauge("pool_limit_scale_ratio", "Part of the limit that is tried, below 1 after refusals.", scales, "pool", "resource")
    bound = CounterMetricFamily(
        "headrace_pool_bound_seconds", "Time by what kept the pool's next call from starting.", labels=("pool", "constraint")
    )
    for pool in pools:
        for cause, seconds in pool.bound.items():
            bound.add_metric((pool.name, _cause(cause)), seconds)
    yield bound


def _gauge(name: str, told: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"headrace_{name}", told, labels=labels)
    for given, value in values:
        family.add_metric(given, value)
    return family


def _cause(cause: str | None) -> str:
    return _CAUSES.get(cause) or str(cause).replace("/min", "_per_minute")


def _state(told: str) -> str:
    """The state of a pool without its numbers and the API's words."""
    return "held_back" if told.startswith("held back") else told.partition(":")[0].partition(" ")[0]
