"""Everything that an estimate tells, as plain data: the tables and the JSON object say the same."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import attrs

from headrace.endpoints import owners_of
from headrace.forecast import variants
from headrace.forecast.earlier import earlier_of
from headrace.forecast.fluid import forecast
from headrace.forecast.known import audit_of
from headrace.forecast.latency import latency
from headrace.forecast.pools import apis_of
from headrace.forecast.survey import MOST_KINDS, Surveyor
from headrace.forecast.work import sums, total_cost_usd
from headrace.money import money
from headrace.owners import room
from headrace.records import rounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from headrace.admission.pool import Pool
    from headrace.forecast.fluid import Forecast
    from headrace.forecast.pools import Api
    from headrace.forecast.survey import Survey
    from headrace.forecast.variants import Variant
    from headrace.forecast.work import Work
    from headrace.settings import RequestSettings, Settings
    from headrace.sources import Source


async def estimated(
    settings: Settings,
    source: Source,
    environ: Mapping[str, str],
    *,
    profiles: Mapping[str, RequestSettings] | None = None,
) -> dict[str, Any]:
    """What a run over ``source`` would cost and take.

    Args:
        settings: of the run.
        source: where the prompts are.
        environ: where the address of the API may be.
        profiles: what prompts would ask for under each profile, where their lines say nothing.

    Raises:
        UsageError: the settings, the input, the cache or the journal of an earlier run cannot be used.
        OutputError: there is no room for a temporary file.
    """
    api, other = apis_of(settings, environ)
    with ExitStack() as stack:
        audit = audit_of(settings, api.endpoint.url, stack)
        earlier = earlier_of(settings, api.endpoint.url, stack)
        survey = await Surveyor(settings, source, api, audit, earlier).read()
    spent_usd = 0.0 if earlier is None else earlier.spent_usd
    return _Report(settings, api, other, survey, spent_usd).told(profiles or {})


class _Report:
    def __init__(self, settings: Settings, api: Api, other: Api | None, survey: Survey, spent_usd: float) -> None:
        self._settings = settings
        self._api = api
        self._other = other
        self._survey = survey
        self._spent_usd = spent_usd
        owners = owners_of(api.endpoint, None if other is None else other.endpoint)
        self._room = settings.run.max_in_flight or room([owner.limits for owner in owners])
        self._latency = latency(simulated=settings.run.simulate)

    def told(self, profiles: Mapping[str, RequestSettings]) -> dict[str, Any]:
        survey, paid = self._survey, list(self._survey.paid.values())
        alone = list(survey.all())
        found = self._forecast(paid, self._api.pools)
        without, with_cache = self._sums(alone), self._sums(paid)
        return {
            "prompts": survey.prompts,
            "bad": survey.count["bad"],
            "bad_lines": [{"line": number, "message": message} for number, message in survey.bad],
            "finished": sum(work.requests for work in survey.finished.values()),
            "policy": self._settings.cache.policy,
            "free": [{"tier": tier, **attrs.asdict(free)} for tier, free in survey.free.items()],
            "not_compared": survey.count["not_compared"],
            "paid": with_cache,
            "without_cache": without,
            "saved_usd": _difference(without["cost_usd"], with_cache["cost_usd"]),
            "time": None if found is None else self._time(found),
            "profiles": [self._row(each) for each in variants.profiles(survey, profiles)],
            "ladder": [self._row(each) for each in variants.rungs(survey, self._settings)],
            "models": [self._row(each) for each in variants.models(survey)],
            "notes": [*self._notes(), *self._budget(with_cache["cost_usd"])],
        }

    def _forecast(self, works: Sequence[Work], pools: Sequence[Pool]) -> Forecast | None:
        return forecast(works, pools, self._room, self._latency)

    def _seconds(self, works: Iterable[Work], api: Api) -> float | None:
        found = self._forecast(list(works), api.pools)
        return None if found is None else round(found.seconds, 3)

    def _sums(self, works: Sequence[Work]) -> dict[str, Any]:
        return {**sums(works), "cost_usd": rounded(total_cost_usd(works), 6), "seconds": self._seconds(works, self._api)}

    def _row(self, variant: Variant) -> dict[str, Any]:
        api = self._other if variant.elsewhere and self._other is not None else self._api
        told = attrs.asdict(variant, filter=attrs.filters.exclude("works", "elsewhere"))
        return {**told, "cost_usd": rounded(total_cost_usd(variant.works), 6), "seconds": self._seconds(variant.works, api)}

    def _time(self, found: Forecast) -> dict[str, Any]:
        by_name = {share.pool: share for share in found.shares}
        pools = []
        for pool in self._api.pools:
            share = by_name.get(pool.name)
            pools.append(
                {
                    "name": pool.name,
                    "models": list(pool.models),
                    "limits": [
                        attrs.asdict(known, filter=attrs.filters.include("resource", "limit", "source", "scale")) for known in pool.known()
                    ],
                    "prompts": 0 if share is None else round(share.requests),
                    "images": 0 if share is None else round(share.images),
                    "used": {} if share is None else {cause: round(part, 4) for cause, part in share.used.items()},
                    "binding": None if share is None else share.binding,
                }
            )
        return {
            "seconds": round(found.seconds, 3),
            "starts_s": round(found.starts_s, 3),
            "last_call_s": round(found.last_call_s, 3),
            "max_in_flight": self._room,
            "binding": [{"pool": pool, "cause": cause, "weight": round(weight, 4)} for pool, cause, weight in found.binding],
            "pools": pools,
        }

    def _notes(self) -> Iterator[str]:
        count = self._survey.count
        if count["not_compared"]:
            yield f"{count['not_compared']:,} prompts were not compared by meaning: the cost is what it is at most"
        if count["other_kinds"]:
            yield f"there are more than {MOST_KINDS:,} kinds of requests; {count['other_kinds']:,} prompts count as the settings' own"
        unpriced = sorted({work.kind.model for work in self._survey.all() if work.cost_usd is None})
        if unpriced:
            yield f"the price of {', '.join(unpriced[:3])}{' and others' if unpriced[3:] else ''} is unknown, and so is the cost"
        if self._settings.run.simulate:
            yield "a simulated run draws every picture, which takes a processor 50 ms a megapixel: where that binds it takes longer"
        for pool in self._api.pools:
            if all(known.limit is None for known in pool.known()):
                yield f"no limit of pool {pool.name} is known, so it may take longer; --tier says what a key may do"

    def _budget(self, cost_usd: float | None) -> Iterator[str]:
        budget, spent = self._settings.run.max_cost_usd, self._spent_usd
        if budget is not None and cost_usd is not None and spent + cost_usd > budget:
            earlier = f", of which earlier runs spent {money(spent)}" if spent else ""
            yield f"the budget is {money(budget)}{earlier}: a run stops before it has done all of this"


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else round(one - other, 6)
