"""Where blocking work goes: a worker thread in production, the same task under a virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, TypeVarTuple

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Offload(Protocol):
    """Runs a blocking function off the event loop; ``offload(function, *args)`` returns what the function returns."""

    async def __call__(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run ``function(*args)`` and return its result; its exceptions come out unchanged."""
        ...


class Threads:
    """At most ``at_once`` blocking calls in trio's worker threads.

    A cancelled caller waits for its thread to finish, unless calls are to be abandoned then: for what may hang, and may be done in part.
    """

    def __init__(self, at_once: int, *, abandon: bool = False) -> None:
        self._limiter = trio.CapacityLimiter(at_once)
        self._abandon = abandon

    async def __call__(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run ``function(*args)`` in a worker thread."""
        return await trio.to_thread.run_sync(function, *args, limiter=self._limiter, abandon_on_cancel=self._abandon)


async def inline(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run ``function(*args)`` here: threads confuse a virtual clock's autojump, so simulations use this one."""
    await trio.lowlevel.checkpoint()
    return function(*args)
