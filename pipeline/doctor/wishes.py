"""What will be asked for: limits that are known or assumed, and models that there are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from headrace.doctor.finding import Finding, State
from headrace.models import Limits, catalogue
from headrace.owners import DEFAULT_TIER, SIMULATED_POOLS
from headrace.records import Request
from headrace.settings import LIMITS, VENDOR_HOST, PoolSettings
from headrace.told import RESOURCES
from headrace.validators import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from headrace.models import Model
    from headrace.settings import AlternativeSettings, KeySettings, Settings

_SOON = timedelta(days=60)


def limits(settings: Settings) -> list[Finding]:
    """A line for each pool, with where its numbers come from."""
    if settings.run.simulate and not settings.pool and not settings.key:
        return [_pool(pool, "") for pool in SIMULATED_POOLS]
    if not settings.pool and not settings.key:
        assumed = PoolSettings(name="default", tier=DEFAULT_TIER)
        return [attrs.evolve(_pool(assumed, ""), state=State.WARNING, next="it is assumed: say --tier, or give the key a [[pool]]")]
    findings = list(_pools(settings.pool, settings.key, simulated=settings.run.simulate))
    if other := settings.fallback.alternative:
        findings += _pools(other.pool, other.key, simulated=settings.run.simulate)
    return findings


def models(settings: Settings, url: str, today: date) -> list[Finding]:
    """A line for the model that is asked for at ``url``, and one for the alternative's."""
    findings = [_model(Request(prompt="a dot", **attrs.asdict(settings.request)), url=url, today=today)]
    if other := settings.fallback.alternative:
        findings.append(_model(_of_alternative(settings, other), url=other.base_url, today=today))
    return findings


def _pools(pools: Sequence[PoolSettings], keys: Sequence[KeySettings], *, simulated: bool) -> Iterator[Finding]:
    if len(pools) > 1 and not keys and not simulated:
        message = "there are several [[pool]] and no [[key]]"
        yield Finding("limits", State.FAILED, message, "add a [[key]] for each, with pool = and the name of one")
        return
    for pool in pools:
        its = [key.name for key in keys if key.pool == pool.name]
        if keys and not its and not simulated:
            yield Finding("limits", State.WARNING, f"{pool.name}: no key draws on it", f"say pool = {pool.name!r} in a [[key]]")
        else:
            yield _pool(pool, "" if len(its) < 2 else f"{len(its)} keys: ")  # noqa: PLR2004 - one is no news
    for key in keys:
        if key.pool is None:
            yield _pool(PoolSettings(name=key.name), "")


def _pool(pool: PoolSettings, before: str) -> Finding:
    found, sources = pool.limits(), pool.sources()
    if found == Limits():
        return Finding("limits", State.OK, f"{pool.name}: {before}none named, so they are learnt")
    rates = [f"{limit:,.0f} {each}" for each in RESOURCES if (limit := getattr(found, LIMITS[each])) is not None]
    told = [f"{' and '.join(rates)} a minute"] if rates else []
    told += [f"{found.max_concurrency:,} calls at once"] if found.max_concurrency is not None else []
    return Finding("limits", State.OK, f"{pool.name}: {before}{', '.join(told)} ({', '.join(sorted(set(sources.values())))})")


def _of_alternative(settings: Settings, other: AlternativeSettings) -> Request:
    model, asked = catalogue().model(other.model), settings.request
    size, quality = other.size or asked.size, other.quality or asked.quality
    if model.known:  # what is left out becomes what the model has
        size = other.size or model.nearest_size(size)
        quality = other.quality or model.nearest_quality(quality)
    return Request(prompt="a dot", model=other.model, size=size, quality=quality)


def _model(request: Request, *, url: str, today: date) -> Finding:
    model = catalogue().model(request.model)
    about = f"{model.name}, {request.size}, {request.quality}"
    if not model.known:
        suggestion = nearest(model.name, catalogue().models)
        return Finding(
            "model", State.WARNING, f"{model.name} is not known here{suggestion}", "it is asked for as it is; see 'headrace models'"
        )
    if model.shutdown is not None and model.shutdown <= today + _SOON:
        vendors_own = urlsplit(url).hostname == VENDOR_HOST
        state = State.FAILED if vendors_own and model.retired(today) else State.WARNING
        was = "was shut down" if model.retired(today) else "will be shut down"
        return Finding("model", state, f"{model.name} {was} on {model.shutdown}", f"set model = {model.successor!r}")
    if (problem := model.problem(request)) is not None:
        message, _, told = problem.partition("; ")
        return Finding("model", State.FAILED, message, told)
    return Finding("model", State.OK, f"{about}{_price(model, request)}")


def _price(model: Model, request: Request) -> str:
    cost_usd = model.cost_usd(0, model.output_tokens(request))
    return "" if cost_usd is None else f": ${cost_usd:.4f} a prompt"
