"""What a prompt costs in CPU, against a bare httpx loop that sends the same requests in the same run.

    python benchmarks/throughput.py [--prompts 2000] [--at-once 16]

Both talk to a server in another process that answers at once with pictures of about 20 KB. The bare loop reads the answers and throws
them away; headrace decodes, checks, hashes, syncs and files them, keeps them in its cache, writes a line, and has every step in its
journal. The next rows are the same prompts again: in another folder, where everything comes from the cache, and in the same one, where
it comes from the journal; the last row has no journal, and so syncs nothing. CPU is of the client's process with its threads, start-up
left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import trio
from loopback import loopback_api

from headrace.assembly import open_race
from headrace.journal.outputs import output_file
from headrace.output import LineWriter
from headrace.settings import Settings
from headrace.simulator import SimulatedPool, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable

GOAL_MS = 4.0
REQUEST = {"model": "gpt-image-2.5-flare", "size": "816x816", "quality": "low", "output_format": "webp", "output_compression": 70}


def main() -> int:
    """Run it and print the table; 1 where the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=16)
    options = parser.parse_args()
    pool = SimulatedPool(keys=(), images_per_minute=None, max_concurrency=None)
    settings = SimulatorSettings(pools=(pool,), latency_s=0, pictures="template")
    with loopback_api(settings) as url, tempfile.TemporaryDirectory() as folder:
        given = (url, folder, options.prompts, options.at_once)
        rows = {
            "bare httpx": _apart(_bare, *given),
            "headrace": _apart(_headrace, *given, "out", True),
            "headrace, all from the cache": _apart(_headrace, *given, "again", True),
            "headrace, all from the journal": _apart(_headrace, *given, "out", True),
            "headrace without a journal": _apart(_headrace, url, f"{folder}/other", options.prompts, options.at_once, "out", False),
        }
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{options.prompts} prompts, {options.at_once} at once")
    print(f"{'':30} {'CPU ms a prompt':>16} {'against bare':>13} {'prompts/s':>10}")
    for name, (cpu_s, wall_s) in rows.items():
        milliseconds = cpu_s * 1000 / options.prompts
        print(f"{name:30} {milliseconds:16.2f} {cpu_s / rows['bare httpx'][0]:12.2f}x {options.prompts / wall_s:10,.0f}")
    return 0 if rows["headrace"][0] * 1000 / options.prompts <= GOAL_MS else 1


def _apart(work: Callable[..., Any], *given: Any) -> tuple[float, float]:
    # A process each: what one of them leaves behind must not be the other's cost.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_measured, args=(there, work, *given))
    process.start()
    there.close()
    measured: tuple[float, float] = here.recv()
    process.join()
    return measured


def _measured(parent: Any, work: Callable[..., Any], *given: Any) -> None:
    parent.send(trio.run(work, *given))


async def _bare(url: str, folder: str, prompts: int, at_once: int) -> tuple[float, float]:
    del folder
    numbers = iter(range(prompts))
    headers = {"Authorization": "Bearer sk-bench", "Accept-Encoding": "identity"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:

        async def worker() -> None:
            for number in numbers:
                answer = await client.post(f"{url}/images/generations", json={**REQUEST, "prompt": f"print number {number}"})
                answer.raise_for_status()

        started = _clocks()
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(worker)
        return _since(started)


async def _headrace(url: str, folder: str, prompts: int, at_once: int, out: str, journal: bool) -> tuple[float, float]:
    settings = Settings.from_dict(
        {
            "request": REQUEST,
            "provider": {"base_url": url},
            "pool": [{"name": "bench", "max_concurrency": at_once}],
            "key": [{"name": "bench", "pool": "bench", "env": "BENCH_KEY"}],
            "cache": {"dir": f"{folder}/cache", "policy": "exact"},
            "run": {"out_dir": f"{folder}/{out}", "journal": journal},
        },
    )
    async with open_race(settings, environ={"BENCH_KEY": "sk-bench"}) as race:
        path = Path(folder) / out / "lines.jsonl"
        writer = LineWriter(path, lambda: None)  # a failure is raised at the end
        file = None if race.journal is None else output_file(race.journal, path, writer.handle, "benchmark")
        writer.start(file, race.disk)
        started = _clocks()
        texts = [f"print number {number}" for number in range(prompts)]
        async with race.results(texts, write=writer.write, output=file) as results:
            statuses = {result.status.value async for result in results}
        if race.journal is not None:
            await race.journal.writer.durable()
        measured = _since(started)
        writer.close()
    if writer.error is not None:
        raise writer.error
    if statuses != {"ok"}:
        raise SystemExit(f"not every prompt was answered: {statuses}")
    return measured


def _clocks() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


def _since(started: tuple[float, float]) -> tuple[float, float]:
    cpu_s, wall_s = _clocks()
    return cpu_s - started[0], wall_s - started[1]


if __name__ == "__main__":
    sys.exit(main())
