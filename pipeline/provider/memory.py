"""A bound on the bytes of answers that are held at once: pictures are megabytes, and many come back together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

if TYPE_CHECKING:
    from types import TracebackType


class ByteBudget:
    """So many bytes of bodies at once; whoever wants more waits, in order of arrival."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.free = capacity
        self._turn = trio.StrictFIFOLock()
        self._freed = trio.Event()

    def lease(self) -> Lease:
        """Holds nothing yet; ``with`` gives back what it came to hold."""
        return Lease(self)

    async def take(self, size: int) -> None:
        """Wait until ``size`` bytes are free, and hold them; ``size`` must not be above the capacity."""
        async with self._turn:
            while self.free < size:
                self._freed = trio.Event()
                await self._freed.wait()
            self.free -= size

    def give_back(self, size: int) -> None:
        """Let go of ``size`` bytes."""
        self.free += size
        self._freed.set()


class Lease:
    """What one answer holds of the budget."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    async def reserve(self, size: int) -> int:
        """Hold room for a body of at most ``size`` bytes, where nothing is held; returns what is held: never more than the whole budget."""
        size = min(size, self._budget.capacity)
        await self._budget.take(size)
        self.size = size
        return size

    def let_go(self) -> None:
        """Hold nothing any more. Who holds some and waits for more may wait for ever: others may as well."""
        self._budget.give_back(self.size)
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.let_go()
