"""Who watches a run, by its settings: what is written down for the report, and what whoever looks is shown meanwhile."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from headrace.observe.recorder import Recorder

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    import trio

    from headrace.race import Race
    from headrace.settings import Settings


async def observe(race: Race, services: trio.Nursery, stack: AsyncExitStack) -> None:
    """Start whoever watches, for as long as the ``services`` run; what they have to do at the end is done by the ``stack``."""
    if race.journal is not None:
        recorder = Recorder(race.journal, _asked(race.settings, race), race.snapshot)
        stack.callback(recorder.write)
        services.start_soon(recorder.run)


def _asked(settings: Settings, race: Race) -> dict[str, Any]:
    """What a report says of the settings; no key, and no path of one, is in it."""
    request = settings.request
    return {
        "version": version("headrace"),
        "api": race.url,
        "simulated": settings.run.simulate,
        "model": request.model,
        "size": request.size,
        "quality": request.quality,
        "n": request.n,
        "cache": settings.cache.policy,
        "fallback": list(settings.fallback.ladder),
        "max_in_flight": race.max_in_flight,
        "max_cost_usd": settings.run.max_cost_usd,
    }
