"""The start of the line: a slot first, then a record, so that a stalled consumer stops the reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    import trio
    from trio import MemorySendChannel

    from headrace.prompts import PromptReader
    from headrace.records import Prompt, Result


class Intake:
    """Reads prompts as the line has room for them.

    Args:
        items: what ``reader`` understands, one a prompt; it is not closed here.
        reader: makes prompts of items.
        slots: one is taken before an item is pulled, and released when its result has been emitted.
    """

    def __init__(self, items: AsyncIterable[object], reader: PromptReader, slots: trio.Semaphore) -> None:
        self._items = items
        self._reader = reader
        self._slots = slots
        self.pulled = 0

    async def run(self, sink: MemorySendChannel[Prompt | Result]) -> None:
        """A prompt an item, or the result of an item that is none; blank lines are passed over."""
        with sink:
            await self._slots.acquire()
            async for item in self._items:
                record = self._reader.read(item)
                if record is not None:
                    self.pulled += 1
                    await sink.send(record)
                    await self._slots.acquire()
