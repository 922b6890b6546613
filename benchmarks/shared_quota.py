"""Four processes with one limit, shared through a Redis: how much of it they use, and whether they ever use more.

    python benchmarks/shared_quota.py [--limit 1200] [--json FILE]

The whole line in each process, in real time, against one server on loopback that counts the last 60 s to the instant and charges refused
calls too; Debian's redis-server on a free port, one for the benchmark. One run of four minutes, in parts of a minute:

* together: all four, after a minute that is left out;
* killed: one of them gets SIGKILL at the beginning, and what it had booked is lost;
* stopped: Redis gets SIGSTOP at the beginning and SIGCONT after 30 s, so that the processes go on with their parts of the limit.

A share is of the calls that arrived in the limit; exchanges are the scripts that Redis ran for each call that arrived. Exit status 1 where
the limit times 1.02 was ever exceeded in any 60 s, a call was refused, or less than 97 % of the limit was used after the first minute.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio
from loopback import books, loopback_api
from show import keep, machine, options, table

from headrace.assembly import open_race
from headrace.settings import Settings
from headrace.simulator import SimulatedPool, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

PROCESSES = 4
PART_S = 60.0
STOPPED_S = 30.0
MINUTE_S = 60.0
GOAL, MOST = 0.97, 1.02
LATENCY_S = 2.0
PARTS = ("together", "killed", "stopped")
REQUEST = {"model": "gpt-image-2.5-flare", "size": "816x816", "quality": "low", "output_format": "webp", "output_compression": 70}


def main() -> int:
    """Run it and print the table; 1 where a goal was missed."""
    parser = options(__doc__, seed=None)
    parser.add_argument("--limit", type=int, default=1200, help="images a minute")
    chosen = parser.parse_args()
    limit: int = chosen.limit
    pool = SimulatedPool(keys=(), images_per_minute=limit, max_concurrency=None, discipline="sliding")
    settings = SimulatorSettings(pools=(pool,), latency_s=LATENCY_S, pictures="template")
    with tempfile.TemporaryDirectory() as folder, redis(Path(folder)) as (server, port), loopback_api(settings) as url:
        marks, calls = _run(folder, url, server, port, limit)
        seen = books(url)
    figures = _figures(limit, marks, calls, seen)
    print(machine())
    _show(figures)
    keep(chosen.json, figures)
    return 1 if figures["most"] > MOST or figures["refused"] or figures["share"] < GOAL else 0


@contextmanager
def redis(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A Redis of its own, and its port."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("there is no redis-server; on Debian: apt-get install --no-install-recommends redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - found above
    try:
        time.sleep(0.5)
        yield server, port
    finally:
        server.send_signal(signal.SIGCONT)
        server.terminate()
        server.wait()


@attrs.frozen
class Mark:
    """How things stood at one moment."""

    at: float
    arrived: int
    exchanges: int


def _run(folder: str, url: str, server: subprocess.Popen[bytes], port: int, limit: int) -> tuple[list[Mark], list[int]]:
    """How things stood where each part began and the last ended, and calls of each process in the first part."""
    context = multiprocessing.get_context("spawn")
    children = []
    for number in range(PROCESSES):
        here, there = context.Pipe()
        process = context.Process(target=_child, args=(there, f"{folder}/{number}", url, port, limit), daemon=True)
        process.start()
        children.append((process, here))

    def mark() -> Mark:
        return Mark(time.monotonic(), len(books(url)["arrivals"]), _exchanges(port))

    try:
        for _, pipe in children:
            pipe.recv()
        time.sleep(MINUTE_S)
        marks = [mark()]
        before = [_calls(pipe) for _, pipe in children]
        time.sleep(PART_S)
        after = [_calls(pipe) for _, pipe in children]
        marks.append(mark())
        os.kill(children[-1][0].pid or 0, signal.SIGKILL)
        time.sleep(PART_S)
        marks.append(mark())
        server.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        server.send_signal(signal.SIGCONT)
        time.sleep(PART_S - STOPPED_S)
        return [*marks, mark()], [end - start for start, end in zip(before, after, strict=True)]
    finally:
        for process, _ in children:
            process.kill()
            process.join()


def _calls(pipe: Connection) -> int:
    pipe.send(None)
    calls: int = pipe.recv()
    return calls


def _exchanges(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"INFO commandstats\r\n")
        said = b""
        while not said.endswith(b"\r\n") or b"cmdstat_evalsha" not in said:
            said += connection.recv(65_536)
    line = next(line for line in said.decode().splitlines() if line.startswith("cmdstat_evalsha:"))
    return int(line.partition("calls=")[2].partition(",")[0])


def _child(parent: Connection, folder: str, url: str, port: int, limit: int) -> None:
    trio.run(_line, parent, folder, url, port, limit)


async def _line(parent: Connection, folder: str, url: str, port: int, limit: int) -> None:
    settings = Settings.from_dict(
        {
            "request": REQUEST,
            "provider": {"base_url": url},
            "pool": [{"name": "studio", "images_per_minute": limit}],
            "key": [{"name": "studio-a", "pool": "studio", "env": "BENCH_KEY"}],
            "quota": {"store": f"redis://127.0.0.1:{port}"},
            "cache": {"dir": f"{folder}/cache", "policy": "off"},
            "run": {"out_dir": f"{folder}/out"},
        },
    )
    async with open_race(settings, environ={"BENCH_KEY": "sk-bench"}) as race, trio.open_nursery() as nursery:
        nursery.start_soon(_telling, parent, race)
        async with race.results(f"print number {number}" for number in range(10**9)) as results:
            async for _ in results:
                pass


async def _telling(parent: Connection, race: Any) -> None:
    parent.send(None)
    while True:
        if parent.poll():
            parent.recv()
            parent.send(race.statistics()[0].calls)
        await trio.sleep(0.05)


def _figures(limit: int, marks: list[Mark], each: list[int], seen: dict[str, Any]) -> dict[str, Any]:
    at: list[float] = seen["arrivals"]

    def most(start: int, end: int) -> float:
        """In any minute that ends between two calls, of the limit."""
        return max(last + 1 - bisect_left(at, at[last] - MINUTE_S + 1e-6) for last in range(start, end)) / limit

    def share(start: Mark, end: Mark) -> float:
        return (end.arrived - start.arrived) * MINUTE_S / (limit * (end.at - start.at))

    rows = [
        {
            "part": part,
            "share": share(start, end),
            "most": most(start.arrived, end.arrived),
            "exchanges": (end.exchanges - start.exchanges) / (end.arrived - start.arrived),
        }
        for part, start, end in zip(PARTS, marks, marks[1:], strict=False)
    ]
    return {
        "limit": limit,
        "parts": rows,
        "share": share(marks[0], marks[-1]),
        "most": most(0, marks[-1].arrived),
        "refused": sum(number for outcome, number in seen["counts"].items() if outcome != "ok"),
        "fairness": min(each) / max(each),
        "calls": each,
        "counts": seen["counts"],
    }


def _show(figures: dict[str, Any]) -> None:
    rows = [[row["part"], f"{row['share']:.1%}", f"{row['most']:.2%}", f"{row['exchanges']:.2f}"] for row in figures["parts"]]
    rows.append(["all", f"{figures['share']:.1%}", f"{figures['most']:.2%}", ""])
    title = f"{PROCESSES} processes, {figures['limit']:,} images a minute; {figures['refused']} refused; fairness {figures['fairness']:.2f}"
    table(title, ["", "share of the limit", "most in any 60 s", "exchanges a call"], rows)


if __name__ == "__main__":
    sys.exit(main())
