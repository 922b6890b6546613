"""What an earlier run finished is not asked for again: its result takes the place of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.budget import Purse
    from headrace.journal.line import JournalLine
    from headrace.records import Prompt, Result


class Recall:
    """Finds every record in the journal, or enters it there.

    Args:
        journal: this line's part in it.
        purse: counts what earlier runs have spent on the prompts of this line.
    """

    def __init__(self, journal: JournalLine, purse: Purse) -> None:
        self._journal = journal
        self._purse = purse

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Prompt | Result]) -> None:
        """One record in, one record out, in their order."""
        with source, sink:
            async for record in source:
                recalled = await self._journal.recall(record)
                self._purse.before(recalled.spent_usd)
                await sink.send(recalled.record)
