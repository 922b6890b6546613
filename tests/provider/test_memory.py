from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.provider.memory import ByteBudget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))


async def hold(budget: ByteBudget, size: int, order: list[str], name: str, seconds: float = 1.0) -> None:
    with budget.lease() as lease:
        await lease.reserve(size)
        order.append(name)
        await trio.sleep(seconds)


def test_who_came_first_is_served_first_even_where_a_later_one_would_fit() -> None:
    async def test() -> None:
        budget, order = ByteBudget(10), list[str]()
        async with trio.open_nursery() as nursery:
            for name, size in (("first", 6), ("large", 8), ("small", 1)):
                nursery.start_soon(hold, budget, size, order, name)
                await wait_all_tasks_blocked()
        assert order == ["first", "large", "small"]
        assert trio.current_time() == 2
        assert budget.free == 10

    in_virtual_time(test)


def test_what_fits_together_is_held_together() -> None:
    async def test() -> None:
        budget, order = ByteBudget(10), list[str]()
        async with trio.open_nursery() as nursery:
            for name in "abcd":
                nursery.start_soon(hold, budget, 5, order, name)
        assert trio.current_time() == 2

    in_virtual_time(test)


def test_more_than_the_capacity_is_all_of_it() -> None:
    async def test() -> None:
        budget = ByteBudget(10)
        with budget.lease() as lease:
            assert await lease.reserve(1000) == 10
            assert (lease.size, budget.free) == (10, 0)
        assert (lease.size, budget.free) == (0, 10)

    in_virtual_time(test)


def test_a_lease_that_never_held_anything_gives_nothing_back() -> None:
    budget = ByteBudget(10)
    with budget.lease():
        pass
    assert budget.free == 10


def test_one_that_is_cancelled_while_it_waits_holds_nothing_up() -> None:
    async def test() -> None:
        budget, order = ByteBudget(10), list[str]()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, budget, 10, order, "first", 5.0)
            await wait_all_tasks_blocked()
            scopes = [trio.CancelScope(), trio.CancelScope()]

            async def impatient(scope: trio.CancelScope, name: str) -> None:
                with scope:
                    await hold(budget, 10, order, name)

            # One waits for bytes, one for its turn.
            nursery.start_soon(impatient, scopes[0], "gone")
            await wait_all_tasks_blocked()
            nursery.start_soon(impatient, scopes[1], "gone too")
            await wait_all_tasks_blocked()
            nursery.start_soon(hold, budget, 10, order, "last")
            await wait_all_tasks_blocked()
            scopes[1].cancel()
            scopes[0].cancel()
        assert order == ["first", "last"]
        assert (budget.free, trio.current_time()) == (10, 6)

    in_virtual_time(test)


def test_one_that_is_cancelled_in_the_moment_it_is_served_loses_no_bytes() -> None:
    async def test() -> None:
        budget, order = ByteBudget(10), list[str]()
        holder = budget.lease()
        await holder.reserve(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, budget, 10, order, "waiting")
            await wait_all_tasks_blocked()
            holder.__exit__(None, None, None)
            nursery.cancel_scope.cancel()
        assert budget.free == 10

    in_virtual_time(test)


steps = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 5), st.integers(0, 5), st.integers(1, 6)), max_size=12)


@given(steps)
def test_there_is_never_more_out_than_the_capacity_and_in_the_end_all_is_back(tasks: list[tuple[int, int, int, int]]) -> None:
    served: list[int] = []

    async def one(budget: ByteBudget, index: int, size: int, start: int, length: int, patience: int) -> None:
        await trio.sleep(start + index / 100)
        with trio.move_on_after(patience), budget.lease() as lease:
            await lease.reserve(size)
            served.append(index)
            assert 0 <= budget.free <= budget.capacity
            await trio.sleep(length)

    async def test() -> None:
        budget = ByteBudget(10)
        async with trio.open_nursery() as nursery:
            for index, (size, start, length, patience) in enumerate(tasks):
                nursery.start_soon(one, budget, index, size, start, length, patience)
        assert budget.free == 10

    in_virtual_time(test)
    by_arrival = sorted(served, key=lambda index: tasks[index][1] + index / 100)
    assert served == by_arrival
