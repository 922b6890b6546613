from __future__ import annotations

from typing import TYPE_CHECKING, Self

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.flow import flow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio import MemoryReceiveChannel, MemorySendChannel


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


class Count:
    """Numbers from 0; ``pulled`` is how many were taken from it."""

    def __init__(self, end: int, fails_at: int | None = None) -> None:
        self._end = end
        self._fails_at = fails_at
        self.pulled = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        await trio.lowlevel.checkpoint()
        if self.pulled == self._fails_at:
            raise OSError("source")
        if self.pulled == self._end:
            raise StopAsyncIteration
        self.pulled += 1
        return self.pulled - 1


class Crowd:
    """A stage that keeps what it gets until ``go`` is set, each in a task of its own."""

    def __init__(self, go: trio.Event) -> None:
        self.nursery: trio.Nursery | None = None
        self._go = go

    async def run(self, source: MemoryReceiveChannel[int], sink: MemorySendChannel[int]) -> None:
        async def keep(number: int) -> None:
            await self._go.wait()
            await sink.send(number)

        with source, sink:
            async with trio.open_nursery() as kept:
                self.nursery = kept
                async for number in source:
                    kept.start_soon(keep, number)


def test_a_line_tells_how_deep_it_is_in_every_stage_that_works_on_many_at_once() -> None:
    async def main() -> None:
        go = trio.Event()
        async with flow(Count(5)).then(Logged()).then(Crowd(go)).open() as running:
            assert running.depths() == {}
            await wait_all_tasks_blocked()
            assert running.depths() == {"crowd": 5}
            go.set()
            assert await anext(running.results) in range(5)
            await wait_all_tasks_blocked()
            assert running.depths() == {"crowd": 4}

    run(main)


class Logged:
    """A stage that notes with what every one of its runs ended."""

    def __init__(self) -> None:
        self.ended: BaseException | str | None = None

    async def run(self, source: MemoryReceiveChannel[int], sink: MemorySendChannel[int]) -> None:
        try:
            with source, sink:
                await self.work(source, sink)
        except BaseException as error:
            self.ended = error
            raise
        self.ended = "in order"

    async def work(self, source: MemoryReceiveChannel[int], sink: MemorySendChannel[int]) -> None:
        async for number in source:
            await sink.send(await self.one(number))

    async def one(self, number: int) -> int:
        return number


class Times(Logged):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self._factor = factor

    async def one(self, number: int) -> int:
        return number * self._factor


class Plus(Logged):
    def __init__(self, more: int) -> None:
        super().__init__()
        self._more = more

    async def one(self, number: int) -> int:
        return number + self._more


class Fails(Logged):
    """Raises at the third number."""

    async def one(self, number: int) -> int:
        if number == 2:
            await wait_all_tasks_blocked()
            raise ZeroDivisionError("stage")
        return number


class Slow(Logged):
    """Works on every number in a task of its own for ten seconds."""

    async def work(self, source: MemoryReceiveChannel[int], sink: MemorySendChannel[int]) -> None:
        async def one(number: int) -> None:
            await trio.sleep(10)
            await sink.send(number)

        async with trio.open_nursery() as nursery:
            async for number in source:
                nursery.start_soon(one, number)


def test_stages_run_in_the_order_in_which_they_were_added() -> None:
    async def main() -> None:
        async with flow(Count(4)).then(Times(10)).then(Plus(1)).open() as running:
            assert [number async for number in running.results] == [1, 11, 21, 31]
        async with flow(Count(4)).then(Plus(1)).then(Times(10)).open() as running:
            assert [number async for number in running.results] == [10, 20, 30, 40]

    run(main)


def test_a_description_can_be_extended_in_two_ways() -> None:
    async def main() -> None:
        source = Count(3)
        stem = flow(source)
        for line, expected in ((stem.then(Plus(5)), [5, 6, 7]), (stem.then(Times(2)), [0, 2, 4]), (stem, [0, 1, 2])):
            source.pulled = 0
            async with line.open() as running:
                assert [number async for number in running.results] == expected

    run(main)


@pytest.mark.parametrize("stages", [0, 1, 5])
def test_a_stalled_consumer_stops_the_reading_after_one_record_a_hop(stages: int) -> None:
    async def main() -> None:
        source = Count(1_000)
        line = flow(source)
        for _ in range(stages):
            line = line.then(Plus(0))
        async with line.open() as running:
            await trio.sleep(1_000)
            assert source.pulled == stages + 1
            assert await running.results.receive() == 0
            await trio.sleep(1_000)
            assert source.pulled == stages + 2

    run(main)


def test_draining_stops_the_intake_alone_and_everything_in_flight_comes_out() -> None:
    async def main() -> None:
        source, slow, last = Count(1_000), Slow(), Plus(0)

        async def drain() -> None:
            await trio.sleep(5)
            running.drain()

        class Paced(Logged):
            async def one(self, number: int) -> int:
                await trio.sleep(1)
                return number

        async with trio.open_nursery() as nursery, flow(source).then(Paced()).then(slow).then(last).open() as running:
            nursery.start_soon(drain)
            results = [number async for number in running.results]
        assert results == list(range(source.pulled)), "whatever was pulled has come out"
        assert source.pulled in (6, 7)
        assert (slow.ended, last.ended) == ("in order", "in order")

    run(main)


