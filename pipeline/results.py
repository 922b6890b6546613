"""How each way of ending becomes a line of the output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.records import Failure, Hit, Kind, Match, Result, Status, Strategy

if TYPE_CHECKING:
    from headrace.records import Answer, Picture, Problem, Prompt, Request

_SKIPPED = frozenset({Kind.NO_POOL, Kind.OVER_BUDGET, Kind.INTERRUPTED, Kind.IN_DOUBT})


def answered(answer: Answer) -> Result:
    """The line of a prompt that was paid for."""
    trail = answer.trail
    return _ok(
        answer.prompt,
        answer.strategy,
        answer.pictures,
        answer.request,
        key=trail.key,
        attempts=trail.attempts,
        usage=answer.usage,
        cost_usd=paid(answer),
        latency_s=trail.latency_s,
        waited_s=trail.waited_s,
        match=answer.match,
    )


def shared(answer: Answer) -> Hit:
    """What others get who asked for the same while it was in flight."""
    request = answer.request
    return Hit(
        strategy=answer.strategy if answer.strategy is Strategy.CACHED_SIMILAR else Strategy.COALESCED,
        pictures=answer.pictures,
        prompt=answer.prompt.request.prompt,
        model=request.model,
        size=request.size,
        quality=request.quality,
        cost_usd=answer.cost_usd,
        match=answer.match or Match(of=answer.prompt.id, similarity=1.0, prompt=answer.prompt.request.prompt),
    )


def reused(prompt: Prompt, hit: Hit) -> Result:
    """The line of a prompt whose picture was there already."""
    return _ok(prompt, hit.strategy, hit.pictures, hit, saved_usd=hit.cost_usd, match=hit.match)


def failed(prompt: Prompt, failure: Failure) -> Result:
    """The line of a prompt without a picture; where it followed another one, the reason is the leader's."""
    mine = prompt is failure.prompt
    return Result(
        seq=prompt.seq,
        id=prompt.id,
        prompt=prompt.request.prompt,
        status=Status.SKIPPED if failure.problem.kind in _SKIPPED else Status.FAILED,
        model=prompt.request.model,
        size=prompt.request.size,
        quality=prompt.request.quality,
        key=failure.trail.key if mine else None,
        attempts=failure.trail.attempts if mine else 0,
        latency_s=failure.trail.latency_s if mine else None,
        waited_s=failure.trail.waited_s if mine else 0.0,
        cost_usd=paid(failure) if mine else 0.0,
        error=failure.problem,
        metadata=prompt.metadata,
        item=prompt.item,
    )


def paid(outcome: Answer | Failure) -> float | None:
    """USD that a prompt cost, with what was spoilt on the way; None where the price is unknown."""
    spoilt = outcome.trail.spoilt_usd
    if isinstance(outcome, Failure):
        return spoilt
    return None if outcome.cost_usd is None else outcome.cost_usd + spoilt


def spent(outcome: Answer | Failure) -> float:
    """USD that a budget loses by it: what was paid, as far as that is known, and what may have been."""
    return (paid(outcome) or 0.0) + outcome.trail.doubtful_usd


def unreadable(seq: int, name: str | None, text: str | None, problem: Problem) -> Result:
    """The line of an input line that is no prompt."""
    return Result(seq=seq, id=name or str(seq), prompt=text, status=Status.FAILED, error=problem)


def _ok(prompt: Prompt, strategy: Strategy, pictures: tuple[Picture, ...], made: Request | Hit, **more: Any) -> Result:
    return Result(
        seq=prompt.seq,
        id=prompt.id,
        prompt=prompt.request.prompt,
        status=Status.OK,
        strategy=strategy,
        images=pictures,
        model=made.model,
        size=made.size,
        quality=made.quality,
        metadata=prompt.metadata,
        item=prompt.item,
        **more,
    )
