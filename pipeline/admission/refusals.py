"""What a pool makes of calls that are refused for their pace: a pause, a longer one after each round, and an end to it. Pure."""

from __future__ import annotations

SHORTEST_PAUSE_S = 0.01
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
LONG_S = 60.0
"""Refused for longer than the minute that every limit speaks of: somebody should hear of it."""
ENOUGH = 10
GIVE_UP_S = 600.0
"""Rounds in a row, and seconds since the first of them, after which waiting is no answer any more."""


class Refusals:
    """The refusals since a call was last let in; a burst that is refused as one is one round."""

    def __init__(self) -> None:
        self.paused_until = float("-inf")
        """Until when no call is made, on the caller's clock."""
        self.rounds = 0
        self.said = ""
        """The API's last words."""
        self._since = float("inf")

    def state(self, now: float) -> str:
        """``ready``, ``paused for ...``, or ``refused for ...`` where it goes on for more than a minute, or will."""
        wait = max(0.0, self.paused_until - now)
        if self.paused_until - self._since > LONG_S:
            return f"refused for {now - self._since:,.0f} s so far, asked again in {wait:,.1f} s: {self.said}"
        return f"paused for {wait:.1f} s" if wait else "ready"

    def hopeless(self, now: float) -> str | None:
        """Why waiting is no answer any more, once it went on for so long."""
        lasting_s = now - self._since
        if self.rounds < ENOUGH or lasting_s < GIVE_UP_S:
            return None
        return f"refused every call for {lasting_s:,.0f} s, {self.rounds} times in a row: {self.said}"

    def refused(self, said: str, retry_after_s: float | None, now: float) -> bool:
        """A call was refused; returns whether that is a new round: only a refusal after the pause lengthens the next."""
        self.said, self._since = said, min(self._since, now)
        new = now >= self.paused_until
        self.rounds += new
        longer = 2 ** min(self.rounds - 1, 10)
        if retry_after_s is None:
            wait = min(FIRST_PAUSE_S * longer, LONGEST_PAUSE_S)
        else:
            # A server that goes on refusing what it said could come is not asked as fast as the wire allows.
            wait = max(retry_after_s, min(SHORTEST_PAUSE_S * longer, FIRST_PAUSE_S))
        self.paused_until = max(self.paused_until, now + wait)
        return new

    def pause(self, until: float, said: str) -> None:
        """Somebody else was refused who draws on the same limits."""
        if until > self.paused_until:
            self.paused_until, self.said = until, said

    def let_in(self) -> None:
        """A call got through: whatever comes next is a new story; a pause that was asked for is kept all the same."""
        self.rounds, self._since = 0, float("inf")
