"""What the cache tells of its decisions: every hit and every near miss, with what decided, and what differs in the words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.cache.difference import difference
from headrace.log import heard, log
from headrace.text import clean

if TYPE_CHECKING:
    from headrace.cache.judge import Verdict
    from headrace.records import Hit, Prompt

_SHOWN = 200


def tell_hit(prompt: Prompt, hit: Hit) -> None:
    """A prompt got a picture that was there, or that another one is being paid for."""
    if heard():
        log.info(
            "cache_hit",
            prompt=prompt.id,
            tier=hit.strategy.value,
            of=hit.match.of,
            similarity=hit.match.similarity,
            asked=clean(prompt.request.prompt, _SHOWN),
            known=clean(hit.prompt, _SHOWN),
            difference=difference(prompt.request.prompt, hit.prompt),
        )


def tell_verdict(prompt: Prompt, known: str, verdict: Verdict) -> None:
    """A near one was judged: the same, or a near miss."""
    if heard():
        log.info(
            "cache_twin" if verdict.same else "cache_near_miss",
            prompt=prompt.id,
            rule=verdict.rule,
            because=verdict.detail,
            cosine=round(verdict.cosine, 4),
            score=None if verdict.score is None else round(verdict.score, 4),
            asked=clean(prompt.request.prompt, _SHOWN),
            known=clean(known, _SHOWN),
            difference=difference(prompt.request.prompt, known),
        )
