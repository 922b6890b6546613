"""What a check found."""

from __future__ import annotations

from enum import StrEnum

import attrs

from headrace.text import clean

_LONGEST = 400


class State(StrEnum):
    """How good it is."""

    OK = "ok"
    WARNING = "warning"
    """A run goes on, and not as well as it could."""
    FAILED = "failed"
    """A run would end here, or come to nothing."""
    SKIPPED = "skipped"


def _cleaned(text: str) -> str:
    return clean(text, _LONGEST)


@attrs.frozen
class Finding:
    """One line: what was looked at, how it is, and what to do about it."""

    check: str
    state: State
    message: str = attrs.field(converter=_cleaned)
    next: str = attrs.field(default="", converter=_cleaned)
    """What to do; empty where there is nothing to do."""


def complaint(check: str, error: Exception, following: str = "") -> Finding:
    """A failure by its one-line message, of which what stands behind the semicolon is what to do."""
    message, _, told = str(error).partition("; ")
    return Finding(check, State.FAILED, message, told or following)
