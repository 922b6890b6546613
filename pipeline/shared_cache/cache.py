"""The cache that processes share: what one has paid for the others take, and none pays for what another is paying for.

A prompt comes here once nothing in this process has an answer for it. Answers lie in the Redis of ``[quota] store``, their pictures at
the place of ``[cache] shared``. Without one or the other a process goes on by itself.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.cache.keys import canonical_key, exact_key, job_key, scope_key
from headrace.log import ids, log
from headrace.records import CacheMode, Strategy
from headrace.shared_cache.answer import BrokenError, entry_of, text_of
from headrace.shared_cache.pictures import PlaceLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headrace.cache.answers import Answers
    from headrace.cache.entry import Entry
    from headrace.records import Answer, Hit, Prompt
    from headrace.shared_cache.claims import Claims
    from headrace.shared_cache.pictures import SharedPictures

LEAVE_S = 2.0
"""What others are to be told at the end has so long."""
_TRIES = 3
"""Answers that are no good, until the prompt is paid for whatever the store says."""


@attrs.define(eq=False, kw_only=True)
class SharedCache:
    """What a run shares with other processes."""

    claims: Claims
    pictures: SharedPictures
    answers: Answers
    """This process's own cache: what is taken over goes there as well."""
    ttl_s: float
    job: str | None
    """With it, what the cache does not answer is paid for once a job where it has an id."""
    api: str
    namespace: str
    """Of prompts that name none."""
    token: Callable[[], str]
    """Another one each time, here and elsewhere."""
    _complained: bool = False

    @asynccontextmanager
    async def line(self) -> AsyncIterator[SharedLine]:
        """The part of one line; leaving the block lets others pay for everything that it still claims."""
        line = SharedLine(self)
        try:
            yield line
        finally:
            with trio.move_on_after(LEAVE_S, shield=True):
                await line.leave()

    def ignore(self, prompt: Prompt, error: BrokenError) -> None:
        """Say once that there are answers in the store that are none."""
        if not self._complained:
            self._complained = True
            log.warning("shared_answer_broken", **ids(prompt), error=str(error), next="it is ignored, and so are others, without a word")


class SharedLine:
    """One line's part: what it claims, takes over and makes known."""

    def __init__(self, shared: SharedCache) -> None:
        self._shared = shared
        self._claimed: dict[str, tuple[str, ...]] = {}

    def keys(self, prompt: Prompt) -> tuple[str, ...]:
        """Under which keys others may have an answer to the prompt, or be paying for it; none where it is nobody else's business."""
        return prompt.leads or self._done(prompt)

    async def claim(self, prompt: Prompt) -> Prompt | Hit:
        """What another process has paid for, its pictures below the output folder; or the prompt, claimed, where none has.

        Waits as long as another is paying.

        Raises:
            OutputError: the output folder cannot be written.
        """
        shared, keys, token = self._shared, self.keys(prompt), self._shared.token()
        # Known before the store is asked: whoever is cancelled while it answers has perhaps claimed.
        self._claimed[token] = keys
        spoilt = None
        for _ in range(_TRIES if not shared.pictures.lost else 0):
            found = await shared.claims.claim(token, keys, spoilt)
            if found is None:
                return attrs.evolve(prompt, claim=token)
            try:
                hit = await self._taken(prompt, *found)
            except PlaceLostError:
                break
            if hit is not None:
                del self._claimed[token]
                return hit
            _, spoilt = found
        return attrs.evolve(prompt, claim=token)

    async def answered(self, answer: Answer) -> None:
        """Make known what was paid for, once its pictures are where all can have them."""
        # All that was paid for lies there; what a fallback made is not what the key asked for.
        there = await self._shared.pictures.put(answer.pictures)
        if there and answer.strategy is Strategy.PRIMARY:
            await self._end(answer.prompt, self._under(answer.prompt), text_of(answer))
        else:
            await self._end(answer.prompt)

    async def failed(self, prompt: Prompt) -> None:
        """Let others pay for what this line has no answer to."""
        await self._end(prompt)

    async def leave(self) -> None:
        """Let others pay for everything that this line has claimed and not answered."""
        await self._shared.claims.leave(self._claimed)

    async def _end(self, prompt: Prompt, answers: tuple[str, ...] = (), text: str = "") -> None:
        keys = self._claimed.get(prompt.claim or "", ())
        await self._shared.claims.end(prompt.claim or "", keys, answers, text)
        self._claimed.pop(prompt.claim or "", None)

    async def _taken(self, prompt: Prompt, key: str, text: str) -> Hit | None:
        """The answer, brought here; None where it is no good."""
        shared = self._shared
        try:
            entry = self._entry(prompt, key, text)
        except BrokenError as error:
            shared.ignore(prompt, error)
            return None
        if entry.created <= time.time() - shared.ttl_s:
            return None
        if not await shared.answers.placed(entry.pictures) and not await shared.pictures.bring(entry.pictures):
            log.warning("shared_picture_broken", **ids(prompt), origin=entry.origin, picture=entry.pictures[0].path)
            return None
        same = entry.key == exact_key(entry.scope, prompt.request.prompt)
        if prompt.key is not None:
            await shared.answers.adopt(entry, prompt.vector if same else None)
        return entry.hit(Strategy.CACHE_EXACT if same else Strategy.CACHE_CANONICAL)

    def _entry(self, prompt: Prompt, key: str, text: str) -> Entry:
        entry = entry_of(text, prompt.request, self._scope(prompt), self._namespace(prompt))
        # What is asked for by an id is asked for to the letter.
        under = (entry.key, entry.canonical) if prompt.leads else self._done(attrs.evolve(prompt, request=entry.request))
        if key not in under:
            raise BrokenError("it is another prompt's")
        if len(entry.pictures) != prompt.request.n:
            raise BrokenError(f"it has {len(entry.pictures)} pictures")
        return entry

    def _under(self, prompt: Prompt) -> tuple[str, ...]:
        kept = () if prompt.key is None else (prompt.key, canonical_key(prompt.scope or "", prompt.request.prompt))
        return (*kept, *self._done(prompt))

    def _done(self, prompt: Prompt) -> tuple[str, ...]:
        if self._shared.job is None or not prompt.named or prompt.cache is CacheMode.USE:
            return ()
        return (job_key(self._shared.job, prompt.id, exact_key(self._scope(prompt), prompt.request.prompt)),)

    def _scope(self, prompt: Prompt) -> str:
        return prompt.scope or scope_key(prompt.request, prompt.variation, self._namespace(prompt), self._shared.api)

    def _namespace(self, prompt: Prompt) -> str:
        return prompt.namespace or self._shared.namespace
