"""Two pools that are one organisation, by the API's own word: they share its limits, and are one pool from then on. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.log import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.admission.pool import Pool


class Owners:
    """Who has turned out to be whom."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, ...]], Pool] = {}

    def merged(self, pool: Pool, pools: Iterable[Pool], now: float) -> Pool | None:
        """Merge the pool with another of the same owner, where an answer has just shown one; returns the one that is no more.

        Pools for different models may belong to one organisation: it has a limit for each family of models.
        """
        for owner in pool.owners:
            known = self._known.setdefault((owner, pool.models), pool)
            while known.merged_into is not None:
                known = known.merged_into
            if known is not pool and known in pools:
                if not known.alive:
                    # Whoever can still work goes on as both.
                    known, pool = pool, known
                self._known[owner, pool.models] = known
                known.absorb(pool, now)
                log.warning(
                    "pools_merged",
                    pool=known.name,
                    other=pool.name,
                    owner=owner,
                    because="their keys draw on one limit; give them one [[pool]]",
                )
                return pool
        return None
