"""Equal prompts are paid for once: answered before, or in flight right now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from headrace.cache.keys import exact_key
from headrace.records import Answer, CacheMode, Result
from headrace.results import cached, coalesced, failed

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.cache.answers import Answers
    from headrace.cache.in_flight import Leads
    from headrace.records import Prompt


class Dedupe:
    """Answers a prompt from the exact cache or lets it wait for an equal one in flight; a prompt that is the first of its kind goes on.

    Args:
        answers: the exact cache.
        leads: this line's part in the keys in flight.
        namespace: keeps entries of different APIs and callers apart.
    """

    def __init__(self, answers: Answers, leads: Leads, namespace: str) -> None:
        self._answers = answers
        self._leads = leads
        self._namespace = namespace

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Prompt | Result]) -> None:
        """One record in, one record out; a follower comes out when its leader has landed."""
        with source, sink:
            async with trio.open_nursery() as followers:
                async for record in source:
                    if isinstance(record, Result) or record.cache is CacheMode.BYPASS:
                        await sink.send(record)
                        continue
                    key = exact_key(record.request, record.variation, self._namespace)
                    prompt = attrs.evolve(record, key=key)
                    if prompt.cache is CacheMode.REFRESH:
                        await sink.send(prompt)
                    elif (hit := self._hit(prompt, key)) is not None:
                        await sink.send(hit)
                    elif self._leads.lead(key):
                        await sink.send(attrs.evolve(prompt, leads=True))
                    else:
                        followers.start_soon(self._follow, prompt, key, sink)

    def _hit(self, prompt: Prompt, key: str) -> Result | None:
        entry = self._answers.find(key)
        return None if entry is None else cached(prompt, entry.origin, entry.pictures, entry.cost_usd)

    async def _follow(self, prompt: Prompt, key: str, sink: MemorySendChannel[Prompt | Result]) -> None:
        outcome = await self._leads.follow(key)
        while outcome is None:
            # A leader that was cancelled leaves no outcome: the first of its followers takes over.
            if (hit := self._hit(prompt, key)) is not None:
                await sink.send(hit)
                return
            if self._leads.lead(key):
                await sink.send(attrs.evolve(prompt, leads=True))
                return
            outcome = await self._leads.follow(key)
        await sink.send(coalesced(prompt, outcome) if isinstance(outcome, Answer) else failed(prompt, outcome))
