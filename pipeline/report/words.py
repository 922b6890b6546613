"""Figures in words, the same everywhere in a report."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_SHORT_S = 10
_TENTH = 0.1
NAMES = {
    "primary": "Made",
    "reduced_quality": "Made in a lower quality",
    "alternative_api": "Made by the alternative API",
    "cache_exact": "Cache: same prompt",
    "cache_canonical": "Cache: same content words",
    "cache_verified": "Cache: same meaning",
    "cache_cosine": "Cache: near cosine",
    "coalesced": "Shared with one in flight",
    "cached_similar": "Fallback: similar picture",
    "ok": "Answered",
    "failed": "Failed",
    "skipped": "Skipped",
    "unfinished": "No result yet",
}


def named(code: str) -> str:
    """What a status or a strategy is called."""
    return NAMES.get(code, code)


def share(part: float | None) -> str:
    """A part of 1 in per cent: never all, or none, where one is missing."""
    if part is None:
        return "unknown"
    percent = 100.0 * part
    if 0 < percent < _TENTH or 100 - _TENTH < percent < 100:  # noqa: PLR2004 - per cent
        return "< 0.1%" if percent < 1 else "> 99.9%"
    return f"{percent:.0f}%" if percent.is_integer() else f"{percent:.1f}%"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units."""
    if seconds is None:
        return "unknown"
    if seconds < _SHORT_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def moment(at: float | None) -> str:
    """A moment, in UTC."""
    try:
        return "unknown" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def number(value: float | None) -> str:
    """A count or a rate."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 10 else f"{value:,.1f}"  # noqa: PLR2004 - three figures are enough
