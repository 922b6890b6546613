"""Where log events go: stderr, for people or for machines, with no key in them; and the traceback of a crash, likewise."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from headrace.log import PROMPTS
from headrace.text import clean, masked

if TYPE_CHECKING:
    from types import TracebackType

    from structlog.typing import EventDict, Processor, WrappedLogger

_DEEPEST = 5
_TRACEBACK = "exception"


def configure(level: str, form: str, *, prompts: bool = False) -> None:
    """Show events of ``level`` and above on stderr, as ``json`` or for a person (``console``, ``auto``: coloured on a terminal).

    The words of prompts are in them where ``prompts`` says so, and nowhere else.
    What crashes the program from now on is shown without keys too.
    """
    # The renderer's own tracebacks would come behind the cleaning, and with the locals of every frame.
    for_person = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    renderer: Processor = structlog.processors.JSONRenderer() if form == "json" else for_person
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redacted,
                renderer,
            ],
        ),
    )
    logger = logging.getLogger("headrace")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.getLogger(PROMPTS).setLevel(logging.INFO if prompts else logging.CRITICAL)
    sys.excepthook = crashed


def audible() -> None:
    """Show warnings on stderr where this process has not configured ``logging``: for one that nobody but its starter can."""
    logger = logging.getLogger("headrace")
    if logging.getLogger().handlers or any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        return
    configure(logging.getLevelName(logger.getEffectiveLevel()), "console")


class _Stderr(logging.StreamHandler[TextIO]):
    """Whatever is stderr at the moment: a live view stands in for it while it is up."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # read-only here
        """Where the next event goes."""
        return sys.stderr


def redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Last of all processors: every text in the event, however deep, is foreign until it is cleaned."""
    return {clean(name): _lines(value) if name == _TRACEBACK else _clean(value) for name, value in event.items()}


def crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write the traceback of what nobody caught, as the interpreter does, without keys."""
    text = masked("".join(traceback.format_exception(kind, error, trace)))
    print(text, end="", file=sys.stderr, flush=True)  # noqa: T201 - stands for the interpreter's own


def _clean(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {clean(str(name)): _clean(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_clean(each, depth + 1) for each in value]
    return clean(str(value))


def _lines(value: Any) -> str:
    """A traceback keeps its lines and their indentation."""
    return "\n".join(" " * (len(line) - len(line.lstrip(" "))) + clean(line) for line in str(value).splitlines())
