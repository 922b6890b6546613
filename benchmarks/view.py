"""What the live view costs: the CPU time of a run on a pseudo-terminal with the view, and of the same run without; and its picture.

    python benchmarks/view.py [--seconds 20] [--rounds 3] [--json FILE]
    python benchmarks/view.py --screenshot docs/view.svg

Runs the whole line over the simulator, 300 pictures a minute whatever the pools, each run in a process of its own. The share is counted
from the fifth second on, when everything is imported, as a percentage of one core; it is the median of the rounds. The screenshot is of a
run of a minute and a half over three organisations, one of which lets in less than it says and one of which runs out of credit.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import show as tables
import trio
from rich.console import Console
from view_run import crowd, demo, plain

import headrace.observe.screen
from headrace.observe.show import Show
from headrace.observe.state import Course
from headrace.observe.view import View

if TYPE_CHECKING:
    from headrace.observe.show import Progress

POOLS = (3, 100)
COLUMNS, LINES = 120, 40
WARM_S = 5.0
GOAL = 0.02
PICTURE = (104, 25)
DEMO_S = 90.0
FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace">
<style>{styles} .{unique_id}-matrix {{ font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


def main() -> int:
    """Measure, or take the picture; 1 where the view costs more than the goal."""
    parser = tables.options(__doc__, seed=None)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--screenshot", type=Path, metavar="FILE", help="write the picture there, as SVG")
    parser.add_argument("--child", nargs=2, metavar=("POOLS", "PROGRESS"), help="used by the benchmark itself")
    asked = parser.parse_args()
    if asked.child is not None:
        trio.run(child, int(asked.child[0]), asked.child[1], asked.seconds)
        return 0
    if asked.screenshot is not None:
        export(trio.run(picture), asked.screenshot)
        print(f"{asked.screenshot}: {asked.screenshot.stat().st_size:,} bytes")
        return 0
    figures = [measured(pools, asked.seconds, asked.rounds) for pools in POOLS]
    tables.table(
        f"The live view, {COLUMNS} x {LINES}",
        ("pools", "CPU without", "CPU with", "the view", "frames/s", "ms a frame"),
        [
            (
                f"{row['pools']}",
                *(f"{row[name]:.2%}" for name in ("without", "with", "view")),
                f"{row['rate']:.1f}",
                f"{row['frame_ms']:.1f}",
            )
            for row in figures
        ],
    )
    tables.keep(asked.json, figures)
    return int(any(row["view"] > GOAL for row in figures))


def measured(pools: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Both kinds of run by turns, against whatever else the machine does."""
    runs = [(run(pools, "never", seconds), run(pools, "always", seconds)) for _ in range(rounds)]
    without, shown = (statistics.median(each[kind]["cpu"] for each in runs) for kind in (0, 1))
    view = statistics.median(seen["cpu"] - bare["cpu"] for bare, seen in runs)
    rate, drawn = (statistics.median(seen[name] for _, seen in runs) for name in ("frames", "drawn_ms"))
    return {"pools": pools, "without": without, "with": shown, "view": view, "rate": rate, "frame_ms": drawn}


def run(pools: int, progress: str, seconds: float) -> dict[str, float]:
    """One run, its stderr on a pseudo-terminal that somebody reads."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    threading.Thread(target=_read, args=(ours,), daemon=True).start()
    command = [sys.executable, __file__, "--child", str(pools), progress, "--seconds", str(seconds)]
    environ = {**os.environ, "TERM": "xterm-256color"}
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env=environ, timeout=600, check=True)  # noqa: S603 - ourselves
    os.close(theirs)
    figures: dict[str, float] = json.loads(ended.stdout)
    return figures


def _read(handle: int) -> None:
    try:
        while os.read(handle, 2**16):
            pass
    except OSError:
        os.close(handle)  # the other end is closed


async def child(pools: int, progress: Progress, seconds: float) -> None:
    """Run for so long, and print what it took."""
    frames: list[float] = []

    class Counted(headrace.observe.screen.Screen):
        def draw(self, view: Any) -> None:
            before = time.thread_time()
            super().draw(view)
            frames.append(time.thread_time() - before)

    headrace.observe.screen.Screen = Counted  # type: ignore[misc]  # to count
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "rb") as nothing:  # noqa: PTH123, ASYNC230 - a device
        async with crowd(Path(folder), pools) as race, race.results(plain()) as results, trio.open_nursery() as beside:
            show = Show(progress, nothing.fileno(), writes_stdout=False)
            async with show.running(race.counters, race.snapshot, race.alerts):
                beside.start_soon(_consume, results)
                await trio.sleep(WARM_S)
                frames.clear()
                cpu, wall = time.process_time(), time.perf_counter()
                await trio.sleep(seconds)
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            beside.cancel_scope.cancel()
    drawn_ms = statistics.mean(frames) * 1000 if frames else 0.0
    print(json.dumps({"cpu": cpu / wall, "frames": len(frames) / wall, "drawn_ms": drawn_ms}))


async def _consume(results: Any) -> None:
    async for _ in results:
        pass


async def picture() -> View:
    """The view in the middle of a run."""
    prompts = demo()
    with tempfile.TemporaryDirectory() as folder:
        async with crowd(Path(folder), 0) as race, race.results(prompts) as results, trio.open_nursery() as beside:
            course = Course(trio.current_time())
            beside.start_soon(_consume, results)
            with trio.move_on_after(DEMO_S):
                while True:
                    await trio.sleep(1)
                    state = course.state(race.counters, race.snapshot(), len(prompts), trio.current_time(), race.alerts())
            beside.cancel_scope.cancel()
    return View(state, PICTURE[1])


def export(view: View, path: Path) -> None:
    """Write the view as a picture of a terminal."""
    with open(os.devnull, "w", encoding="utf-8") as nothing:  # noqa: PTH123 - a device
        console = Console(file=nothing, record=True, width=PICTURE[0], height=PICTURE[1], force_terminal=True, color_system="truecolor")
        console.print(view)
        console.print()
        console.save_svg(str(path), title="headrace run prompts.jsonl -o results.jsonl", code_format=FORMAT, unique_id="view")


if __name__ == "__main__":
    sys.exit(main())
