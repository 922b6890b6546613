from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from subprocess import Popen

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


def test_a_second_signal_ends_at_once(
    started: Callable[..., Any], until: Callable[[Callable[[], bool]], None], world: World, tmp_path: Path
) -> None:
    prompts = [f"{tmp_path} cat {n} [[fault:stall]]" for n in range(3)]
    with started("run", "--cache", "exact") as process:
        feed(process, prompts)
        until(lambda: all(world.calls(prompt) for prompt in prompts))
        process.send_signal(signal.SIGINT)
        await_line(process, "stopping: 3 prompts in flight")
        process.send_signal(signal.SIGINT)
        assert process.wait(GRACE_S) == 130
        _, out, err = ended(process)
    assert out == ""
    assert "calls that were under way may have been paid" in err
    assert "3 prompts were cancelled and have no line" in err


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
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
        process.send_signal(signal.SIGINT)
        await_line(process, "stopping: ")
        if times == 2:
            process.send_signal(signal.SIGINT)
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
