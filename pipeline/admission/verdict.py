"""Who waits in vain: for keys that are dead, for limits that are too small, or for longer than anybody wants to wait. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.records import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.admission.booking import Cost
    from headrace.admission.pool import Pool


def verdict(pools: Sequence[Pool], cost: Cost, now: float, max_wait_s: float) -> Problem | None:
    """Why a request of that cost is not worth its wait at these pools; None where it is.

    What counts is how long each pool itself keeps it waiting: a queue moves on, and calls at once come back.
    """
    latest = now + max_wait_s
    for pool in pools:
        # The usual case, and asked for every request: the first that is near enough will do.
        if pool.alive and pool.fits(cost) and pool.earliest(cost, now) <= latest:
            return None
    living = [pool for pool in pools if pool.alive]
    if not living:
        return Problem(kind=Kind.NO_POOL, message=f"no key can work any more: {'; '.join(_reasons(pools))}", retryable=True)
    serving = [pool for pool in living if pool.serves(cost.model)]
    if not serving:
        told = "; ".join([f"no pool is for model {cost.model} (its models say which)", *_reasons(pools)])
        return Problem(kind=Kind.MODEL_NOT_FOUND, message=told, retryable=True)
    judged = [(pool, pool.too_large(cost)) for pool in serving]
    fitting = [pool for pool, complaint in judged if complaint is None]
    complaints = [f"it takes {complaint}" for _, complaint in judged if complaint is not None]
    if not fitting:
        return Problem(kind=Kind.TOO_LARGE, message=f"larger than any limit: {'; '.join(complaints)}")
    patience = f"within {max_wait_s:,.0f} s ([run] max_wait_s)"
    dead = list(_reasons(pools))
    if all(pool.closed_until > latest for pool in living):
        told = "; ".join([*(pool.closed(now) for pool in living), *dead])
        return Problem(kind=Kind.NO_POOL, message=f"nothing can start {patience}: {told}", retryable=True)
    told = "; ".join([*(pool.obstacle(cost, now) for pool in fitting), *complaints, *dead])
    return Problem(kind=Kind.WAITED_TOO_LONG, message=f"it cannot start {patience}: {told}", retryable=True)


def shared_too_long(pool: Pool, cause: str, max_wait_s: float) -> Problem:
    """A request has waited so long for its slot of a pool that other processes share; ``cause`` is what kept it, as the books have it."""
    told = f"it could not start within {max_wait_s:,.0f} s ([run] max_wait_s): pool {pool.name} is shared by [quota] with others ({cause})"
    return Problem(kind=Kind.WAITED_TOO_LONG, message=told, retryable=True)


def _reasons(pools: Sequence[Pool]) -> Iterator[str]:
    return (reason for pool in pools if not pool.alive for reason in pool.reasons())
