"""The log: events with names and key/values, through the standard library's logging, silent until a program configures it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

PROMPTS = "headrace.prompts"
"""The logger that decides whether events hold words of prompts: they do where its level is INFO or below."""

_standard = logging.getLogger("headrace")
_standard.addHandler(logging.NullHandler())
_prompts = logging.getLogger(PROMPTS)
# A level of its own, so that a program that turns on everything of ours has not asked for prompts yet.
_prompts.setLevel(logging.CRITICAL)
_progress = logging.getLogger("headrace.progress")
_progress.setLevel(logging.INFO)


class Named(Protocol):
    """A prompt, or its result."""

    @property
    def id(self) -> str:
        """The caller's name for it."""
        ...

    @property
    def seq(self) -> int:
        """Its place in the input."""
        ...


def heard(level: int = logging.INFO) -> bool:
    """Whether anybody listens to events of that level: to tell them takes work, to ask takes a tenth of a microsecond."""
    return _standard.isEnabledFor(level)


def prompts_heard() -> bool:
    """Whether words of prompts, and what may quote them, are to be in events."""
    return _prompts.isEnabledFor(logging.INFO)


def ids(record: Named) -> dict[str, Any]:
    """The fields by which every event about a prompt names it."""
    return {"prompt": record.id, "seq": record.seq}


def _events(logger: logging.Logger) -> FilteringBoundLogger:
    processors: list[Processor] = [
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]
    events: FilteringBoundLogger = structlog.wrap_logger(logger, processors=processors, wrapper_class=structlog.stdlib.BoundLogger)
    return events


log = _events(_standard)
progress = _events(_progress)
"""For how a run goes: whoever asked to be told of it hears it whatever the level of the log."""
