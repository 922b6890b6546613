from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from headrace.observe import show as showing
from headrace.observe.counters import Counters
from headrace.observe.logs import configure
from headrace.observe.show import Show, prompts_behind
from headrace.observe.state import Course
from headrace.observe.watcher import Snapshot
from headrace.records import Result, Status, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SNAPSHOT = Snapshot(pools=(), depths={"fetch": 3, "settle": 0}, in_flight=3, max_in_flight=9, spent_usd=1.5, max_cost_usd=None)


@pytest.fixture(autouse=True)
def logged(logs_put_back: None) -> None:  # noqa: ARG001 - for what comes after
    """Events of level warning go to stderr, as JSON."""
    configure("warning", "json")


@pytest.fixture
def prompts(tmp_path: Path) -> Iterator[int]:
    """An input of three prompts."""
    (tmp_path / "in").write_text("a\n\nb\nc")
    handle = os.open(tmp_path / "in", os.O_RDONLY)
    yield handle
    os.close(handle)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes into a thread is done at once: the clock does not go on before it has ended."""

    async def run_sync(work: Any, *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    monkeypatch.setattr(trio.from_thread, "check_cancelled", lambda: None)


def shown(progress: Any, source: int, seconds: float = 35.0, alerts: tuple[str, ...] = ()) -> None:
    """Show a run that makes a picture a second."""

    async def main() -> None:
        counters = Counters()
        async with Show(progress, source, writes_stdout=False).running(counters, lambda: SNAPSHOT, lambda: alerts):
            with trio.move_on_after(seconds):
                await trio.sleep(0.5)
                while True:
                    await trio.sleep(1)
                    counters.count(Result(seq=0, id="0", prompt="a", status=Status.OK, strategy=Strategy.PRIMARY, cost_usd=0.5))

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_without_a_terminal_an_event_tells_every_ten_seconds_whatever_the_level_of_the_log(
    prompts: int, capsys: pytest.CaptureFixture[str]
) -> None:
    shown("auto", prompts, alerts=("error rate 12% is above 10%",))
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [event["event"] for event in events] == ["progress"] * 3
    assert [event["done"] for event in events] == [9, 19, 29]
    assert events[-1] | {"spent_usd": 1.5, "in_flight": 3, "deepest": "fetch", "level": "info", "prompts_per_minute": 60} == events[-1]
    assert events[-1]["alerts"] == ["error rate 12% is above 10%"]


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_that_cannot_move_its_cursor_gets_the_events(
    prompts: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    shown("always", prompts)
    assert capsys.readouterr().err.count('"progress"') == 3


def test_whoever_wants_to_see_nothing_sees_nothing(prompts: int, capsys: pytest.CaptureFixture[str]) -> None:
    shown("never", prompts)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("at_once")
def test_a_view_knows_how_many_prompts_there_are_and_leaves_the_terminal_clean(
    prompts: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    shown("always", prompts, 2.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "1 of 3" in err
    assert "\x1b[?25l" in err
    assert err.rindex("\x1b[?25h") > err.rindex("of 3")
    assert err.rindex("\x1b[2K") > err.rindex("of 3")


@pytest.mark.usefixtures("at_once")
def test_a_view_is_drawn_four_times_a_second_at_the_most(
    prompts: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(time, "thread_time", lambda: 0.0)
    shown("always", prompts, 10.0)
    assert 39 <= capsys.readouterr().err.count("in flight") <= 41


@pytest.mark.usefixtures("at_once")
def test_what_costs_more_is_drawn_less_often(prompts: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    times = iter(range(10_000))
    monkeypatch.setattr(time, "thread_time", lambda: next(times) / 20)
    shown("always", prompts, 10.0)
    assert capsys.readouterr().err.count("in flight") <= 3


@pytest.mark.parametrize("progress", ["auto", "always"])
def test_a_view_that_fails_is_told_of_and_the_run_goes_on(
    prompts: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, progress: str
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(Course, "state", broken)
    shown(progress, prompts)
    err = capsys.readouterr().err
    assert err.count("view_failed") == 1
    assert "\x1b[?25h" in err or progress == "auto"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a signal brings about."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - a signal sets no event
            await trio.sleep(0.01)


def test_ctrl_z_stops_a_run_whose_view_has_left_the_terminal_and_the_view_comes_back(
    prompts: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stops, written = [], []

    def stop(number: int) -> None:
        stops.append((number, signal.getsignal(number)))
        written.append(capsys.readouterr().err)

    async def ctrl_z() -> None:
        before = len(stops)
        await until(lambda: signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        await until(lambda: len(stops) > before)

    async def main() -> None:
        async with Show("always", prompts, writes_stdout=False).running(Counters(), lambda: SNAPSHOT):
            await ctrl_z()
            await ctrl_z()

    monkeypatch.setattr(signal, "raise_signal", stop)
    trio.run(main)
    assert stops == [(signal.SIGTSTP, signal.SIG_DFL)] * 2
    assert all(text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l") for text in (*written, capsys.readouterr().err))
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL


@pytest.mark.usefixtures("at_once")
def test_where_a_shell_has_no_jobs_nothing_is_taken(
    prompts: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    monkeypatch.setattr(trio, "open_signal_receiver", None)
    try:
        shown("always", prompts, 1.0)
        assert "view_failed" not in capsys.readouterr().err
    finally:
        signal.signal(signal.SIGTSTP, before)


@pytest.mark.parametrize(
    ("text", "count"),
    [(b"", 0), (b"\n \r\n\t\n", 0), (b"a", 1), (b"a\n", 1), (b"a\r\nb\r\n\r\nc", 3), (b"\xef\xbb\xbfa\n\nb\n", 2), (b"  a\n" * 999, 999)],
)
@pytest.mark.parametrize("chunk", [1, 3, 2**20])
def test_lines_that_are_not_blank_are_counted(tmp_path: Path, text: bytes, count: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "CHUNK", chunk)
    assert counted(tmp_path, text) == (count, 0)


def test_they_are_counted_from_where_the_input_begins_without_moving_it(tmp_path: Path) -> None:
    assert counted(tmp_path, b"a header\nb\nc\n", 9) == (2, 9)


def counted(folder: Path, text: bytes, begins: int = 0) -> tuple[int | None, int]:
    (folder / "in").write_bytes(text)
    handle = os.open(folder / "in", os.O_RDONLY)
    os.lseek(handle, begins, os.SEEK_SET)

    async def main() -> int | None:
        return await trio.to_thread.run_sync(prompts_behind, handle, begins)

    try:
        return trio.run(main), os.lseek(handle, 0, os.SEEK_CUR)
    finally:
        os.close(handle)
