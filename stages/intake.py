"""The start of the line: a slot first, then a record, so that a stalled consumer stops the reading."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

import trio

from headrace.log import heard, ids, log

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from headrace.prompts import PromptReader
    from headrace.records import Prompt, Result


class Intake:
    """Reads prompts as the line has room for them: a prompt an item, or the result of an item that is none; no record for a blank line.

    Args:
        items: what ``reader`` understands, one a prompt; it is not closed here.
        reader: makes prompts of items.
        slots: one is taken before an item is pulled, and released when its result has been emitted.
        began: told of every record.
    """

    def __init__(
        self,
        items: AsyncIterable[object],
        reader: PromptReader,
        slots: trio.Semaphore,
        began: Callable[[Prompt | Result], None] | None = None,
    ) -> None:
        self._items = aiter(items)
        self._reader = reader
        self._slots = slots
        self._began = began
        self.pulled = 0
        self.error: Exception | None = None
        """What the items raised: it ends the input, and what was read before still comes out."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Prompt | Result:
        await self._slots.acquire()
        record = None
        while record is None:
            try:
                item = await anext(self._items)
            except StopAsyncIteration:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a caller's iterator does, what is paid for must come out
                self.error = error
                raise StopAsyncIteration from None
            read = self._reader.read
            record = await trio.to_thread.run_sync(read, item) if self._reader.blocks(item) else read(item)
        self.pulled += 1
        if self._began is not None:
            self._began(record)
        if heard(logging.DEBUG):
            log.debug("read", **ids(record))
        return record
