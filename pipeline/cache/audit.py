"""What the cache would do with a stream of prompts, without paying for any: every prompt is taken to have been answered before the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from headrace.cache.index import Index, sample_size
from headrace.cache.keys import canonical_key, exact_key, scope_key
from headrace.cache.meaning import CANDIDATES
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


class Audit:
    """Rules over prompts in their order; batches of some hundred are fast.

    Args:
        encoder: compares prompts; None where only letters and content words do.
        judge: decides; None with it.
        namespace: of prompts that name none.
    """

    def __init__(self, encoder: Encoder | None, judge: Judge | None, namespace: str) -> None:
        self._namespace = namespace
        self._encoder = encoder
        self._judge = judge
        self._known: dict[str, str] = {}
        self._scopes: dict[str, _Scope] = {}

    def rule(self, prompts: Sequence[Prompt]) -> Iterator[Ruling]:
        """A ruling for each, in their order."""
        vectors = None if self._encoder is None else self._encoder.encode([each.request.prompt for each in prompts])
        for place, prompt in enumerate(prompts):
            if prompt.cache is CacheMode.BYPASS:
                yield Ruling(prompt=prompt.request.prompt, tier=None)
                continue
            scope = scope_key(prompt.request, prompt.variation, prompt.namespace or self._namespace, "")
            text = prompt.request.prompt
            keys = {"exact": exact_key(scope, text), "canonical": canonical_key(scope, text)}
            tier = next((tier for tier, key in keys.items() if key in self._known), None)
            if prompt.cache is CacheMode.REFRESH:
                tier = None
                yield Ruling(prompt=text, tier=None)
            elif tier is not None:
                yield Ruling(prompt=text, tier=tier, known=self._known[keys[tier]])
            elif vectors is None or self._judge is None:
                yield Ruling(prompt=text, tier=None)
            else:
                ruling = self._by_meaning(self._scopes.setdefault(scope, _Scope()), text, vectors[place], self._judge)
                yield ruling
                tier = ruling.tier
            for key in keys.values():
                self._known.setdefault(key, text)

    def _by_meaning(self, scope: _Scope, text: str, vector: NDArray[np.float32], judge: Judge) -> Ruling:
        asked, best = read(text), None
        near = [] if scope.index is None else scope.index.search(vector[None], CANDIDATES, judge.floor)[0]
        for number in near:
            known = scope.prompts[number]
            verdict = judge.judge(asked, read(known), float(scope.vectors[number] @ vector))
            if verdict.same:
                return Ruling(prompt=text, tier=judge.strategy.value.removeprefix("cache_"), known=known, verdict=verdict)
            if best is None or (verdict.score or 0.0) > (best[1].score or 0.0):
                best = (known, verdict)
        self._add(scope, text, vector)
        return Ruling(prompt=text, tier=None) if best is None else Ruling(prompt=text, tier=None, known=best[0], verdict=best[1])

    def _add(self, scope: _Scope, text: str, vector: NDArray[np.float32]) -> None:
        scope.prompts.append(text)
        scope.vectors.append(vector)
        count = len(scope.prompts)
        if scope.index is None or count > scope.index.capacity:
            known = np.stack(scope.vectors)
            scope.index = Index(len(vector), count, known[: sample_size(count)])
            scope.index.add(range(count), known)
        else:
            scope.index.add([count - 1], vector[None])
