from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.flow import flow
from headrace.lines import Line
from headrace.prompts import PromptReader
from headrace.records import Kind, Prompt, Result, Status
from headrace.settings import RequestSettings
from headrace.stages.intake import Intake
from headrace.stages.sink import Sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


class Items:
    """An input that knows how much of it was read."""

    def __init__(self, items: Iterable[object]) -> None:
        self._items = iter(items)
        self.read = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        await trio.lowlevel.checkpoint()
        for item in self._items:
            self.read += 1
            return item
        raise StopAsyncIteration


def intake(items: Items, slots: trio.Semaphore) -> Intake:
    return Intake(items, PromptReader(RequestSettings()), slots)


def born(seq: int) -> Result:
    return Result(seq=seq, id=str(seq), prompt=None, status=Status.OK)


async def numbered(end: int) -> AsyncIterator[Result]:
    for seq in range(end):
        yield born(seq)


def test_nothing_is_read_without_a_slot() -> None:
    async def main() -> None:
        items, slots = Items(str(n) for n in range(100)), trio.Semaphore(3)
        async with flow(intake(items, slots)).open() as running:
            taken = [await running.results.receive() for _ in range(3)]
            await wait_all_tasks_blocked()
            assert items.read == 3
            slots.release()
            await running.results.receive()
            await wait_all_tasks_blocked()
            assert items.read == 4
            assert [record.seq for record in taken] == [0, 1, 2]

    run(main)


def test_blank_lines_take_neither_a_slot_nor_a_number() -> None:
    async def main() -> None:
        texts = [b"", b"  ", b"a cat", b"\t", b"a dog", b""]
        items = Items(Line(number, text) for number, text in enumerate(texts, 1))
        async with flow(intake(items, trio.Semaphore(2))).open() as running:
            records = [await running.results.receive() for _ in range(2)]
            assert [(record.seq, isinstance(record, Prompt)) for record in records] == [(0, True), (1, True)]

    run(main)


def test_an_item_that_is_no_prompt_becomes_a_failed_result_and_the_run_goes_on() -> None:
    async def main() -> None:
        slots = trio.Semaphore(9)
        reader = intake(Items(["a cat", 17, {"prompt": ""}, {"prompt": "a dog", "sise": "1x1"}, "a cow"]), slots)
        async with flow(reader).open() as running:
            records = [record async for record in running.results]
        assert [record.seq for record in records] == [0, 1, 2, 3, 4]
        bad = [record for record in records if isinstance(record, Result)]
        assert [record.seq for record in bad] == [1, 2, 3]
        assert all(record.error is not None and record.error.kind is Kind.BAD_LINE for record in bad)
        assert reader.pulled == 5

    run(main)


def test_an_input_that_raises_ends_the_reading_and_what_was_read_still_comes() -> None:
    async def main() -> None:
        async def items() -> AsyncIterator[object]:
            yield "a cat"
            raise OSError("gone")

        reader = Intake(items(), PromptReader(RequestSettings()), trio.Semaphore(9))
        async with flow(reader).open() as running:
            assert len([record async for record in running.results]) == 1
        assert isinstance(reader.error, OSError)

    run(main)


def test_a_slot_is_released_after_its_result_was_taken_over() -> None:
    async def main() -> None:
        slots = trio.Semaphore(0)
        sink = Sink(slots)
        async with flow(numbered(3)).then(sink).open() as running:
            await wait_all_tasks_blocked()
            assert (slots.value, sink.emitted) == (0, 0)
            assert await running.results.receive() == born(0)
            await wait_all_tasks_blocked()
            assert (slots.value, sink.emitted) == (1, 1)
            assert [result.seq async for result in running.results] == [1, 2]
            assert (slots.value, sink.emitted) == (3, 3)

    run(main)


def test_every_result_is_written_once_before_it_is_handed_on() -> None:
    async def main() -> None:
        written: list[Result] = []

        async def write(results: Sequence[Result]) -> None:
            await trio.sleep(1)
            written.extend(results)

        async with flow(numbered(20)).then(Sink(trio.Semaphore(0), write)).open() as running:
            async for result in running.results:
                assert result in written
        assert written == [born(seq) for seq in range(20)]

    run(main)
