"""What follows from a problem: wait, go elsewhere, try again or give up. Pure; the loop that acts on it is in ``api.py``."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import attrs

from headrace.records import Kind

if TYPE_CHECKING:
    from random import Random


class Action(Enum):
    """What a problem asks for."""

    PACE = auto()
    """Too fast: the pool pauses; the record takes admission again and has used no attempt."""
    MONEY = auto()
    """The organisation cannot pay: its pool is benched, the record goes on elsewhere."""
    KEY = auto()
    """The key cannot work: it is benched, the record goes on with another."""
    RETRY = auto()
    """May pass: another attempt after a while."""
    GIVE_UP = auto()
    """The same request will never succeed."""


ACTIONS = {
    Kind.RATE_LIMITED: Action.PACE,
    Kind.SLOW_DOWN: Action.PACE,
    Kind.HELD_UP: Action.PACE,
    Kind.BILLING: Action.MONEY,
    Kind.AUTH: Action.KEY,
    Kind.FORBIDDEN: Action.KEY,
    Kind.NOT_FOUND: Action.KEY,
    Kind.SERVER_ERROR: Action.RETRY,
    Kind.OVERLOADED: Action.RETRY,
    Kind.NETWORK: Action.RETRY,
    Kind.TIMEOUT: Action.RETRY,
    Kind.BAD_ANSWER: Action.RETRY,
}

# What another quality or another API may cure; what policy or the request itself forbids is not asked again.
CURABLE = frozenset({*ACTIONS, Kind.NO_POOL, Kind.TOO_LARGE, Kind.WAITED_TOO_LONG, Kind.MODEL_NOT_FOUND})


def action(kind: Kind) -> Action:
    """What a problem of this kind asks for."""
    return ACTIONS.get(kind, Action.GIVE_UP)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and after how long: exponential with full jitter (AWS Architecture Blog, 2015-03)."""

    attempts: int = 4
    base_s: float = 1.0
    cap_s: float = 30.0
    longest_hint_s: float = 120.0
    """A server that asks for more is asked again after so long: its 5xx is no promise to be down till then."""

    def delay(self, attempts: int, retry_after_s: float | None, random: Random) -> float | None:
        """Seconds before the next attempt after so many; None when there is none left."""
        if attempts >= self.attempts:
            return None
        jittered = random.uniform(0, min(self.cap_s, self.base_s * 2**attempts))
        return max(jittered, min(retry_after_s or 0.0, self.longest_hint_s))


class RetryBudget:
    """Keeps retries of a pool to a tenth of its calls and one a second (Finagle's retry budget), by making them wait.

    A service with a caller behind it drops a retry that has no budget; a batch has time, and so here it is put off.
    """

    SHARE = 0.1
    PER_SECOND = 1.0
    MOST = 10.0

    def __init__(self) -> None:
        self._level = self.MOST
        self._at: float | None = None

    def call(self) -> None:
        """A first attempt was sent: it earns a tenth of a retry."""
        self._level = min(self.MOST, self._level + self.SHARE)

    def reserve(self, now: float) -> float:
        """Book a retry; returns the seconds until it may start."""
        elapsed = 0.0 if self._at is None else now - self._at
        self._level = min(self.MOST, self._level + elapsed * self.PER_SECOND) - 1.0
        self._at = now
        return max(0.0, -self._level / self.PER_SECOND)
