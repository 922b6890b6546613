"""What a pool has let in, and what became of it, in sums. Pure."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from headrace.told import RESOURCES

if TYPE_CHECKING:
    from headrace.admission.booking import Booking, Cost

REMEMBERED = 3


class Tally:
    """The sums of one pool."""

    def __init__(self) -> None:
        self.calls = 0
        self.refused = 0
        self.busy_s = 0.0
        """Seconds that calls took, added up over all that came back."""
        self.said: deque[str] = deque(maxlen=REMEMBERED)
        """What the last refusals said."""
        self.admitted: Counter[str] = Counter(dict.fromkeys(RESOURCES, 0))
        self.first_at: float | None = None
        self.last_at: float | None = None

    def taken(self, cost: Cost, now: float) -> None:
        """A call starts."""
        self.calls += 1
        for name in RESOURCES:
            self.admitted[name] += getattr(cost, name)
        self.first_at = now if self.first_at is None else self.first_at
        self.last_at = now

    def ended(self, booking: Booking, now: float) -> None:
        """A call came back."""
        self.busy_s += now - booking.at

    def released(self, booking: Booking) -> None:
        """A call was never made."""
        self.calls -= 1
        for name in RESOURCES:
            self.admitted[name] -= getattr(booking.cost, name)

    def absorb(self, other: Tally) -> None:
        """What another pool did this one did."""
        self.calls += other.calls
        self.refused += other.refused
        self.busy_s += other.busy_s
        self.said.extend(other.said)
        self.admitted.update(other.admitted)
        self.first_at = min((at for at in (self.first_at, other.first_at) if at is not None), default=None)
        self.last_at = max((at for at in (self.last_at, other.last_at) if at is not None), default=None)
