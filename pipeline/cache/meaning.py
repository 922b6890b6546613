"""Who asked for the same picture in other words: among the stored answers, and among the prompts in flight.

Cosine only finds candidates; a :class:`headrace.cache.judge.Judge` decides. Encoding and FAISS have a thread of their own, one batch
at a time, so nothing needs a lock. Judging and what is in flight belong to the event loop, where to judge a prompt and to register it
is one step: of two prompts that ask for the same picture one always sees the other.

The encoder is loaded when the first prompt needs it, which is one that may match something, or beside the first calls. Without an
encoder there is one warning, and nothing is found by meaning.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.cache.difference import difference
from headrace.cache.encoder import BATCH, EncoderError
from headrace.cache.events import tell_verdict
from headrace.cache.judge import CANDIDATES
from headrace.cache.vetoes import gross_veto
from headrace.cache.words import read
from headrace.log import log
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.cache.encoder import Encoder
    from headrace.cache.in_flight import Flight, InFlight
    from headrace.cache.judge import Judge
    from headrace.cache.pending import Pending
    from headrace.cache.search import Found, Search
    from headrace.cache.store import Store
    from headrace.cache.words import Reading
    from headrace.offload import Offload
    from headrace.records import Prompt, Strategy, Vector

BESIDE_S = 1.0
"""Seconds of work after which the encoder is loaded though nothing has needed it: a shorter run never pays for it."""
_FEW = 500
"""Stored prompts of one scope that are compared by their words while there is no encoder; where there are more, prompts wait for it."""
_A_ROUND = 2
_SHORT = 100_000
"""Characters that they may have together: to read them takes a tenth of a second, on the event loop."""
_AT_ONCE = 4 * BATCH
"""Texts handed to the encoder at once, which sorts them by length."""


@attrs.frozen(kw_only=True)
class Twin:
    """Another prompt, whose picture is the one that is asked for."""

    number: int
    """Its number in the store; 0 where it is in flight."""
    flight: Flight | None
    """Where it was in flight a moment ago."""
    cosine: float
    difference: str | None
    """What differs in the words."""


@attrs.frozen
class _Question:
    scope: str
    text: str
    deliver: Callable[[Found | None], None]
    flight: Flight | None = None
    """Where nobody waits for the answer, which is for those who may follow it."""


class Meaning:
    """Finds twins of prompts.

    Args:
        steps: blocking steps to the encoder (:func:`headrace.cache.encoder.steps`).
        search: opens the search with it. Blocks.
        judge: decides.
        store: the answers.
        flights: the keys in flight.
        offload: where blocking work goes, one piece at a time.
    """

    def __init__(
        self,
        *,
        steps: Sequence[Callable[[], Encoder | None]],
        search: Callable[[Encoder], Search],
        judge: Judge,
        store: Store,
        flights: InFlight,
        offload: Offload,
    ) -> None:
        self._steps = steps
        self._open = search
        self._judge = judge
        self._store = store
        self._flights = flights
        self._offload = offload
        self._search: Search | None = None
        self._absent = False
        self._began, self._wanted, self._asked = trio.Event(), trio.Event(), trio.Event()
        self._questions: deque[_Question] = deque()
        self._pending: dict[str, Pending] = {}
        self._early: dict[str, list[Reading] | None] = {}

    @property
    def strategy(self) -> Strategy:
        """How a hit by meaning is called."""
        return self._judge.strategy

    async def twin(self, prompt: Prompt) -> tuple[Twin | None, Vector | None]:
        """Whose picture the prompt can have, and the prompt's own vector; a prompt without a twin is one for others from now on."""
        scope, text = prompt.scope or "", prompt.request.prompt
        self._began.set()
        if self._search is None and not self._absent and self._is_new(text, scope):
            flight = self._flights.flight(prompt.key)
            self._questions.append(_Question(scope, text, lambda found: self._register(prompt, flight, found), flight))
            return None, None
        found = await self._found(scope, text)
        if found is None:
            return None, None
        twin = self._judged(prompt, found)
        if twin is None:
            self._register(prompt, self._flights.flight(prompt.key), found)
        return twin, found.vector

    async def similar(self, prompt: Prompt, threshold: float) -> Twin | None:
        """The nearest stored answer of a cosine of at least ``threshold`` that holds the same texts, counts and negations."""
        text = prompt.request.prompt
        found = await self._found(prompt.scope or "", text)
        for near in found.neighbours if found is not None else ():
            if near.cosine >= threshold and gross_veto(read(text), read(near.prompt)) is None:
                return Twin(number=near.id, flight=None, cosine=round(near.cosine, 4), difference=difference(text, near.prompt) or None)
        return None

    async def run(self) -> None:
        """Load the encoder when it is time, then answer questions; until cancelled."""
        try:
            with closing(await self._load()) as search:
                self._search = search
                self._early.clear()
                while True:
                    if self._questions:
                        await self._answer(search)
                    elif not await self._offload(search.catch_up):
                        self._asked = trio.Event()
                        if not self._questions:
                            await self._asked.wait()
        except Exception as error:  # noqa: BLE001 - a stranger's encoder may raise anything, and nobody's run ends for it
            log.warning("encoder_unusable", error=clean(str(error)), consequence="prompts are matched by their content words only")
        self._absent = True
        self._early.clear()
        while self._questions:
            self._questions.popleft().deliver(None)

    async def _load(self) -> Search:
        await self._began.wait()
        with trio.move_on_after(BESIDE_S):
            await self._wanted.wait()
        for step in self._steps:
            encoder = await self._offload(step)
        if encoder is None:
            raise EncoderError("there is no encoder")
        self._judge.check(encoder.fingerprint)
        return await self._offload(self._open, encoder)

    async def _answer(self, search: Search) -> None:
        questions = [self._questions.popleft() for _ in range(min(len(self._questions), _AT_ONCE))]
        questions = [each for each in questions if each.flight is None or not each.flight.landed.is_set()]
        if not questions:
            return
        # What has landed by now is in the store for the search to find; what lands meanwhile may not be.
        landed = {scope: pending.landed() for scope, pending in self._pending.items()}
        try:
            found: Sequence[Found | None] = await self._offload(search.look, [(each.scope, each.text) for each in questions])
        except Exception:
            self._questions.extendleft(reversed(questions))
            raise
        for scope, flights in landed.items():
            self._pending[scope].forget(flights)
            if not len(self._pending[scope]):
                del self._pending[scope]
        for place, (question, each) in enumerate(zip(questions, found, strict=True)):
            if place % _A_ROUND == 0:
                await trio.lowlevel.checkpoint()  # whoever is answered judges at once: others want their turn in between
            question.deliver(each)

    async def _found(self, scope: str, text: str) -> Found | None:
        if self._absent:
            return None
        answer: list[Found | None] = []
        done = trio.Event()

        def deliver(found: Found | None) -> None:
            answer.append(found)
            done.set()

        question = _Question(scope, text, deliver)
        self._questions.append(question)
        for event in (self._began, self._wanted, self._asked):
            event.set()
        try:
            await done.wait()
        except trio.Cancelled:
            with suppress(ValueError):
                self._questions.remove(question)
            raise
        return answer[0]

    def _is_new(self, text: str, scope: str) -> bool:
        # Asked as long as there is no encoder: a prompt that can have no twin, whatever the cosine, does not wait for it.
        if scope not in self._early:
            stored = self._store.prompts(scope, _FEW + 1)
            few = len(stored) <= _FEW and sum(map(len, stored)) <= _SHORT
            self._early[scope] = [read(other) for other in stored] if few else None
        known, asked = self._early[scope], read(text)
        if known is None or any(self._judge.possible(asked, other) for other in known):
            return False
        known.append(asked)
        return True

    def _register(self, prompt: Prompt, flight: Flight | None, found: Found | None) -> None:
        if found is None or flight is None or prompt.scope is None:
            return
        if prompt.scope not in self._pending:
            from headrace.cache.pending import Pending  # noqa: PLC0415 - numpy is there now, and was not wanted before

            self._pending[prompt.scope] = Pending(len(found.values))
        self._pending[prompt.scope].add(flight, prompt.request.prompt, found.values)

    def _judged(self, prompt: Prompt, found: Found) -> Twin | None:
        text = prompt.request.prompt
        candidates: list[tuple[float, str, int, Flight | None]] = [(each.cosine, each.prompt, each.id, None) for each in found.neighbours]
        if (pending := self._pending.get(prompt.scope or "")) is not None:
            near = pending.near(found.values, CANDIDATES, self._judge.floor)
            candidates += [(cosine, other, 0, flight) for flight, other, cosine in near]
        asked = read(text)
        # What has landed while the search was on may have been found in both places.
        several = {other: (cosine, other, number, flight) for cosine, other, number, flight in reversed(candidates)}
        for cosine, other, number, flight in sorted(several.values(), key=lambda each: -each[0])[:CANDIDATES]:
            verdict = self._judge.judge(asked, read(other), cosine)
            tell_verdict(prompt, other, verdict)
            if verdict.same:
                return Twin(number=number, flight=flight, cosine=round(cosine, 4), difference=difference(text, other) or None)
        return None
