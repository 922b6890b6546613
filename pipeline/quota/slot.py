"""What one call holds of the shared limits, and what is to be told of it when the call is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from headrace.told import TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.admission.pool import Pool
    from headrace.quota.account import Account, Holding
    from headrace.records import Usage


class Slot:
    """What one call holds of the shared limits."""

    def __init__(self, pool: Pool, account: Account, holding: Holding, hurry: Callable[[], bool]) -> None:
        self._pool = pool
        self._account = account
        self._holding = holding
        self._hurry = hurry

    def succeeded(self, usage: Usage | None) -> None:
        """A picture came: true the tokens up."""
        if usage is not None:
            self._account.correct(self._holding, {TOKENS: usage.input_tokens + usage.output_tokens})
        self._account.ended(self._holding)

    def failed(self) -> None:
        """No picture came: the charge stays; where the pool pauses now, everybody does."""
        now = trio.current_time()
        pause_s = self._pool.closed_until - now
        if pause_s > 0 and not self._pool.failing:
            self._account.pause(pause_s)
        if self._hurry():  # what it taught saves the others a refusal
            self._account.taught(self._holding, now)
        else:
            self._account.ended(self._holding)

    def released(self) -> None:
        """The request never left."""
        self._account.correct(self._holding, dict.fromkeys(self._holding.used, 0))
        self._account.ended(self._holding)
