"""The end of the line: a result is written, handed on, and its slot is free for the next prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.records import Result

_AT_ONCE = 64


class Sink:
    """Emits results.

    Args:
        slots: one is released for each result, after it was taken over.
        write: writes some results where they belong; None where the consumer is all there is.
    """

    def __init__(self, slots: trio.Semaphore, write: Callable[[Sequence[Result]], Awaitable[None]] | None = None) -> None:
        self._slots = slots
        self._write = write
        self.emitted = 0

    async def run(self, source: MemoryReceiveChannel[Result], sink: MemorySendChannel[Result]) -> None:
        """One result in, one result out."""
        with source, sink:
            async for result in source:
                results = [result]
                if self._write is not None:
                    # One write for all that are there: a thread costs more than a line.
                    _take_waiting(source, results)
                    await self._write(results)
                for each in results:
                    await sink.send(each)
                    self.emitted += 1
                    self._slots.release()


def _take_waiting(source: MemoryReceiveChannel[Result], results: list[Result]) -> None:
    while len(results) < _AT_ONCE:
        try:
            results.append(source.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return
