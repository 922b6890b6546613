"""What the command line says, over what the configuration file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from headrace.errors import UsageError
from headrace.models import Limits, catalogue
from headrace.records import Request
from headrace.settings import PoolSettings, RequestSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OPTIONS = {"policy": "--cache", "max_cost_usd": "--max-cost"}
"""Of the settings whose options go by another name."""


def settings_of(
    config: Path | None,
    *,
    request: Mapping[str, Any],
    profile: str | None,
    tier: str | None,
    cache: str | None,
    out_dir: Path | None,
    simulate: bool,
    ordered: bool,
    max_cost_usd: float | None,
    max_in_flight: int | None,
    in_doubt: str | None,
    metrics_port: int | None = None,
) -> Settings:
    """The settings of one command; options that were not given change nothing.

    Raises:
        UsageError: the file or an option cannot be used.
    """
    settings = Settings.load(config)
    try:
        settings = attrs.evolve(settings, request=_request(settings.request, request, profile), pool=_pools(settings, tier))
        folder = None if out_dir is None else str(out_dir)
        changes = {
            "max_cost_usd": max_cost_usd,
            "max_in_flight": max_in_flight,
            "out_dir": folder,
            "in_doubt": in_doubt,
            "metrics_port": metrics_port,
        }
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        run = settings.run
        run = attrs.evolve(run, journal=True, simulate=simulate or run.simulate, ordered=ordered or run.ordered, **given)
        policy: dict[str, Any] = {} if cache is None else {"policy": cache}
        if cache == "off":
            policy |= {"shared": None, "job": None}
        return attrs.evolve(settings, run=run, cache=attrs.evolve(settings.cache, **policy))
    except ValueError as error:
        # A field's complaint begins with its name; here it came with an option.
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"{_OPTIONS.get(name) or '--' + name.replace('_', '-')} {rest}") from None


def refuse_impossible(request: RequestSettings) -> None:
    """Nothing for a request that its model can do, as far as it is known.

    Raises:
        UsageError: it cannot, so that every prompt that does not ask for something else would fail; with the nearest that it can.
    """
    problem = catalogue().model(request.model).problem(Request(prompt="a dot", **attrs.asdict(request)))
    if problem is not None:
        raise UsageError(f"the options and [request] ask for what cannot be made: {problem}")


def _request(base: RequestSettings, given: Mapping[str, Any], profile: str | None) -> RequestSettings:
    if profile is not None:
        # The profile is for the model that will be used, and options win over it.
        model = catalogue().model(given.get("model", base.model))
        base = attrs.evolve(base, output_compression=None)
        base = attrs.evolve(base, **catalogue().profile(profile, model))
    if given.get("output_format") == "png":
        base = attrs.evolve(base, output_compression=None)
    return attrs.evolve(base, **given)


def _pools(settings: Settings, tier: str | None) -> tuple[PoolSettings, ...]:
    if tier is None:
        return settings.pool
    catalogue().tier(tier)
    pools = settings.pool
    if not pools and not settings.key:
        pools = (PoolSettings(name="default"),)
    elif not pools:
        raise UsageError("--tier is for pools, and the configuration's keys name none; give each [[key]] a pool")
    return tuple(attrs.evolve(pool, tier=tier) if pool.limits() == Limits() else pool for pool in pools)
