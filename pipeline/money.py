"""Amounts of money in words, the same in the estimate, the view and the report."""

from __future__ import annotations

_MANY_USD = 10_000
_CENTS = 0.1
_TINY = 0.001


def money(usd: float | None) -> str:
    """An amount of USD, to the precision that it is worth."""
    if usd is None:
        return "unknown"
    size = abs(usd)
    digits = 0 if size >= _MANY_USD else 2 if size >= 1 or size == 0 else 4 if size >= _CENTS else 5 if size >= _TINY else 6
    return f"{'-' if usd < 0 else ''}${size:,.{digits}f}"
