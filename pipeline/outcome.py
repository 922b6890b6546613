"""The consumer's end of a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

from headrace.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.flow import Running
    from headrace.records import Problem, Result
    from headrace.stages.intake import Intake
    from headrace.stages.sink import Sink


class Results:
    """The results of one line, as they come; iterate over it.

    Raises:
        StoppedError: at the end, where no key could work any more or the budget was spent.
        Exception: at the end, what the input raised.
    """

    def __init__(
        self,
        running: Running[Result],
        intake: Intake,
        sink: Sink,
        stopped: Callable[[], Problem | None],
        told: Callable[[Result], None],
    ) -> None:
        self._running = running
        self._intake = intake
        self._sink = sink
        self._stopped = stopped
        self._told = told
        self.complete = False
        """Whether the input came to its end, and everything in it has a result."""

    @property
    def in_flight(self) -> int:
        """Prompts that were read and whose result has not been handed over."""
        return self._intake.pulled - self._sink.emitted

    def drain(self) -> None:
        """Stop taking prompts; what is in flight still comes out."""
        self._running.drain()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        try:
            result = await self._running.results.receive()
        except trio.EndOfChannel:
            if self.in_flight:
                raise RuntimeError(f"{self.in_flight} prompts have no result") from None
            if self._intake.error is not None:
                raise self._intake.error from None
            if (problem := self._stopped()) is not None:
                raise StoppedError(problem.message) from None
            self.complete = not self._running.drained
            raise StopAsyncIteration from None
        self._told(result)
        return result
