"""Where every prompt gets its result: the answer is kept, shared with whoever waits for it, and paid for in the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from headrace.records import Answer, Failure, Kind, Result, Strategy
from headrace.results import answered, failed, shared, spent

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.budget import Purse
    from headrace.cache.answers import Answers
    from headrace.cache.in_flight import Leads
    from headrace.journal.line import JournalLine
    from headrace.records import Problem
    from headrace.shared_cache.cache import SharedLine

_ENDS_THE_RUN = frozenset({Kind.NO_POOL, Kind.OVER_BUDGET})


class Settle:
    """Turns answers and failures into results.

    Args:
        answers: where answers are kept; None where they are not.
        leads: this line's part in the keys in flight; None where nothing is shared.
        purse: what was set aside and spent.
        stop: called with the problem when it is one that the whole run shares.
        journal: this line's part in the journal; None where none is kept.
        shared_cache: its part in the cache that processes share; None where they share none.
    """

    def __init__(
        self,
        answers: Answers | None,
        leads: Leads | None,
        purse: Purse,
        stop: Callable[[Problem], None],
        journal: JournalLine | None = None,
        shared_cache: SharedLine | None = None,
    ) -> None:
        self._answers = answers
        self._leads = leads
        self._purse = purse
        self._stop = stop
        self._journal = journal
        self._shared_cache = shared_cache
        self.nursery: trio.Nursery | None = None

    async def run(self, source: MemoryReceiveChannel[Answer | Failure | Result], sink: MemorySendChannel[Result]) -> None:
        """One record in, one result out.

        A task each, so that a consumer that stalls holds up its own results and nobody who waits for one of the answers.
        """
        with source, sink:
            async with trio.open_nursery() as settling:
                self.nursery = settling
                async for record in source:
                    settling.start_soon(self._settle, record, sink)

    async def _settle(self, record: Answer | Failure | Result, sink: MemorySendChannel[Result]) -> None:
        if isinstance(record, Answer):
            result = await self._answered(record)
        elif isinstance(record, Failure):
            self._purse.settle(record.prompt.seq, spent(record))
            if record.problem.kind in _ENDS_THE_RUN:
                self._stop(record.problem)
            result = failed(record.prompt, record)
        else:
            result = record
        if self._journal is not None and not isinstance(record, Answer):
            await self._journal.ended(result)
        if not isinstance(record, Result) and self._leads is not None:
            for key in record.prompt.leads:
                self._leads.land(key, shared(record) if isinstance(record, Answer) else record)
        if not isinstance(record, Result) and self._shared_cache is not None:
            # Before its line is out: whoever reads that, and is killed then, must not have it paid for again.
            await (self._shared_cache.answered(record) if isinstance(record, Answer) else self._shared_cache.failed(record.prompt))
        await sink.send(result)

    async def _answered(self, answer: Answer) -> Result:
        prompt, result = answer.prompt, answered(answer)
        self._purse.settle(prompt.seq, spent(answer))
        if self._journal is not None:
            # First of all, and to the disk: what is paid for must not be paid for again.
            await self._journal.answered(result, answer.cost_usd, answer.parts)
        # What a fallback made is not what the key asked for.
        if self._answers is not None and answer.strategy is Strategy.PRIMARY:
            await self._answers.keep(prompt, answer)
        return result
