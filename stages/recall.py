"""What an earlier run finished is not asked for again: its result takes the place of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.journal.line import JournalLine
    from headrace.records import Prompt, Result


class Recall:
    """Finds every record in the journal, or enters it there.

    Args:
        journal: this line's part in it.
    """

    def __init__(self, journal: JournalLine) -> None:
        self._journal = journal

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Prompt | Result]) -> None:
        """One record in, one record out, in their order."""
        with source, sink:
            async for record in source:
                await sink.send(await self._journal.recall(record))
