from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.admission.booking import Cost
from headrace.admission.gate import Gate
from headrace.admission.permit import Permit
from headrace.records import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from headrace.admission.pool import Pool
    from headrace.records import Kind

ONE = Cost(images=1, tokens=100)
HOUR = 3_600.0
FOR_EVER = 1e7


class Waiting:
    """Somebody who waits at a gate: what came of it, and when."""

    def __init__(self, gate: Gate, nursery: trio.Nursery, cost: Cost = ONE) -> None:
        self.outcome: Permit | Problem | None = None
        self.at = float("nan")
        self.scope = trio.CancelScope()
        nursery.start_soon(self._wait, gate, cost)

    async def _wait(self, gate: Gate, cost: Cost) -> None:
        with self.scope:
            self.outcome = await gate.acquire(cost)
            self.at = trio.current_time()

    @property
    def pool(self) -> str:
        assert isinstance(self.outcome, Permit), self.outcome
        return self.outcome.pool.name

    @property
    def kind(self) -> Kind:
        assert isinstance(self.outcome, Problem), self.outcome
        return self.outcome.kind


class Door:
    """Gates that open for a test, and those who come to them."""

    @staticmethod
    def run(main: Callable[[], Awaitable[None]]) -> None:
        """Run it on a virtual clock: a deadlock is a failure at once."""

        async def in_time() -> None:
            with trio.fail_after(FOR_EVER):
                await main()

        trio.run(in_time, clock=MockClock(autojump_threshold=0))

    @staticmethod
    @asynccontextmanager
    async def opened(*pools: Pool, max_wait_s: float = HOUR) -> AsyncIterator[tuple[Gate, trio.Nursery]]:
        gate = Gate(pools, max_wait_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.run)
            yield gate, nursery
            nursery.cancel_scope.cancel()

    @staticmethod
    async def permit_of(gate: Gate, cost: Cost = ONE) -> Permit:
        permit = await gate.acquire(cost)
        assert isinstance(permit, Permit), permit
        return permit

    @staticmethod
    async def queued(gate: Gate, nursery: trio.Nursery, cost: Cost = ONE) -> Waiting:
        """Somebody who stands in the queue, or was let in, by the time this returns."""
        waiting = Waiting(gate, nursery, cost)
        await wait_all_tasks_blocked()
        return waiting

    @staticmethod
    def waiting(gate: Gate, nursery: trio.Nursery, cost: Cost = ONE) -> Waiting:
        """Somebody who comes as soon as the test goes on."""
        return Waiting(gate, nursery, cost)


@pytest.fixture(scope="session")
def door() -> Door:
    """``async with door.opened(pool) as (gate, nursery)`` in ``door.run(main)``."""
    return Door()
