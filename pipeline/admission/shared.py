"""What admission knows of limits that are shared with other processes: a turnstile behind the gate, and what a call holds of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headrace.admission.booking import Cost
    from headrace.records import Usage


class Share(Protocol):
    """What a call holds of the shared limits; told once how the call ended."""

    def succeeded(self, usage: Usage | None) -> None:
        """A picture came."""
        ...

    def failed(self) -> None:
        """No picture came."""
        ...

    def released(self) -> None:
        """The request never left."""
        ...


class Turnstile(Protocol):
    """Where the calls of one pool get their slots."""

    @property
    def free(self) -> bool:
        """Whether one more may wait there."""
        ...

    @property
    def cause(self) -> str:
        """What keeps those waiting that are there, in the words of :mod:`headrace.admission.ledger`."""
        ...

    def comes(self) -> None:
        """Somebody was let in at the gate, and will either pass or go."""
        ...

    def goes(self) -> None:
        """Who had come will not pass."""
        ...

    async def passed(self, cost: Cost) -> Share:
        """Wait for a slot, and for its moment."""
        ...
