"""What the cache would do with a stream of prompts, without paying for any: every prompt is taken to have been answered before the next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np

from headrace.cache.index import Index, sample_size
from headrace.cache.judge import CANDIDATES
from headrace.cache.keys import canonical_key, exact_key, scope_key
from headrace.cache.seen import Seen
from headrace.cache.words import read
from headrace.records import CacheMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from headrace.cache.encoder import Encoder
    from headrace.cache.entry import Entry
    from headrace.cache.judge import Judge, Verdict
    from headrace.cache.search import Search
    from headrace.cache.store import Store
    from headrace.cache.view import Neighbour
    from headrace.records import Prompt

    Look = tuple[NDArray[np.float32], Sequence[Neighbour]]
    """The vector of a text, and what the store has near it."""

_KEYS = {"exact": exact_key, "canonical": canonical_key}


@attrs.frozen(kw_only=True)
class Ruling:
    """What became of one prompt."""

    prompt: str
    tier: str | None
    """exact, canonical, or the judge's name; None for a miss."""
    known: str | None = None
    """By meaning, the prompt whose picture it would get, or that came nearest to it."""
    verdict: Verdict | None = None
    """The judge's, where one was asked."""
    stored: bool = False
    """Whether the answer is in the store already, and not only among the prompts before it."""
    compared: bool = True
    """False where the policy would have asked for the meaning, and too many had been compared before."""


@attrs.frozen(kw_only=True)
class Stored:
    """The answers that are there before the first prompt."""

    store: Store
    search: Search | None
    """What finds them by meaning; None where only letters and content words count."""

    def by_key(self, tier: str, key: str) -> Entry | None:
        """The answer under a key of that tier."""
        return self.store.get(key) if tier == "exact" else self.store.get_canonical(key)


@attrs.frozen
class _Case:
    prompt: Prompt
    scope: str
    keys: dict[str, str]
    """By tier."""

    @property
    def text(self) -> str:
        return self.prompt.request.prompt


@attrs.define
class _Scope:
    prompts: list[str] = attrs.field(factory=list)
    vectors: list[NDArray[np.float32]] = attrs.field(factory=list)
    index: Index | None = None

    def add(self, text: str, vector: NDArray[np.float32]) -> None:
        self.prompts.append(text)
        self.vectors.append(vector)
        count = len(self.prompts)
        if self.index is None or count > self.index.capacity:
            known = np.stack(self.vectors)
            self.index = Index(len(vector), count, known[: sample_size(count)])
            self.index.add(range(count), known)
        else:
            self.index.add([count - 1], vector[None])

    def near(self, vector: NDArray[np.float32], floor: float) -> list[tuple[float, str]]:
        """Cosines and prompts of the nearest."""
        if self.index is None:
            return []
        numbers = self.index.search(vector[None], CANDIDATES, floor)[0]
        return [(float(self.vectors[number] @ vector), self.prompts[number]) for number in numbers]


class Audit:
    """Rules over prompts in their order; batches of some hundred are fast.

    Args:
        encoder: compares prompts; None where only letters and content words do.
        judge: decides; None with it.
        namespace: of prompts that name none.
        tiers: that look a key up.
        api: the address of the API that answers: stored answers of others never meet these prompts.
        stored: the answers that are there already.
        most: prompts that are compared by their meaning; their vectors are held in memory.
    """

    def __init__(
        self,
        encoder: Encoder | None,
        judge: Judge | None,
        namespace: str = "",
        tiers: Sequence[str] = ("exact", "canonical"),
        *,
        api: str = "",
        stored: Stored | None = None,
        most: float = math.inf,
    ) -> None:
        self._tiers = tiers
        self._namespace = namespace
        self._api = api
        self._encoder = encoder
        self._judge = judge
        self._stored = stored
        self._most = most
        self._seen = Seen()
        self._scopes: dict[str, _Scope] = {}
        self._compared = 0

    def rule(self, prompts: Sequence[Prompt]) -> Iterator[Ruling]:
        """A ruling for each, in their order."""
        cases = [self._case(prompt) for prompt in prompts]
        looks = self._looks(cases)
        for case in cases:
            if case.prompt.cache is CacheMode.BYPASS:
                yield Ruling(prompt=case.text, tier=None)
                continue
            look = looks.get((case.scope, case.text))
            ruling = Ruling(prompt=case.text, tier=None)
            if case.prompt.cache is CacheMode.USE:
                ruling = self._by_key(case) or self._by_meaning(case, look)
            if ruling.tier is None:
                self._seen.add(case.keys.values())
                if look is not None:
                    self._scopes.setdefault(case.scope, _Scope()).add(case.text, look[0])
            yield ruling

    def _case(self, prompt: Prompt) -> _Case:
        scope = scope_key(prompt.request, prompt.variation, prompt.namespace or self._namespace, self._api)
        return _Case(prompt, scope, {tier: _KEYS[tier](scope, prompt.request.prompt) for tier in self._tiers})

    def _looks(self, cases: Sequence[_Case]) -> dict[tuple[str, str], Look]:
        """What is known by meaning of those prompts that no key answers so far."""
        if self._encoder is None:
            return {}
        wanted = (case for case in cases if case.prompt.cache is not CacheMode.BYPASS)
        asked = list(dict.fromkeys((case.scope, case.text) for case in wanted if self._by_key(case) is None))
        asked = asked[: max(0, int(min(self._most - self._compared, len(asked))))]
        self._compared += len(asked)
        if not asked:
            return {}
        if self._stored is not None and self._stored.search is not None:
            return {each: (found.values, found.neighbours) for each, found in zip(asked, self._stored.search.look(asked), strict=True)}
        vectors = self._encoder.encode([text for _, text in asked])
        return {each: (vector, ()) for each, vector in zip(asked, vectors, strict=True)}

    def _by_key(self, case: _Case) -> Ruling | None:
        for tier, key in case.keys.items():
            stored = self._stored is not None and self._stored.by_key(tier, key) is not None
            if stored or key in self._seen:
                return Ruling(prompt=case.text, tier=tier, stored=stored)
        return None

    def _by_meaning(self, case: _Case, look: Look | None) -> Ruling:
        nearest = Ruling(prompt=case.text, tier=None, compared=self._encoder is None or look is not None)
        if look is None or self._judge is None:
            return nearest
        vector, neighbours = look
        candidates = [(each.cosine, each.prompt, True) for each in neighbours]
        if (held := self._scopes.get(case.scope)) is not None:
            candidates += [(cosine, known, False) for cosine, known in held.near(vector, self._judge.floor)]
        for cosine, known, stored in sorted(candidates, key=lambda each: -each[0])[:CANDIDATES]:
            verdict = self._judge.judge(read(case.text), read(known), cosine)
            ruling = Ruling(prompt=case.text, tier=None, known=known, verdict=verdict, stored=stored)
            if verdict.same:
                return attrs.evolve(ruling, tier=self._judge.strategy.value.removeprefix("cache_"))
            if nearest.verdict is None or (verdict.score or 0.0) > (nearest.verdict.score or 0.0):
                nearest = attrs.evolve(ruling, stored=False)
        return nearest