def test_a_line_that_is_drained_before_its_source_started_ends_in_order() -> None:
    async def main() -> None:
        source, stage = Count(10), Plus(0)
        async with flow(source).then(stage).open() as running:
            running.drain()
            assert [number async for number in running.results] == []
        assert source.pulled == 0
        assert stage.ended == "in order"

    run(main)


def test_draining_wakes_a_source_that_has_nothing_to_give() -> None:
    async def main() -> None:
        async def numbers() -> AsyncIterator[int]:
            yield 1
            await trio.sleep_forever()

        async with flow(numbers()).then(Plus(0)).open() as running:
            assert await running.results.receive() == 1
            await wait_all_tasks_blocked()
            running.drain()
            assert [number async for number in running.results] == []

    run(main)


@settings(max_examples=60, deadline=None)
@given(ticks=st.integers(0, 60), taken=st.integers(0, 5))
def test_whatever_was_pulled_before_the_draining_comes_out(ticks: int, taken: int) -> None:
    async def main() -> None:
        source = Count(30)
        async with flow(source).then(Plus(0)).then(Slow()).open() as running:
            results = [await running.results.receive() for _ in range(taken)]
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            running.drain()
            results += [number async for number in running.results]
        assert sorted(results) == list(range(source.pulled))

    run(main)


def test_draining_twice_or_at_the_end_does_nothing_more() -> None:
    async def main() -> None:
        async with flow(Count(2)).then(Plus(0)).open() as running:
            assert [number async for number in running.results] == [0, 1]
            running.drain()
            running.drain()

    run(main)


@settings(max_examples=40, deadline=None)
@given(taken=st.integers(0, 8), ticks=st.integers(0, 12), slow=st.booleans())
def test_leaving_early_cancels_every_stage_and_none_of_them_meets_a_broken_channel(taken: int, ticks: int, slow: bool) -> None:
    async def main() -> None:
        stages = [Plus(0), Slow() if slow else Plus(0), Plus(0)]
        line = flow(Count(20))
        for stage in stages:
            line = line.then(stage)
        async with line.open() as running:
            for _ in range(taken):
                await running.results.receive()
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
        for stage in stages:
            assert stage.ended is None or stage.ended == "in order" or isinstance(stage.ended, trio.Cancelled | BaseExceptionGroup)
            if isinstance(stage.ended, BaseExceptionGroup):
                assert stage.ended.split(trio.Cancelled)[1] is None

    run(main)


def test_an_exception_in_the_block_comes_out_in_a_group_and_the_stages_are_cancelled() -> None:
    stage = Plus(0)

    async def main() -> None:
        async with flow(Count(10)).then(stage).open() as running:
            await running.results.receive()
            raise KeyError("block")

    with pytest.RaisesGroup(KeyError):
        run(main)
    assert isinstance(stage.ended, trio.Cancelled)


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("behind", [0, 2])
def test_an_exception_in_a_stage_comes_out_alone(before: int, behind: int) -> None:
    ahead, after = [Plus(0) for _ in range(before)], [Plus(0) for _ in range(behind)]

    async def main() -> None:
        line = flow(Count(10))
        for stage in (*ahead, Fails(), *after):
            line = line.then(stage)
        async with line.open() as running:
            async for _ in running.results:
                pass

    with pytest.RaisesGroup(ZeroDivisionError):
        run(main)
    assert not any(isinstance(stage.ended, trio.BrokenResourceError) for stage in ahead)


@pytest.mark.parametrize("behind", [0, 1])
def test_a_consumer_never_takes_the_failure_of_a_stage_for_the_end_of_the_results(behind: int) -> None:
    taken: list[int | str] = []

    async def main() -> None:
        line = flow(Count(10)).then(Fails())
        for _ in range(behind):
            line = line.then(Plus(0))
        async with line.open() as running:
            async for number in running.results:
                taken.append(number)  # noqa: PERF401 - what came before the failure counts
            taken.append("the end")

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True, allow_unwrapped=True):
        run(main)
    assert taken == [0, 1]


def test_a_consumer_never_takes_the_failure_of_the_source_for_the_end_of_the_results() -> None:
    taken: list[int | str] = []

    async def main() -> None:
        async with flow(Count(10, fails_at=2)).open() as running:
            async for number in running.results:
                taken.append(number)  # noqa: PERF401 - what came before the failure counts
            taken.append("the end")

    with pytest.RaisesGroup(OSError):
        run(main)
    assert taken == [0, 1]


def test_an_exception_in_the_source_comes_out_in_a_group() -> None:
    async def main() -> None:
        async with flow(Count(10, fails_at=3)).then(Plus(0)).then(Plus(0)).open() as running:
            async for _ in running.results:
                pass

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="source")):
        run(main)


def test_a_line_that_is_cancelled_from_outside_ends_without_an_error() -> None:
    async def main() -> None:
        stage = Slow()
        with trio.move_on_after(5) as scope:
            async with flow(Count(3)).then(stage).open() as running:
                await running.results.receive()
        assert scope.cancelled_caught
        assert trio.current_time() == 5.0
        assert stage.ended is not None

    run(main)
