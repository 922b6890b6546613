"""Whether one prompt may have the picture of another: the chain for one pair.

Canonically equal prompts are the same. Otherwise the cosine has to reach a floor, no veto may stand against it, and the verifier has to be
sure enough for the false-hit budget. The article's rule, a cosine threshold alone, is there to be compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import attrs

from headrace.cache.features import features
from headrace.cache.vetoes import veto
from headrace.errors import UsageError
from headrace.records import Strategy

if TYPE_CHECKING:
    from headrace.cache.verifier import Verifier
    from headrace.cache.words import Reading

CANDIDATES = 5
"""The nearest one differs in what matters more often than not, and the right one may stand behind it."""
FLOOR = 0.80
"""Below it next to nothing is the same picture."""
_COMMON = 0.4
"""Share of the words that have to be common for the verifier to say yes at any cosine."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What was decided about a pair, and by what."""

    same: bool
    rule: str
    """``canonical``, ``verifier``, ``veto:`` and its name, ``floor``, or ``cosine``."""
    detail: str
    cosine: float
    score: float | None = None
    """The verifier's probability, where it was asked."""
    threshold: float | None = None
    """What the score, or the cosine, had to reach."""


class Judge(Protocol):
    """Decides about pairs of prompts."""

    strategy: ClassVar[Strategy]
    """How a hit of it is called."""

    @property
    def floor(self) -> float:
        """Cosine below which there is nothing to decide."""
        ...

    def check(self, fingerprint: str) -> None:
        """Refuse an encoder whose cosines it cannot judge.

        Raises:
            UsageError: it was made for another one.
        """
        ...

    def possible(self, asked: Reading, known: Reading) -> bool:
        """Whether any cosine could make them the same."""
        ...

    def judge(self, asked: Reading, known: Reading, cosine: float) -> Verdict:
        """Whether ``asked`` may have the picture of ``known``."""
        ...


class Verified:
    """The cosine finds, the vetoes and the verifier decide.

    Args:
        verifier: the trained one.
        false_hit_budget: share of pairs of different pictures that may pass as the same.

    Raises:
        UsageError: the verifier knows no operating point for so small a budget.
    """

    strategy: ClassVar[Strategy] = Strategy.CACHE_VERIFIED

    def __init__(self, verifier: Verifier, false_hit_budget: float) -> None:
        self._verifier = verifier
        try:
            self._threshold = verifier.threshold(false_hit_budget)
        except ValueError as error:
            raise UsageError(str(error)) from None

    @property
    def floor(self) -> float:
        """See :class:`Judge`."""
        return FLOOR

    def check(self, fingerprint: str) -> None:
        """See :class:`Judge`."""
        self._verifier.check(fingerprint)

    def possible(self, asked: Reading, known: Reading) -> bool:
        """See :class:`Judge`."""
        if asked.canonical == known.canonical:
            return True
        one, other = ({word.sense for word in reading.words} for reading in (asked, known))
        # Asked of many pairs, nearly all of which have nothing in common: the veto is for the rest.
        return len(one & other) >= _COMMON * max(len(one), len(other)) and veto(asked, known) is None

    def judge(self, asked: Reading, known: Reading, cosine: float) -> Verdict:
        """See :class:`Judge`."""
        if asked.canonical == known.canonical:
            return Verdict(same=True, rule="canonical", detail="the same content words", cosine=cosine)
        if cosine < FLOOR:
            return Verdict(same=False, rule="floor", detail=f"cosine below {FLOOR:.2f}", cosine=cosine, threshold=FLOOR)
        if (found := veto(asked, known)) is not None:
            return Verdict(same=False, rule=f"veto:{found.rule}", detail=found.detail, cosine=cosine)
        score = self._verifier.probability(features(asked, known, cosine))
        same = score >= self._threshold
        detail = "as sure as the budget asks for" if same else "less sure than the budget asks for"
        return Verdict(same=same, rule="verifier", detail=detail, cosine=cosine, score=score, threshold=self._threshold)


class Cosine:
    """Whatever is near is the same, and often is not.

    Args:
        threshold: cosine from which on.
    """

    strategy: ClassVar[Strategy] = Strategy.CACHE_COSINE

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    @property
    def floor(self) -> float:
        """See :class:`Judge`."""
        return self._threshold

    def check(self, fingerprint: str) -> None:
        """See :class:`Judge`: any encoder will do."""

    def possible(self, asked: Reading, known: Reading) -> bool:  # noqa: ARG002 - see Judge
        """See :class:`Judge`."""
        return True

    def judge(self, asked: Reading, known: Reading, cosine: float) -> Verdict:  # noqa: ARG002 - see Judge
        """See :class:`Judge`."""
        same = cosine >= self._threshold
        detail = f"cosine {'from' if same else 'below'} {self._threshold:.2f} on"[: None if same else -3]
        return Verdict(same=same, rule="cosine", detail=detail, cosine=cosine, threshold=self._threshold)
