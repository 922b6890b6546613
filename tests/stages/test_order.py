from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.flow import flow
from headrace.records import Result, Status
from headrace.stages.order import Order

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


async def results(order: Iterable[int]) -> AsyncIterator[Result]:
    for seq in order:
        await trio.lowlevel.checkpoint()
        yield Result(seq=seq, id=str(seq), prompt=None, status=Status.OK)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 40).flatmap(lambda n: st.permutations(range(n))))
def test_results_come_out_by_number_whatever_order_they_came_in(order: list[int]) -> None:
    async def main() -> None:
        async with flow(results(order)).then(Order()).open() as running:
            assert [result.seq async for result in running.results] == sorted(order)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_result_comes_out_as_soon_as_all_before_it_are_through() -> None:
    async def main() -> None:
        send, receive = trio.open_memory_channel[int](0)

        async def source() -> AsyncIterator[Result]:
            async for seq in receive:
                yield Result(seq=seq, id=str(seq), prompt=None, status=Status.OK)

        async with flow(source()).then(Order()).open() as running:
            await send.send(1)
            await wait_all_tasks_blocked()
            assert running.results.statistics().tasks_waiting_send == 0
            await send.send(0)
            assert [(await running.results.receive()).seq for _ in range(2)] == [0, 1]
            await send.send(2)
            assert (await running.results.receive()).seq == 2

    trio.run(main, clock=MockClock(autojump_threshold=0))
