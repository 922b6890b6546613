"""Somebody else at the same API: draws on an organisation's limits at a steady pace and pays no heed to refusals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from headrace.simulator.windows import MINUTE_S

if TYPE_CHECKING:
    import random

    from headrace.simulator.pool import Pool

_JITTER = 0.2


@attrs.define(kw_only=True)
class Stranger:
    """What became of a stranger's calls; it grows while the stranger asks."""

    asked: int = 0
    served: int = 0

    @property
    def refused(self) -> int:
        """Calls over a limit."""
        return self.asked - self.served


async def ask_for_ever(
    pool: Pool, record: Stranger, dice: random.Random, *, images_per_minute: float, tokens: int, hold_s: float
) -> NoReturn:
    """Call for one image again and again until cancelled; the record says what came of it.

    Raises:
        ValueError: the pace is not a number of more than 0, or the tokens or the seconds are negative.
    """
    if not (0 < images_per_minute < math.inf and tokens >= 0 and hold_s >= 0):
        raise ValueError("a stranger asks for more than 0 images a minute, with at least 0 tokens, for at least 0 s")
    at = trio.current_time()
    async with trio.open_nursery() as nursery:
        while True:
            at += MINUTE_S / images_per_minute * dice.uniform(1 - _JITTER, 1 + _JITTER)
            await trio.sleep_until(at)
            record.asked += 1
            if pool.admit(1, tokens, trio.current_time(), stranger=True) is None:
                record.served += 1
                if hold_s:
                    nursery.start_soon(_hold, pool, hold_s)
                else:
                    pool.leave(stranger=True)


async def _hold(pool: Pool, seconds: float) -> None:
    try:
        await trio.sleep(seconds)
    finally:
        pool.leave(stranger=True)
