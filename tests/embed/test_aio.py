from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import headrace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from pathlib import Path

    from headrace.settings import Settings
    from headrace.simulator import World

PATIENCE_S = 20.0


class Prompts:
    """Prompts without end that are counted as they are read, in another thread or by asyncio; at ``fails_at`` the reading fails."""

    def __init__(self, folder: Path, *, marker: str = "", fails_at: int | None = None, error: Exception | None = None) -> None:
        self._folder, self._marker = folder, marker
        self._fails_at, self._error = fails_at, error
        self.read = 0
        self.left = False
        self.tasks: set[object] = set()

    def one(self) -> str:
        if self.read == self._fails_at and self._error is not None:
            raise self._error
        self.read += 1
        return f"{self._folder} {self.read}{self._marker}"

    def plain(self) -> Iterator[str]:
        while True:
            yield self.one()

    async def spoken(self) -> AsyncGenerator[str, None]:
        try:
            while True:
                await asyncio.sleep(0)
                self.tasks.add(asyncio.current_task())
                yield self.one()
        finally:
            self.left = True

    def given(self, way: str) -> Any:
        return self.plain() if way == "plain" else self.spoken()


both_ways = pytest.mark.parametrize("way", ["plain", "spoken"])


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(within_time(), debug=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it comes true in other threads
        await asyncio.sleep(0.005)


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "headrace"]


def test_texts_and_mappings_become_results(settings: Callable[..., Settings], tmp_path: Path) -> None:
    given: list[Any] = [f"{tmp_path} a", {"prompt": f"{tmp_path} b", "id": "row-2", "metadata": {"row": 2}}, {"prompt": ""}]

    async def spoken() -> AsyncGenerator[Any, None]:
        for prompt in given:
            yield prompt

    async def main() -> None:
        for prompts in (given, spoken()):
            results = [result async for result in headrace.aio.generate(prompts, settings(ordered=True))]
            assert [result.status for result in results] == ["ok", "ok", "failed"]
            assert (results[1].id, results[1].metadata) == ("row-2", {"row": 2})
        assert [result async for result in headrace.aio.generate([], settings())] == []

    run(main)


@both_ways
def test_nothing_happens_before_the_first_result_is_asked_for(settings: Callable[..., Settings], tmp_path: Path, way: str) -> None:
    prompts = Prompts(tmp_path)

    async def main() -> None:
        async with aclosing(headrace.aio.generate(prompts.given(way), settings())):
            assert running() == []

    run(main)
    assert prompts.read == 0
    assert not (tmp_path / "out").exists()


@both_ways
@pytest.mark.parametrize("max_in_flight", [1, 4])
def test_a_consumer_that_stalls_stops_the_reading(
    settings: Callable[..., Settings], tmp_path: Path, world: World, way: str, max_in_flight: int
) -> None:
    prompts = Prompts(tmp_path)

    async def main() -> None:
        async with aclosing(headrace.aio.generate(prompts.given(way), settings(max_in_flight=max_in_flight))) as results:
            await anext(results)
            # Everything that could be made ahead has been made.
            await until(lambda: sum(world.bill[f"{tmp_path} {n + 1}"] for n in range(max_in_flight + 1)) == max_in_flight + 1)
            assert prompts.read <= max_in_flight + 1

    run(main)


@both_ways
def test_leaving_early_ends_everything(settings: Callable[..., Settings], tmp_path: Path, way: str) -> None:
    prompts = Prompts(tmp_path)

    async def main() -> None:
        async with aclosing(headrace.aio.generate(prompts.given(way), settings(max_in_flight=3))) as results:
            async for result in results:
                assert result.status == "ok"
                break
        assert running() == []
        assert prompts.read <= 5
        assert prompts.left == (way == "spoken")

    run(main)


