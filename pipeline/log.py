"""The log: events with names and key/values, through the standard library's logging, silent until a program configures it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_standard = logging.getLogger("headrace")
_standard.addHandler(logging.NullHandler())


def heard() -> bool:
    """Whether anybody listens to events of level info: some take work to tell."""
    return _standard.isEnabledFor(logging.INFO)


log: FilteringBoundLogger = structlog.wrap_logger(
    _standard,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)
