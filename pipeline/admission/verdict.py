"""Who waits in vain: for keys that are dead, for limits that are too small, or for longer than anybody wants to wait. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.records import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.admission.pool import Cost, Pool


def verdict(pools: Sequence[Pool], cost: Cost, now: float, max_wait_s: float) -> Problem | None:
    """Why a request of that cost is not worth its wait at these pools; None where it is.

    What counts is how long each pool itself keeps it waiting: a queue moves on, and calls at once come back.
    """
    living = [pool for pool in pools if pool.alive]
    if not living:
        return Problem(kind=Kind.NO_POOL, message=f"no key can work any more: {'; '.join(_reasons(pools))}", retryable=True)
    judged = [(pool, pool.too_large(cost)) for pool in living]
    fitting = [pool for pool, complaint in judged if complaint is None]
    complaints = [f"it takes {complaint}" for _, complaint in judged if complaint is not None]
    if not fitting:
        return Problem(kind=Kind.TOO_LARGE, message=f"larger than any limit: {'; '.join(complaints)}")
    latest = now + max_wait_s
    if any(pool.earliest(cost, now) <= latest for pool in fitting):
        return None
    patience = f"within {max_wait_s:,.0f} s ([run] max_wait_s)"
    dead = list(_reasons(pools))
    if all(pool.closed_until > latest for pool in living):
        told = "; ".join([*(pool.closed(now) for pool in living), *dead])
        return Problem(kind=Kind.NO_POOL, message=f"nothing can start {patience}: {told}", retryable=True)
    told = "; ".join([*(pool.obstacle(cost, now) for pool in fitting), *complaints, *dead])
    return Problem(kind=Kind.WAITED_TOO_LONG, message=f"it cannot start {patience}: {told}", retryable=True)


def _reasons(pools: Sequence[Pool]) -> Iterator[str]:
    return (reason for pool in pools if not pool.alive for reason in pool.reasons())