def test_leaving_early_without_closing_ends_everything_a_little_later(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def main() -> None:
        async for _ in headrace.aio.generate(Prompts(tmp_path).spoken(), settings(max_in_flight=3)):
            break
        gc.collect()
        await until(lambda: running() == [] and len(asyncio.all_tasks()) == 1)

    run(main)


@both_ways
def test_a_task_that_is_cancelled_while_it_waits_ends_the_line_first(
    settings: Callable[..., Settings], tmp_path: Path, world: World, way: str
) -> None:
    prompts = Prompts(tmp_path, marker=" [[fault:stall]]")

    async def take() -> None:
        async for _ in headrace.aio.generate(prompts.given(way), settings(max_in_flight=2)):
            raise AssertionError("a call that is never answered has no result")

    async def main() -> None:
        task = asyncio.create_task(take())
        await until(lambda: world.calls(f"{tmp_path} 2 [[fault:stall]]") == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert running() == []
        assert prompts.read == 2

    run(main)


def test_a_deadline_of_the_caller_reaches_a_source_that_waits(settings: Callable[..., Settings]) -> None:
    waits, left = asyncio.Event(), asyncio.Event()

    async def rows() -> AsyncGenerator[str, None]:
        try:
            waits.set()
            await asyncio.Event().wait()
            yield "a row that never comes"
        finally:
            left.set()

    async def main() -> None:
        with pytest.raises(TimeoutError):  # noqa: PT012 - the block is what is timed
            async with asyncio.timeout(None) as deadline:

                async def over() -> None:
                    await waits.wait()
                    deadline.reschedule(asyncio.get_running_loop().time())

                async with asyncio.TaskGroup() as group:
                    group.create_task(over())
                    async for _ in headrace.aio.generate(rows(), settings()):
                        raise AssertionError("nothing was asked for")
        assert left.is_set()
        assert running() == []

    run(main)


def test_who_cancels_twice_does_not_wait_for_a_source_that_takes_its_time(settings: Callable[..., Settings]) -> None:
    async def main() -> None:
        waits, closing, goes_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def rows() -> AsyncGenerator[str, None]:
            try:
                waits.set()
                await asyncio.Event().wait()
                yield "a row that never comes"
            finally:
                closing.set()
                await goes_on.wait()

        async def take() -> None:
            await anext(headrace.aio.generate(rows(), settings()))

        task = asyncio.create_task(take())
        for signs in (waits, closing):
            await signs.wait()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        goes_on.set()
        await until(lambda: running() == [] and len(asyncio.all_tasks()) == 1)

    run(main)


def test_what_a_source_raises_when_it_is_left_is_not_lost(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def rows() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield f"{tmp_path} a"
        finally:
            raise LookupError("the connection cannot be given back")

    async def main() -> None:
        with pytest.raises(LookupError, match="given back"):
            async with aclosing(headrace.aio.generate(rows(), settings(max_in_flight=1))) as results:
                await anext(results)
        assert running() == []

    run(main)


@both_ways
@pytest.mark.parametrize("error", [LookupError("the database is gone"), ExceptionGroup("both", [LookupError(), KeyError()])])
def test_an_exception_in_the_prompts_comes_as_it_is_after_the_results_of_what_was_read(
    settings: Callable[..., Settings], tmp_path: Path, way: str, error: Exception
) -> None:
    prompts = Prompts(tmp_path, fails_at=5, error=error)

    async def main() -> None:
        found = []
        with pytest.raises(type(error)) as raised:  # noqa: PT012 - after the last result
            async for result in headrace.aio.generate(prompts.given(way), settings(max_in_flight=3)):
                found.append(result.status)  # noqa: PERF401 - those before the error count
        assert raised.value is error
        assert found == ["ok"] * 5

    run(main)


def test_an_exception_in_the_loop_comes_out_as_it_is(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what raises
            async with aclosing(headrace.aio.generate(Prompts(tmp_path).spoken(), settings(max_in_flight=2))) as results:
                async for _ in results:
                    raise ZeroDivisionError
        assert running() == []

    run(main)


def test_two_at_once_do_not_mix(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def take(name: str) -> list[str | None]:
        prompts = [f"{tmp_path} {name} {n}" for n in range(8)]
        return [result.prompt async for result in headrace.aio.generate(prompts, settings(max_in_flight=2, ordered=True))]

    async def main() -> None:
        found = await asyncio.gather(*(take(name) for name in ("one", "other", "third")))
        assert found == [[f"{tmp_path} {name} {n}" for n in range(8)] for name in ("one", "other", "third")]

    run(main)


def test_one_task_reads_an_async_source_from_its_first_item_to_its_last(settings: Callable[..., Settings], tmp_path: Path) -> None:
    prompts = Prompts(tmp_path, fails_at=6, error=LookupError())

    async def rows() -> AsyncGenerator[str, None]:
        # What belongs to one task, from one item to the next.
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup(), aclosing(prompts.spoken()) as given:
            try:
                async for prompt in given:
                    yield prompt
            except LookupError:
                return

    async def main() -> None:
        found = [result.status async for result in headrace.aio.generate(rows(), settings(max_in_flight=2))]
        assert found == ["ok"] * 6

    run(main)
    assert len(prompts.tasks) == 1


def test_the_event_loop_goes_on_while_a_plain_source_blocks(settings: Callable[..., Settings], tmp_path: Path) -> None:
    blocks, goes_on = threading.Event(), threading.Event()

    def rows() -> Iterator[str]:
        blocks.set()
        # Only the event loop can let it go on.
        assert goes_on.wait(PATIENCE_S)
        yield f"{tmp_path} a"

    async def main() -> None:
        async with asyncio.TaskGroup() as group:

            async def release() -> None:
                await until(blocks.is_set)
                goes_on.set()

            group.create_task(release())
            found = [result.status async for result in headrace.aio.generate(rows(), settings())]
        assert found == ["ok"]

    run(main)


def test_what_cannot_be_used_is_said_when_the_first_result_is_asked_for(settings: Callable[..., Settings], tmp_path: Path) -> None:
    prompts = Prompts(tmp_path)

    async def main() -> None:
        nowhere = attrs.evolve(settings(), run=headrace.RunSettings(out_dir="/dev/null/out"))
        for given in (prompts.spoken(), prompts.plain()):
            with pytest.raises(headrace.OutputError, match="/dev/null/out"):
                await anext(headrace.aio.generate(given, nowhere))
        with pytest.raises(headrace.UsageError, match="one prompt"):
            await anext(headrace.aio.generate("a lighthouse", settings()))

    run(main)
    assert prompts.read == 0


def test_the_end_of_the_budget_comes_after_the_last_result(settings: Callable[..., Settings], tmp_path: Path) -> None:
    async def main() -> None:
        found = []
        with pytest.raises(headrace.StoppedError, match="budget"):  # noqa: PT012 - after the last result
            async for result in headrace.aio.generate(Prompts(tmp_path).spoken(), settings(max_cost_usd=0.02, max_in_flight=1)):
                found.append(result.status)  # noqa: PERF401 - those before the error count
        assert found == ["ok", "ok", "ok", "skipped"]

    run(main)


def test_ctrl_c_ends_a_program_that_waits_for_a_result(tmp_path: Path, api: tuple[str, World]) -> None:
    prompt = f"{tmp_path} [[fault:stall]]"
    code = (
        "import asyncio, headrace\n"
        f"settings = headrace.Settings.from_dict({{'provider': {{'base_url': {api[0]!r}}}, 'cache': {{'policy': 'off'}}}})\n"
        "async def rows():\n"
        f"    yield {prompt!r}\n"
        "async def main():\n"
        "    async for _ in headrace.aio.generate(rows(), settings): pass\n"
        "asyncio.run(main())\n"
    )
    environ = {"OPENAI_API_KEY": "sk-canary-any", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        try:
            end = time.monotonic() + PATIENCE_S
            while not api[1].calls(prompt):
                assert process.poll() is None
                assert time.monotonic() < end, "it did not come to that"
                threading.Event().wait(0.005)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert "never retrieved" not in err
