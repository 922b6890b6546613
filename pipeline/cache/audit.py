"""What the cache would do with a stream of prompts, without paying for any: every prompt is taken to have been answered before the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from headrace.cache.index import Index, sample_size
from headrace.cache.judge import CANDIDATES
from headrace.cache.keys import canonical_key, exact_key, scope_key
from headrace.cache.words import read
from headrace.records import CacheMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from headrace.cache.encoder import Encoder
    from headrace.cache.judge import Judge, Verdict
    from headrace.records import Prompt


@attrs.frozen(kw_only=True)
class Ruling:
    """What became of one prompt."""

    prompt: str
    tier: str | None
    """exact, canonical, or the judge's name; None for a miss."""
    known: str | None = None
    """The prompt whose picture it would get, or that came nearest to it."""
    verdict: Verdict | None = None
    """The judge's, where one was asked."""


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


class Audit:
    """Rules over prompts in their order; batches of some hundred are fast.

    Args:
        encoder: compares prompts; None where only letters and content words do.
        judge: decides; None with it.
        namespace: of prompts that name none.
        tiers: that look a key up.
    """

    def __init__(
        self, encoder: Encoder | None, judge: Judge | None, namespace: str = "", tiers: Sequence[str] = ("exact", "canonical")
    ) -> None:
        self._tiers = tiers
        self._namespace = namespace
        self._encoder = encoder
        self._judge = judge
        self._known: dict[str, str] = {}
        self._scopes: dict[str, _Scope] = {}

    def rule(self, prompts: Sequence[Prompt]) -> Iterator[Ruling]:
        """A ruling for each, in their order."""
        vectors = None if self._encoder is None else self._encoder.encode([each.request.prompt for each in prompts])
        for place, prompt in enumerate(prompts):
            text = prompt.request.prompt
            if prompt.cache is CacheMode.BYPASS:
                yield Ruling(prompt=text, tier=None)
                continue
            scope = scope_key(prompt.request, prompt.variation, prompt.namespace or self._namespace, "")
            keys = {"exact": exact_key(scope, text), "canonical": canonical_key(scope, text)}
            vector = None if vectors is None else vectors[place]
            held = self._scopes.setdefault(scope, _Scope())
            ruling = Ruling(prompt=text, tier=None) if prompt.cache is CacheMode.REFRESH else self._ruled(held, keys, text, vector)
            if ruling.tier is None:
                self._known |= dict.fromkeys(keys.values(), text)
                if vector is not None:
                    held.add(text, vector)
            yield ruling

    def _ruled(self, held: _Scope, keys: dict[str, str], text: str, vector: NDArray[np.float32] | None) -> Ruling:
        for tier, key in keys.items():
            if tier in self._tiers and key in self._known:
                return Ruling(prompt=text, tier=tier, known=self._known[key])
        nearest = Ruling(prompt=text, tier=None)
        if vector is None or self._judge is None or held.index is None:
            return nearest
        for number in held.index.search(vector[None], CANDIDATES, self._judge.floor)[0]:
            known = held.prompts[number]
            verdict = self._judge.judge(read(text), read(known), float(held.vectors[number] @ vector))
            if verdict.same:
                return Ruling(prompt=text, tier=self._judge.strategy.value.removeprefix("cache_"), known=known, verdict=verdict)
            if nearest.verdict is None or (verdict.score or 0.0) > (nearest.verdict.score or 0.0):
                nearest = Ruling(prompt=text, tier=None, known=known, verdict=verdict)
        return nearest
