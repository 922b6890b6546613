"""A process among those that share limits."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Worker:
    """This process, as the others know it."""

    name: str
    least: int
    """Processes to reckon with at least while the store is lost; 0: nobody knows before the store has said it."""
