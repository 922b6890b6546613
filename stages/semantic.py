"""Prompts that ask for the same picture in other words are paid for once: by their content words, then by their meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from headrace.cache.events import tell_follow, tell_hit
from headrace.cache.keys import canonical_key
from headrace.records import Failure, Hit, Kind, Result, Strategy
from headrace.results import failed, reused

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.cache.answers import Answers
    from headrace.cache.in_flight import Leads
    from headrace.cache.meaning import Meaning
    from headrace.records import Prompt

_ABOUT_THE_WORDS = frozenset({Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION, Kind.BAD_REQUEST, Kind.TOO_LARGE})
"""What befell one wording and need not befall another."""
_PATIENCE = 2
"""Stored twins whose picture cannot be had, until the prompt is paid for."""


class Semantic:
    """Answers a prompt with the picture of one that means the same, or lets it wait for one in flight; all others go on.

    Args:
        answers: the cache.
        leads: this line's part in the keys in flight.
        meaning: finds twins; None where only content words decide.
    """

    def __init__(self, answers: Answers, leads: Leads, meaning: Meaning | None) -> None:
        self._answers = answers
        self._leads = leads
        self._meaning = meaning
        self.nursery: trio.Nursery | None = None

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Prompt | Result]) -> None:
        """One record in, one record out; what has to wait for the encoder or for a leader waits in a task of its own."""
        with source, sink:
            async with trio.open_nursery() as waiting:
                self.nursery = waiting
                async for record in source:
                    if isinstance(record, Result) or not record.leads or record.scope is None:
                        await sink.send(record)
                        continue
                    key = canonical_key(record.scope, record.request.prompt)
                    if (hit := await self._hit(key)) is not None:
                        await sink.send(self._landed(record, hit))
                    elif self._meaning is None and self._leads.lead(key):
                        await sink.send(attrs.evolve(record, leads=(*record.leads, key)))
                    else:
                        waiting.start_soon(self._resolve, record, key, sink)

    async def _resolve(self, prompt: Prompt, key: str, sink: MemorySendChannel[Prompt | Result]) -> None:
        outcome: Prompt | Hit | Failure | None = None
        # Between looking and leading nothing else runs, so that no answer comes in unseen.
        while (outcome := await self._hit(key)) is None and not self._leads.lead(key):
            tell_follow(prompt, "canonical")
            if (outcome := _for_others(await self._leads.follow(key))) is not None:
                break
        if outcome is None:
            outcome = prompt = attrs.evolve(prompt, leads=(*prompt.leads, key))
            if self._meaning is not None:
                outcome = await self._by_meaning(prompt, self._meaning)
        await sink.send(self._landed(prompt, outcome) if isinstance(outcome, Hit | Failure) else outcome)

    async def _by_meaning(self, prompt: Prompt, meaning: Meaning) -> Prompt | Hit | Failure:
        vanished = 0
        while True:
            twin, vector = await meaning.twin(prompt)
            if twin is None or vanished > _PATIENCE:
                return attrs.evolve(prompt, vector=vector)
            outcome: Hit | Failure | None
            if twin.flight is not None:
                tell_follow(prompt, "meaning")
                outcome = _for_others(await twin.flight.follow())
                if isinstance(outcome, Hit):
                    outcome = outcome.for_twin(twin.cosine, twin.difference)
            else:
                entry = await self._answers.find_number(twin.number)
                outcome = None if entry is None else entry.hit(meaning.strategy, twin.cosine, twin.difference)
                vanished += 1
            if outcome is not None:
                return outcome

    async def _hit(self, key: str) -> Hit | None:
        entry = await self._answers.find_canonical(key)
        return None if entry is None else entry.hit(Strategy.CACHE_CANONICAL)

    def _landed(self, prompt: Prompt, outcome: Hit | Failure) -> Result:
        for key in prompt.leads:
            self._leads.land(key, outcome)
        if isinstance(outcome, Failure):
            return failed(prompt, outcome)
        tell_hit(prompt, outcome)
        return reused(prompt, outcome)


def _for_others(outcome: Hit | Failure | None) -> Hit | Failure | None:
    # What is wrong with one wording frees its followers one by one: the first that is free leads the rest.
    if isinstance(outcome, Failure) and outcome.problem.kind in _ABOUT_THE_WORDS:
        return None
    return outcome
