from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import headrace
from headrace.settings import CacheSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from headrace.settings import Settings
    from headrace.simulator import World


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def within_time() -> None:
        with trio.fail_after(20):
            await main()
            assert [task.name for task in _children()] == []

    trio.run(within_time)


def _children() -> list[trio.lowlevel.Task]:
    return [task for nursery in trio.lowlevel.current_task().child_nurseries for task in nursery.child_tasks]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it comes true in the server's thread
        await trio.sleep(0.005)


def test_it_stands_between_channels_of_the_callers_own_tasks(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def main() -> None:
        rows, source = trio.open_memory_channel[dict[str, object]](0)
        sink, pictures = trio.open_memory_channel[tuple[object, str]](0)
        found = []

        async def read() -> None:
            async with rows:
                for n in range(10):
                    await rows.send({"prompt": f"{tmp_path} {n}", "metadata": n})

        async def draw() -> None:
            async with sink, headrace.open(settings(max_in_flight=3)) as race, race.results(source) as results:
                async for result in results:
                    await sink.send((result.metadata, result.images[0].path))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(draw)
            async for picture in pictures:
                found.append(picture)  # noqa: PERF401 - one at a time is the point
        assert sorted(metadata for metadata, _ in found) == list(range(10))  # type: ignore[type-var]  # they are integers
        assert all((tmp_path / "out" / path).is_file() for _, path in found)

    run(main)


def test_a_sink_that_stalls_stops_the_source(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def main() -> None:
        rows, source = trio.open_memory_channel[str](math.inf)
        for n in range(100):
            rows.send_nowait(f"{tmp_path} {n}")
        async with headrace.open(settings(max_in_flight=5)) as race, race.results(source) as results:
            await anext(results)
            await until(lambda: not race.statistics()[0].in_flight)
            await wait_all_tasks_blocked()
            assert 100 - source.statistics().current_buffer_used <= 6

    run(main)


def test_a_deadline_of_the_caller_ends_it_and_leaves_nothing(settings: Callable[..., Settings], tmp_path: Path, world: World) -> None:
    prompt = f"{tmp_path} [[fault:stall]]"

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with headrace.open(settings()) as race, race.results([prompt]) as results:
                await until(lambda: bool(world.calls(prompt)))
                scope.deadline = trio.current_time() + 0.05
                async for _ in results:
                    raise AssertionError("a call that is never answered has no result")
        assert scope.cancelled_caught

    run(main)


def test_lines_of_one_race_share_what_is_in_flight(settings: Callable[..., Settings], tmp_path: Path, world: World) -> None:
    prompt = f"{tmp_path} [[fault:slow_body]]"

    async def main() -> None:
        found: list[headrace.Result] = []
        async with headrace.open(settings()) as race:

            async def line() -> None:
                async with race.results([prompt, prompt]) as results:
                    found.extend([result async for result in results])

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(line)
        assert world.bill[prompt] == 1
        assert sorted(str(result.strategy) for result in found) == ["coalesced"] * 5 + ["primary"]

    run(main)


def test_a_line_that_is_left_hands_what_it_leads_to_the_other(settings: Callable[..., Settings], tmp_path: Path, world: World) -> None:
    prompt = f"{tmp_path} [[fault:stall*1]]"

    async def main() -> None:
        async with headrace.open(settings()) as race, trio.open_nursery() as nursery:
            leaving = trio.CancelScope()

            async def first() -> None:
                with leaving:
                    async with race.results([prompt]) as results:
                        await anext(results)

            nursery.start_soon(first)
            await until(lambda: bool(world.calls(prompt)))
            async with race.results([prompt]) as results:
                leaving.cancel()
                assert [result.status async for result in results] == ["ok"]

    run(main)


def test_lines_beside_each_other_spend_one_budget_and_leave_nothing_reserved(settings: Callable[..., Settings], tmp_path: Path) -> None:
    # A picture costs about 0.0061: there is enough for six, and four and two are asked for.
    async def main() -> None:
        async with headrace.open(settings(max_cost_usd=0.04)) as race:

            async def line(name: str, marker: str = " [[fault:slow_body]]") -> None:
                async with race.results([f"{tmp_path} {name} {n}{marker}" for n in range(2)]) as results:
                    assert [result.status async for result in results] == ["ok", "ok"]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(line, "a")
                nursery.start_soon(line, "b")
            await line("c", "")
            assert race.budget.spent_usd <= 0.04

    run(main)


def test_a_line_that_is_left_before_its_calls_gives_its_money_back(settings: Callable[..., Settings], tmp_path: Path) -> None:
    own = settings(max_cost_usd=0.025)
    own = attrs.evolve(own, pool=(attrs.evolve(own.pool[0], max_concurrency=1),))

    async def main() -> None:
        async with headrace.open(own) as race:
            async with race.results([f"{tmp_path} {n} [[fault:stall]]" for n in range(3)]):
                # One call is out, two prompts wait for it with their money set aside.
                await until(lambda: bool(race.statistics()[0].in_flight))
                await wait_all_tasks_blocked()
            async with race.results([f"{tmp_path} again {n}" for n in range(2)]) as results:
                assert [result.status async for result in results] == ["ok", "ok"]

    run(main)


def test_what_cannot_be_used_is_said_by_its_name(settings: Callable[..., Settings]) -> None:
    async def main() -> None:
        with pytest.raises(headrace.UsageError, match="cache"):
            async with headrace.open(attrs.evolve(settings(), cache=CacheSettings(dir="/dev/null/cache"))):
                raise AssertionError("it was opened")
        with pytest.raises(headrace.OutputError, match="/dev/null/out"):
            async with headrace.open(_into("/dev/null/out", settings())):
                raise AssertionError("it was opened")

    run(main)


def _into(folder: str, settings: Settings) -> Settings:
    return attrs.evolve(settings, run=attrs.evolve(settings.run, out_dir=folder))


def test_the_end_of_the_budget_is_an_exception_of_the_loop(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def main() -> None:
        found = []
        async with (
            headrace.open(settings(max_cost_usd=0.01, max_in_flight=1)) as race,
            race.results([f"{tmp_path} {n}" for n in range(9)]) as results,
        ):
            with pytest.raises(headrace.StoppedError, match="budget"):  # noqa: PT012 - after the last result
                async for result in results:
                    found.append(result.status)  # noqa: PERF401 - those before the error count
        assert found == ["ok", "skipped"]

    run(main)


def test_an_exception_of_the_caller_comes_out_and_ends_the_line(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what raises
            async with headrace.open(settings()) as race, race.results([f"{tmp_path} a", f"{tmp_path} [[fault:stall]]"]) as results:
                await anext(results)
                raise ZeroDivisionError

    run(main)


def test_a_cancelled_wait_for_a_result_loses_none(settings: Callable[..., Settings], tmp_path: Path, world: World) -> None:
    slow = f"{tmp_path} a [[fault:slow_body]]"

    async def main() -> None:
        async with headrace.open(settings()) as race, race.results([slow, f"{tmp_path} b [[fault:slow_body]]"]) as results:
            await until(lambda: bool(world.calls(slow)))
            with trio.move_on_after(0) as scope:
                await anext(results)
            assert scope.cancelled_caught
            assert [result.status async for result in results] == ["ok", "ok"]

    run(main)


def test_a_source_that_is_cancelled_ends_the_input_and_what_was_read_comes_out(
    settings: Callable[..., Settings], tmp_path: Path, world: World
) -> None:
    prompt = f"{tmp_path} [[fault:slow_body]]"

    async def main() -> None:
        rows, source = trio.open_memory_channel[str](0)
        reading = trio.CancelScope()

        async def read() -> None:
            with rows, reading:
                await rows.send(prompt)
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery, headrace.open(settings()) as race, race.results(source) as results:
            nursery.start_soon(read)
            await until(lambda: bool(world.calls(prompt)))
            reading.cancel()
            assert [result.status async for result in results] == ["ok"]

    run(main)


def test_a_failure_of_a_task_beside_it_ends_it(settings: Callable[..., Settings], tmp_path: Path, world: World) -> None:
    prompt = f"{tmp_path} [[fault:stall]]"

    async def main() -> None:
        async def fail() -> None:
            await until(lambda: bool(world.calls(prompt)))
            raise ZeroDivisionError

        with pytest.RaisesGroup(ZeroDivisionError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                async with headrace.open(settings()) as race, race.results([prompt]) as results:
                    await anext(results)

    run(main)


def test_an_exception_in_the_source_comes_after_the_results_of_what_was_read(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def rows() -> AsyncIterator[str]:
        for n in range(3):
            yield f"{tmp_path} {n}"
        raise LookupError("the database is gone")

    async def main() -> None:
        found = []
        async with headrace.open(settings()) as race, race.results(rows()) as results:
            with pytest.raises(LookupError, match="the database is gone"):  # noqa: PT012 - after the last result
                async for result in results:
                    found.append(result.status)  # noqa: PERF401 - those before the error count
        assert found == ["ok"] * 3

    run(main)


def test_a_line_that_is_drained_reads_no_more_and_brings_out_what_was_read(
    settings: Callable[..., Settings], tmp_path: Path, world: World
) -> None:
    prompts = [f"{tmp_path} {n} [[fault:slow_body]]" for n in range(2)]

    async def main() -> None:
        rows, source = trio.open_memory_channel[str](math.inf)
        for prompt in prompts:
            rows.send_nowait(prompt)
        async with headrace.open(settings()) as race, race.results(source) as results:
            await until(lambda: all(map(world.calls, prompts)))
            results.drain()
            rows.send_nowait("not in this line")
            assert [result.status async for result in results] == ["ok", "ok"]
        assert source.receive_nowait() == "not in this line"

    run(main)


def test_the_way_in_for_asyncio_is_refused_under_trio(settings: Callable[..., Settings]) -> None:
    async def main() -> None:
        with pytest.raises(headrace.UsageError, match="under trio"):
            await anext(headrace.aio.generate(["a lighthouse"], settings()))

    run(main)
