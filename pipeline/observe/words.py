"""Figures, bars and foreign words as the view shows them, in a unit that a person reads at once."""

from __future__ import annotations

import math

from rich.text import Text

from headrace.text import clean

_MINUTE_S, _HOUR_S = 60, 3_600
_THOUSANDS, _MILLIONS = 10_000, 1_000_000


def foreign(text: str, *, ascii_only: bool, longest: int = 200) -> str:
    """One line of somebody else's, as this terminal can show it."""
    text = clean(text, longest)
    return text.encode("ascii", "replace").decode() if ascii_only else text


def duration(seconds: float) -> str:
    """``7:32`` or ``1:02:11``."""
    whole = math.ceil(seconds)
    hours, rest = divmod(whole, _HOUR_S)
    minutes, left = divmod(rest, _MINUTE_S)
    return f"{hours:,}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def short(number: float) -> str:
    """``1,234``, ``612k`` or ``1.2M``."""
    if number < _THOUSANDS:
        return f"{number:,.0f}"
    return f"{number / 1_000:,.0f}k" if number < _MILLIONS else f"{number / 1_000_000:,.1f}M"


def bar(part: float, width: int, style: str, *, ascii_only: bool) -> Text:
    """A bar of ``width`` characters, ``part`` of it full; it can be read without colours as well."""
    part = min(1.0, max(0.0, part))
    if ascii_only:
        full = round(part * width)
        return Text.assemble(("#" * full, style), ("-" * (width - full), "dim"))
    full, half = divmod(round(part * width * 2), 2)
    return Text.assemble(("━" * full + "╾" * half, style), ("─" * (width - full - half), "dim"))
