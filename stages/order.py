"""Results in the order of their prompts, for those who ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.records import Result


class Order:
    """Holds a result back until all before it are through; what it holds is bounded by the slots of the line."""

    async def run(self, source: MemoryReceiveChannel[Result], sink: MemorySendChannel[Result]) -> None:
        """One result in, one result out, by ``seq`` from 0 without gaps."""
        held: dict[int, Result] = {}
        following = 0
        with source, sink:
            async for result in source:
                held[result.seq] = result
                while following in held:
                    await sink.send(held.pop(following))
                    following += 1
