"""What one request takes of a pool, and what an admitted one holds of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.admission.bucket import Charge
    from headrace.admission.key import Key


@attrs.frozen
class Cost:
    """What one request takes of a pool."""

    images: int
    tokens: int
    requests: int = 1
    model: str = ""
    """Which model it is for: some pools are for some models only."""


@attrs.frozen
class Booking:
    """What one admitted request holds of its pool."""

    key: Key
    cost: Cost
    charges: Mapping[str, Charge]
    at: float
    """When it was admitted."""
    probe: bool
    """Whether it is the one call that an open breaker lets through."""

    def started(self, now: float) -> Booking:
        """The same for a call that goes out only now: what its refusal says is of now."""
        for charge in self.charges.values():
            charge.waited_until = now
        return attrs.evolve(self, at=now)
