"""What the server itself said it would take at once: a full bucket is opened on its word alone. Pure.

A minute's limit at once halves a job of two minutes where the server counts by a full bucket, and is refused by the hundred where it
counts by the second. Which of them it is only its headers prove: half of the limit remains or more, and all that its client has not used.
"""

from __future__ import annotations

SHARE = 0.9
"""Part of what is said to remain that is used ahead of the pace: others may draw on it too."""
ENOUGH = 0.5
"""Part of the limit that has to remain for it to be worth while."""
SLACK = 0.02
_LEAST = 2.0
_MINUTE_S = 60.0


def refills(limit: float, remaining: float, reset_s: float | None) -> bool:
    """Whether what a server tells of a limit fits a bucket of a minute that refills all the time, and no window of whatever length."""
    missing_s = (limit - remaining) * _MINUTE_S / limit
    return reset_s is not None and abs(reset_s - missing_s) <= max(1.0, SLACK * missing_s)


class Credit:
    """What may start ahead of the pace; nothing until the server has proved it, and nothing for good once it refused a call."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._left = 0.0
        self._at = 0.0
        self._refills = False
        self._closed = False

    def told(self, *, remaining: float, reset_s: float | None, used: float, since: float, now: float) -> None:
        """The server said what remained when it took a call in.

        Args:
            remaining: of the limit, then.
            reset_s: seconds until all of it is free; what tells a bucket that refills from a log.
            used: what this client had charged in the minute before that call, with it.
            since: what it has charged after that call.
            now: the time.
        """
        slack = max(_LEAST, SLACK * self.limit)
        if self._closed or remaining < max(ENOUGH * self.limit, self.limit - used - slack):
            return
        self._refills = refills(self.limit, remaining, reset_s)
        self._left, self._at = max(0.0, SHARE * remaining - since), now

    def close(self) -> None:
        """A call was refused: the server counts in another way than it seemed."""
        self._closed, self._left = True, 0.0

    def covers(self, cost: float, now: float) -> bool:
        """Whether a request of that cost may start ahead of the pace."""
        return not self._closed and self._at > 0 and self._level(now) >= cost

    def spend(self, cost: float, now: float) -> None:
        """A request of that cost starts."""
        if not self._closed and self._at > 0:
            self._left, self._at = max(0.0, self._level(now) - cost), now

    def _level(self, now: float) -> float:
        refilled = (now - self._at) * self.limit / _MINUTE_S if self._refills else 0.0
        return min(SHARE * self.limit, self._left + SHARE * refilled)
