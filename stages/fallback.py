"""What is tried when a prompt's own request got no picture: the rungs of a ladder, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from headrace.admission.retry import CURABLE
from headrace.log import ids, log
from headrace.records import Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.records import Answer, Result
    from headrace.rungs import Rung

_UNTRIED = frozenset({Kind.NO_POOL, Kind.TOO_LARGE, Kind.WAITED_TOO_LONG})


class Fallback:
    """Takes a failure up the ladder until a rung answers; what policy forbids is never asked again."""

    def __init__(self, ladder: Sequence[Rung]) -> None:
        self._ladder = tuple(ladder)
        self.nursery: trio.Nursery | None = None

    async def run(
        self,
        source: MemoryReceiveChannel[Answer | Failure | Result],
        sink: MemorySendChannel[Answer | Failure | Result],
    ) -> None:
        """One record in, one record out; failures climb beside each other."""
        with source, sink:
            async with trio.open_nursery() as climbing:
                self.nursery = climbing
                async for record in source:
                    if isinstance(record, Failure) and self._ladder and record.problem.kind in CURABLE:
                        climbing.start_soon(self._climb, record, sink)
                    else:
                        await sink.send(record)

    async def _climb(self, failure: Failure, sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        outcome: Answer | Failure = failure
        for rung in self._ladder:
            log.info("fallback", **ids(failure.prompt), rung=type(rung).__name__, because=failure.problem.kind.value)
            outcome = await rung.climb(failure)
            if not isinstance(outcome, Failure) or outcome.problem.kind not in CURABLE:
                break
            # What a rung could not even try says less than what was tried before it; what it cost on the way stays.
            failure = outcome = attrs.evolve(failure, trail=outcome.trail) if outcome.problem.kind in _UNTRIED else outcome
        await sink.send(outcome)
