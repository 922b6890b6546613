"""What a line has read, and what keeps requests from coming where nobody waits for a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from headrace.admission import ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Sequence

    import trio

NEARLY_ALL = 0.8
"""Part of the prompts in flight that is in a call where more of them would be more calls."""


class Pulled:
    """The items of one line, and whether there are more.

    Args:
        items: what the line reads.
        slots: one for each prompt that may be in flight.
    """

    def __init__(self, items: AsyncIterable[object], slots: trio.Semaphore) -> None:
        self._items = aiter(items)
        self.slots = slots
        self.ended = False
        self.pulling = False
        """Whether a slot is taken for an item that is not there yet, or never comes."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        self.pulling = True
        try:
            item = await anext(self._items)
        except Exception:
            self.ended = True
            raise
        self.pulling = False
        return item


def idle(lines: Sequence[Pulled], calls: Callable[[], int], max_in_flight: int) -> str:
    """What keeps requests from coming where nobody waits for a limit; the lines are those whose input goes on, ``calls`` those out."""
    full = sum(line.slots.value == 0 for line in lines)
    if not full:
        return ledger.INPUT if lines else ledger.NOTHING
    return ledger.IN_FLIGHT if calls() >= NEARLY_ALL * full * max_in_flight else ledger.CONSUMER
