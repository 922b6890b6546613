"""Stops calls to a pool whose server fails, and lets one through from time to time to see whether it is back. Pure."""

from __future__ import annotations

from collections import deque

LOOK_BACK = 20
ENOUGH = 10
OPEN_S = 30.0
PROBES = 10
"""So many probes in a row may fail before the pool is given up: five minutes."""


class Breaker:
    """Closed while at most half of the last 20 calls failed on the server's side; then open 30 s, then one probe."""

    def __init__(self) -> None:
        self._failed: deque[bool] = deque(maxlen=LOOK_BACK)
        self.open_until = float("-inf")
        """Until when calls are held back, on the caller's clock."""
        self.is_open = False
        self.probing = False
        """Whether the one probe is out: until it is back nothing else may start."""
        self.failed_probes = 0

    @property
    def hopeless(self) -> bool:
        """Whether every probe failed for so long that waiting is no answer any more."""
        return self.failed_probes >= PROBES

    def started(self) -> bool:
        """A call was admitted; returns whether it is the probe."""
        self.probing = self.is_open
        return self.probing

    def ended(self, *, failed: bool, probe: bool, now: float) -> None:
        """A call came back."""
        self.abandoned(probe=probe)
        if not self.is_open:
            self._failed.append(failed)
            if len(self._failed) >= ENOUGH and sum(self._failed) * 2 > len(self._failed):
                self.is_open, self.open_until = True, now + OPEN_S
        elif not probe:
            return  # a call from before it opened says nothing new
        elif not failed:
            self.is_open, self.failed_probes = False, 0
            self.open_until = float("-inf")
            self._failed.clear()
        else:
            self.failed_probes += 1
            self.open_until = now + OPEN_S

    def abandoned(self, *, probe: bool) -> None:
        """A call ended without saying anything about the server: refused for its pace, or never sent."""
        if probe:
            self.probing = False
