"""Where a request waits for its turn: money first, then the limits of whichever pool can start it earliest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from headrace.admission.permit import Admitted
from headrace.records import Estimated, Failure, Kind, Problem, Result

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.api import Api
    from headrace.budget import Purse


class Admission:
    """Lets every request wait in a task of its own, so that none stands in the way of another that could start.

    How many wait is bounded by the slots of the line, not here.
    """

    def __init__(self, api: Api, purse: Purse) -> None:
        self._api = api
        self._purse = purse
        self.nursery: trio.Nursery | None = None

    async def run(
        self,
        source: MemoryReceiveChannel[Estimated | Failure | Result],
        sink: MemorySendChannel[Admitted | Failure | Result],
    ) -> None:
        """One record in, one record out, in the order of admission."""
        with source, sink:
            async with trio.open_nursery() as waiting:
                self.nursery = waiting
                async for record in source:
                    if not isinstance(record, Estimated):
                        await sink.send(record)
                    elif (short := self._purse.reserve(record.prompt.seq, record.cost_usd)) is not None:
                        problem = Problem(kind=Kind.OVER_BUDGET, message=short, retryable=True)
                        await sink.send(Failure(prompt=record.prompt, problem=problem))
                    else:
                        waiting.start_soon(self._admit, record, sink)

    async def _admit(self, estimated: Estimated, sink: MemorySendChannel[Admitted | Failure | Result]) -> None:
        outcome = await self._api.admit(estimated)
        try:
            await sink.send(outcome)
        except BaseException:
            if isinstance(outcome, Admitted):
                outcome.permit.released()
            raise
