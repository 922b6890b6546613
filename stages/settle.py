"""Where every prompt gets its result: the answer is kept, shared with whoever waits for it, and paid for in the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.cache.store import Entry
from headrace.records import Answer, Failure, Kind, Result, Strategy
from headrace.results import answered, failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.budget import Budget
    from headrace.cache.answers import Answers
    from headrace.cache.in_flight import Leads
    from headrace.records import Problem

_ENDS_THE_RUN = frozenset({Kind.NO_POOL, Kind.OVER_BUDGET})


class Settle:
    """Turns answers and failures into results.

    Args:
        answers: where answers are kept; None where they are not.
        leads: this line's part in the keys in flight.
        budget: what was spent.
        stop: called with the problem when it is one that the whole run shares.
    """

    def __init__(self, answers: Answers | None, leads: Leads, budget: Budget, stop: Callable[[Problem], None]) -> None:
        self._answers = answers
        self._leads = leads
        self._budget = budget
        self._stop = stop

    async def run(self, source: MemoryReceiveChannel[Answer | Failure | Result], sink: MemorySendChannel[Result]) -> None:
        """One record in, one result out."""
        with source, sink:
            async for record in source:
                await sink.send(record if isinstance(record, Result) else await self._settled(record))

    async def _settled(self, record: Answer | Failure) -> Result:
        prompt, key = record.prompt, record.prompt.key
        self._budget.settle(prompt.seq, record.cost_usd if isinstance(record, Answer) else None)
        if isinstance(record, Answer):
            # What a fallback made is not what the key asked for.
            if key is not None and self._answers is not None and record.strategy is Strategy.PRIMARY:
                entry = Entry(origin=prompt.id, pictures=record.pictures, usage=record.usage, cost_usd=record.cost_usd)
                await self._answers.keep(key, entry)
            result = answered(record)
        else:
            if record.problem.kind in _ENDS_THE_RUN:
                self._stop(record.problem)
            result = failed(prompt, record)
        if key is not None:
            self._leads.land(key, record)
        return result
