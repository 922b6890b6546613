"""What the cache tells of its decisions: every hit and every near miss, with what decided; the words only where prompts are logged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from headrace.cache.difference import difference
from headrace.log import heard, ids, log, prompts_heard
from headrace.text import clean

if TYPE_CHECKING:
    from headrace.cache.judge import Verdict
    from headrace.records import Hit, Prompt

_SHOWN = 200


def tell_follow(prompt: Prompt, by: str) -> None:
    """A prompt waits for one in flight that asks for the same: to the letter, in content words, or by meaning."""
    if heard(logging.DEBUG):
        log.debug("cache_follows", **ids(prompt), by=by)


def tell_hit(prompt: Prompt, hit: Hit) -> None:
    """A prompt got a picture that was there, or that another one is being paid for."""
    if heard():
        words = _words(prompt, hit.prompt)
        log.info("cache_hit", **ids(prompt), tier=hit.strategy.value, of=hit.match.of, similarity=hit.match.similarity, **words)


def tell_verdict(prompt: Prompt, known: str, verdict: Verdict) -> None:
    """A near one was judged: the same, or a near miss."""
    if heard():
        words = _words(prompt, known)
        if words:
            words["because"] = verdict.detail  # names the words that decided
        log.info(
            "cache_twin" if verdict.same else "cache_near_miss",
            **ids(prompt),
            rule=verdict.rule,
            cosine=round(verdict.cosine, 4),
            score=None if verdict.score is None else round(verdict.score, 4),
            **words,
        )


def _words(prompt: Prompt, known: str) -> dict[str, str]:
    asked = prompt.request.prompt
    if not prompts_heard():
        return {}
    return {"asked": clean(asked, _SHOWN), "known": clean(known, _SHOWN), "difference": difference(asked, known)}
