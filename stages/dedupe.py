"""Equal prompts are paid for once: answered before, or in flight right now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from headrace.cache.events import tell_follow, tell_hit
from headrace.cache.keys import exact_key, scope_key
from headrace.records import CacheMode, Hit, Result, Strategy
from headrace.results import failed, reused

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.cache.answers import Answers
    from headrace.cache.in_flight import Leads
    from headrace.records import Prompt


class Dedupe:
    """Answers a prompt from the exact cache or lets it wait for an equal one in flight; a prompt that is the first of its kind goes on.

    Args:
        answers: the cache.
        leads: this line's part in the keys in flight.
        api: the API that answers; entries of different ones never meet.
        namespace: of prompts that name none; neither do entries of different namespaces.
    """

    def __init__(self, answers: Answers, leads: Leads, api: str, namespace: str) -> None:
        self._answers = answers
        self._leads = leads
        self._api = api
        self._namespace = namespace
        self.nursery: trio.Nursery | None = None

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Prompt | Result]) -> None:
        """One record in, one record out; a follower comes out when its leader has landed."""
        with source, sink:
            async with trio.open_nursery() as followers:
                self.nursery = followers
                async for record in source:
                    if isinstance(record, Result) or record.cache is CacheMode.BYPASS:
                        await sink.send(record)
                        continue
                    namespace = record.namespace or self._namespace
                    scope = scope_key(record.request, record.variation, namespace, self._api)
                    key = exact_key(scope, record.request.prompt)
                    refresh = record.cache is CacheMode.REFRESH
                    if not refresh and (hit := await self._hit(key)) is not None:
                        tell_hit(record, hit)
                        await sink.send(reused(record, hit))
                        continue
                    leads = not refresh and self._leads.lead(key)
                    prompt = attrs.evolve(record, namespace=namespace, scope=scope, key=key, leads=(key,) if leads else ())
                    if refresh or leads:
                        await sink.send(prompt)
                    else:
                        followers.start_soon(self._follow, prompt, key, sink)

    async def _hit(self, key: str) -> Hit | None:
        entry = await self._answers.find(key)
        return None if entry is None else entry.hit(Strategy.CACHE_EXACT)

    async def _follow(self, prompt: Prompt, key: str, sink: MemorySendChannel[Prompt | Result]) -> None:
        tell_follow(prompt, "exact")
        outcome = await self._leads.follow(key)
        while outcome is None:
            # A leader that was cancelled leaves no outcome: the first of its followers takes over.
            outcome = await self._hit(key)
            if outcome is not None:
                break
            if self._leads.lead(key):
                await sink.send(attrs.evolve(prompt, leads=(key,)))
                return
            outcome = await self._leads.follow(key)
        if isinstance(outcome, Hit):
            tell_hit(prompt, outcome)
            await sink.send(reused(prompt, outcome))
        else:
            await sink.send(failed(prompt, outcome))
