"""What another process has paid for is not paid for here, nor what another is paying for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from headrace.cache.events import tell_hit
from headrace.records import Hit, Result
from headrace.results import reused

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.cache.in_flight import Leads
    from headrace.records import Prompt
    from headrace.shared_cache.cache import SharedLine


class Claim:
    """Answers a prompt that nothing here answers from the shared cache, or claims it; what another is paying for waits for it.

    Args:
        shared: this line's part in the shared cache.
        leads: its part in the keys in flight in this process.
    """

    def __init__(self, shared: SharedLine, leads: Leads) -> None:
        self._shared = shared
        self._leads = leads
        self.nursery: trio.Nursery | None = None

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Prompt | Result]) -> None:
        """One record in, one record out; whatever the store is asked about waits in a task of its own."""
        with source, sink:
            async with trio.open_nursery() as asking:
                self.nursery = asking
                async for record in source:
                    if isinstance(record, Result) or not self._shared.keys(record):
                        await sink.send(record)
                    else:
                        asking.start_soon(self._claim, record, sink)

    async def _claim(self, prompt: Prompt, sink: MemorySendChannel[Prompt | Result]) -> None:
        outcome = await self._shared.claim(prompt)
        if isinstance(outcome, Hit):
            for key in prompt.leads:
                self._leads.land(key, outcome)
            tell_hit(prompt, outcome)
            await sink.send(reused(prompt, outcome))
        else:
            await sink.send(outcome)
