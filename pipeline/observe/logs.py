"""Where log events go: stderr, for people or for machines, with nothing in them that looks like a key."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from headrace.text import clean

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


def configure(level: str, form: str) -> None:
    """Show events of ``level`` and above on stderr, as ``json`` or for a person (``console``, ``auto``: coloured on a terminal)."""
    for_person = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    renderer: Processor = structlog.processors.JSONRenderer() if form == "json" else for_person
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redacted, renderer],
        ),
    )
    logger = logging.getLogger("headrace")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Last of all processors: every text in the event is foreign until it is cleaned."""
    return {name: _clean(value) for name, value in event.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    return clean(str(value)) if not isinstance(value, int | float | None) else value
