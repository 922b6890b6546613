from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.cli.execute import Job, _Run
from headrace.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from subprocess import Popen

    from headrace.outcome import Results
    from headrace.race import Race
    from headrace.simulator import World

GRACE_S = 15.0


def feed(process: Popen[str], prompts: Iterable[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("".join(f"{prompt}\n" for prompt in prompts))
    process.stdin.flush()


def await_line(process: Popen[str], part: str) -> None:
    """Reads stderr as far as a line that holds ``part``."""
    assert process.stderr is not None
    assert any(part in line for line in process.stderr), f"{part!r} never came"


def ended(process: Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=GRACE_S)
    assert "Traceback" not in err
    return process.returncode, out, err


def still_runs(process: Popen[str], pause_s: float) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(pause_s)


def slow(folder: Path, count: int) -> list[str]:
    return [f"{folder} cat {n} [[fault:slow_body]]" for n in range(count)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_one_signal_stops_the_reading_and_what_is_in_flight_comes_out_and_is_never_paid_again(
    started: Callable[..., Any],
    lines_of: Callable[[str], list[dict[str, Any]]],
    until: Callable[[Callable[[], bool]], None],
    world: World,
    tmp_path: Path,
    number: signal.Signals,
    status: int,
) -> None:
    prompts = slow(tmp_path, 6)
    # Their words are nearly the same, and nobody shall wait for an encoder here.
    with started("run", "--max-in-flight", "4", "--cache", "exact") as process:
        feed(process, prompts)
        until(lambda: sum(world.bill[prompt] for prompt in prompts) == 4)
        process.send_signal(number)
        # Nobody closes stdin: the run ends by itself.
        await_line(process, "stopping: 4 prompts in flight come out within 120 s")
        assert process.wait(GRACE_S) == status
        code, out, _ = ended(process)
    lines = lines_of(out)
    assert code == status
    assert {line["prompt"] for line in lines} == {prompt for prompt in prompts if world.bill[prompt]}
    assert [line["status"] for line in lines] == ["ok"] * len(lines)
    assert 4 <= len(lines) <= 6
    if number is not signal.SIGINT:
        return
    (tmp_path / "in").write_text("".join(f"{prompt}\n" for prompt in prompts))
    with started("run", "in", "--cache", "exact", stdin=subprocess.DEVNULL) as process:
        code, out, _ = ended(process)
    again = lines_of(out)
    assert code == 0
    assert sorted(line["prompt"] for line in again) == sorted(prompts)
    assert {prompt: world.bill[prompt] for prompt in prompts} == dict.fromkeys(prompts, 1)
    assert [line for line in again if line["prompt"] in {line["prompt"] for line in lines}] == sorted(lines, key=again.index)


def test_a_signal_ends_a_run_that_only_waits_for_its_input(started: Callable[..., Any], tmp_path: Path) -> None:
    with started("run") as process:
        feed(process, [f"{tmp_path} a fox"])
        assert process.stdout is not None
        assert '"ok"' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(GRACE_S) == 130
        assert ended(process)[1] == ""


@pytest.mark.parametrize(("second", "pause_s"), [(signal.SIGTERM, 0.0), (signal.SIGINT, 0.3)])
def test_a_second_signal_ends_at_once(
    started: Callable[..., Any],
    until: Callable[[Callable[[], bool]], None],
    world: World,
    tmp_path: Path,
    second: signal.Signals,
    pause_s: float,
) -> None:
    prompts = [f"{tmp_path} cat {n} [[fault:stall]]" for n in range(3)]
    with started("run", "--cache", "exact") as process:
        feed(process, prompts)
        until(lambda: all(world.calls(prompt) for prompt in prompts))
        process.send_signal(signal.SIGINT)
        await_line(process, "stopping: 3 prompts in flight")
        still_runs(process, pause_s)
        process.send_signal(second)
        assert process.wait(GRACE_S) == 130
        _, out, err = ended(process)
    assert out == ""
    assert "calls that were under way may have been paid" in err
    assert "3 prompts were cancelled and have no line" in err


def test_a_signal_that_is_delivered_twice_at_once_stops_the_reading_and_cancels_nothing(
    started: Callable[..., Any],
    lines_of: Callable[[str], list[dict[str, Any]]],
    until: Callable[[Callable[[], bool]], None],
    world: World,
    tmp_path: Path,
) -> None:
    prompts = slow(tmp_path, 4)
    with started("run", "--cache", "exact") as process:
        feed(process, prompts)
        until(lambda: all(world.bill[prompt] for prompt in prompts))
        process.send_signal(signal.SIGINT)
        # Two that come before the first was looked at are one to Python, too.
        await_line(process, "stopping: 4 prompts in flight")
        process.send_signal(signal.SIGINT)
        assert process.wait(GRACE_S) == 130
        _, out, err = ended(process)
    assert sorted(line["prompt"] for line in lines_of(out)) == prompts
    assert "cancelled" not in err


@pytest.fixture
def unharmed() -> Iterator[None]:
    """A signal that the run no longer takes does nothing to the tests."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("sent", "cancelled"),
    [
        ([(0, signal.SIGINT), (0, signal.SIGINT)], False),
        ([(0, signal.SIGTERM), (0.2, signal.SIGTERM)], False),
        ([(0, signal.SIGINT), (0, signal.SIGINT), (0.2, signal.SIGINT)], False),
        ([(0, signal.SIGINT), (0.25, signal.SIGINT)], True),
        ([(0, signal.SIGINT), (0.2, signal.SIGINT), (0.1, signal.SIGINT)], True),
        ([(0, signal.SIGINT), (0, signal.SIGTERM)], True),
        ([(0, signal.SIGTERM), (0, signal.SIGTERM), (0, signal.SIGHUP)], True),
    ],
)
@pytest.mark.usefixtures("unharmed")
def test_the_same_signal_within_a_quarter_of_a_second_of_the_first_counts_as_one(
    sent: list[tuple[float, signal.Signals]], *, cancelled: bool
) -> None:
    clock, results = MockClock(), Draining()
    run = _Run(Job(settings=Settings(), source="-", output="-", format="auto", drain_s=9, progress="never", fresh=False))
    run._results, run._race = cast("Results", results), cast("Race", results)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(run._signals)
            for pause_s, number in sent:
                clock.jump(pause_s)
                signal.raise_signal(number)
                await wait_all_tasks_blocked()
            assert (run._signal, results.drained, run._whole.cancel_called) == (sent[0][1], 1, cancelled)
            # Whoever is told of alerts does not keep a cancelled run from ending, and a third signal is still the run's.
            assert results.gave_up is cancelled
            assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)


class Draining:
    """Results of which some are still to come."""

    in_flight = 3
    drained = 0
    gave_up = False

    def drain(self) -> None:
        self.drained += 1

    def give_up_telling(self) -> None:
        self.gave_up = True


def test_the_drain_has_its_deadline(
    started: Callable[..., Any],
    lines_of: Callable[[str], list[dict[str, Any]]],
    until: Callable[[Callable[[], bool]], None],
    world: World,
    tmp_path: Path,
) -> None:
    prompts = [f"{tmp_path} a fox", f"{tmp_path} [[fault:stall]]"]
    with started("run", "--drain", "0.2") as process:
        feed(process, prompts)
        until(lambda: all(world.calls(prompt) for prompt in prompts))
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(GRACE_S) == 143
        _, out, err = ended(process)
    assert [line["prompt"] for line in lines_of(first + out)] == prompts[:1]
    assert "1 prompts were cancelled and have no line" in err


@pytest.mark.parametrize("times", [1, 2])
def test_a_reader_of_stdout_that_has_stopped_reading_does_not_keep_a_run_from_ending(
    started: Callable[..., Any], until: Callable[[Callable[[], bool]], None], world: World, tmp_path: Path, times: int
) -> None:
    # As a pager does: the pipe is full and stays full. Pages of 4 KiB hold a few lines.
    prompts = [f"{tmp_path} cat {n} {'x' * 500}" for n in range(20)]
    (tmp_path / "in").write_text("".join(f"{prompt}\n" for prompt in prompts))
    drain = ("--drain", "0.2") if times == 1 else ()
    with started("run", "in", "--max-in-flight", "3", *drain, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        until(lambda: sum(world.bill[prompt] for prompt in prompts) >= 4)
        settled = -1
        while settled != (settled := sum(world.bill[prompt] for prompt in prompts)):
            still_runs(process, 0.3)
        process.send_signal(signal.SIGINT)
        await_line(process, "stopping: ")
        if times == 2:
            process.send_signal(signal.SIGTERM)
        assert process.wait(3) == 130


def test_a_signal_before_the_first_prompt_ends_with_its_status(started: Callable[..., Any], tmp_path: Path, unlimited: Path) -> None:
    unlimited.unlink()
    # Nobody opens the other end of the pipe that the results are to go to: the run stands at its start.
    (tmp_path / "in").write_text(f"{tmp_path} a fox\n")
    os.mkfifo(tmp_path / "out.pipe")
    with started("run", "in", "-o", "out.pipe", stdin=subprocess.DEVNULL) as process:
        await_line(process, "tier_assumed")
        process.send_signal(signal.SIGINT)
        code, out, _ = ended(process)
    assert (code, out) == (130, "")


def test_a_process_shows_no_key_in_its_arguments(
    started: Callable[..., Any], until: Callable[[Callable[[], bool]], None], world: World, tmp_path: Path, key: str
) -> None:
    prompt = f"{tmp_path} [[fault:stall]]"
    with started("run") as process:
        feed(process, [prompt])
        until(lambda: world.calls(prompt) == 1)
        assert key.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
