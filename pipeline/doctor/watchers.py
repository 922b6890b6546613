"""Whether alerts can be told to whoever the settings name, and whether metrics can be served; nobody is told anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.doctor.finding import Finding, State, complaint
from headrace.errors import UsageError
from headrace.observe.notify import notifiers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.settings import AlertSettings, Settings


def watchers(settings: Settings) -> list[Finding]:
    """A line for alerts and one for metrics, where there are to be any."""
    return [*_alerts(settings.alerts), *_metrics(settings.run.metrics_port)]


def _alerts(settings: AlertSettings) -> Iterator[Finding]:
    told = ["the command can be run"] if settings.command else []
    told += ["the webhook is not tried"] if settings.webhook is not None else []
    try:
        list(notifiers(settings))
    except UsageError as error:
        yield complaint("alerts", error)
    else:
        if told:
            yield Finding("alerts", State.OK, ", ".join(told))


def _metrics(port: int | None) -> Iterator[Finding]:
    if port is None:
        return
    from headrace.observe.scrape import HOST, listen  # noqa: PLC0415 - a server is for those who want one

    try:
        listen(port).close()
    except UsageError as error:
        yield complaint("metrics", error)
    else:
        yield Finding("metrics", State.OK, f"port {port} of {HOST} is free" if port else f"a free port of {HOST} is taken")
