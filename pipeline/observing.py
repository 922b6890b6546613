"""Who watches a run, by its settings: what is written down for the report, and what whoever looks is shown meanwhile."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from headrace.observe.alarm import Alarm
from headrace.observe.events import LogWatcher
from headrace.observe.notify import notifiers
from headrace.observe.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trio

    from headrace.race import Race
    from headrace.settings import Settings


@asynccontextmanager
async def observe(race: Race, services: trio.Nursery) -> AsyncIterator[None]:
    """Have whoever watches at work, for as long as the ``services`` run."""
    with ExitStack() as stack:
        race.watchers.append(LogWatcher())
        recorder = None
        if race.journal is not None:
            recorder = Recorder(race.journal, _asked(race.settings, race), race.snapshot)
            services.start_soon(recorder.run)
        alarm = _alarmed(race, services, stack)
        if race.settings.run.metrics_port is not None:
            await _measured(race, race.settings.run.metrics_port, alarm, services)
        _traced(race, stack)
        yield
        if recorder is not None:
            # Of a run that fails the last ten seconds are no reason to write to a disk that may be what failed.
            recorder.write()


def _alarmed(race: Race, services: trio.Nursery, stack: ExitStack) -> Alarm:
    told = list(notifiers(race.settings.alerts))
    for notifier in told:
        # It outlives a cancelled line, and is ended by the stack alone.
        stack.callback(notifier.end)
        services.start_soon(notifier.run)

    def give_up() -> None:
        for notifier in told:
            notifier.give_up()

    race.give_up_telling = give_up
    alarm = Alarm(race.settings.alerts, race.snapshot, [notifier.put for notifier in told])
    stack.callback(alarm.end)
    services.start_soon(alarm.run)
    race.watchers.append(alarm)
    race.alerts = alarm.active
    return alarm


async def _measured(race: Race, port: int, alarm: Alarm, services: trio.Nursery) -> None:
    from headrace.observe.metrics import Metrics  # noqa: PLC0415 - a server is for those who want one
    from headrace.observe.scrape import scraped  # noqa: PLC0415

    settings, alternative = race.settings, race.settings.fallback.alternative
    named = {settings.request.model} | (set() if alternative is None else {alternative.model})
    metrics = Metrics(race.snapshot, alarm.counts, named, cached=race.cache is not None)
    race.watchers.append(metrics)
    race.metrics_url = await services.start(scraped, metrics.registry, port)


def _traced(race: Race, stack: ExitStack) -> None:
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:
        return
    from headrace.observe.spans import Spans  # noqa: PLC0415 - only where it is installed

    spans = Spans()
    race.began = spans.began
    race.watchers.append(spans)
    stack.callback(spans.end)


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
