"""What durability costs: prompts a second with the journal against without, in turn, against one simulated API in another process.

300 prompts a second are offered: pictures of about 20 KB that take 50 ms, 18,000 a minute. With the journal every call is on the disk
before it is made, and every picture, result and line before it counts; without it nothing is synced. A loss is a ratio below 0.7.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from loopback import loopback_api

from headrace.assembly import open_race
from headrace.journal.outputs import output_file
from headrace.output import LineWriter
from headrace.records import Status
from headrace.settings import Settings
from headrace.simulator import SimulatedPool, SimulatorSettings
from reliability.outcome import Outcome

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

GOAL = 0.7
PER_MINUTE = 18_000
ALTERNATIONS = 3
PROMPTS = 1_800
PROMPTS_SHORT = 150
_REQUEST = {"model": "gpt-image-2.5-flare", "size": "816x816", "quality": "low", "output_format": "webp", "output_compression": 70}
_NAME = f"prompts/s with the journal against without, at {PER_MINUTE // 60} offered: below {GOAL}"


def outcomes(short: bool) -> list[Outcome]:
    """Three pairs of runs, the median of their ratios; the short form is too short to be judged by and only has to work."""
    prompts = PROMPTS_SHORT if short else PROMPTS
    pool = SimulatedPool(keys=(), images_per_minute=None, max_concurrency=None)
    settings = SimulatorSettings(pools=(pool,), latency_s=0.05, sigma=0, pictures="template")
    pairs: list[tuple[float, float]] = []
    with loopback_api(settings) as url:
        for turn in range(1 if short else ALTERNATIONS):
            rates = {}
            # Each goes first in its turn: what else the machine does is not the journal's cost.
            for journal in (False, True) if turn % 2 else (True, False):
                with tempfile.TemporaryDirectory() as folder:
                    rates[journal] = prompts / _apart(url, folder, prompts, journal)
            pairs.append((rates[False], rates[True]))
    without, kept = sorted(pairs, key=lambda pair: pair[1] / pair[0])[len(pairs) // 2]
    ratio = kept / without
    note = f"{kept:.0f}/s against {without:.0f}/s: {ratio:.2f}"
    return [Outcome(_NAME, len(pairs), (note,) if ratio < GOAL and not short else (), note)]


def _apart(url: str, folder: str, prompts: int, journal: bool) -> float:
    # A process each: what one of them leaves behind must not be the other's cost.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_measured, args=(there, url, folder, prompts, journal))
    process.start()
    there.close()
    try:
        wall_s: float = here.recv()
    finally:
        process.join()
    return wall_s


def _measured(parent: Connection, url: str, folder: str, prompts: int, journal: bool) -> None:
    parent.send(trio.run(_line, url, folder, prompts, journal))


async def _line(url: str, folder: str, prompts: int, journal: bool) -> float:
    settings = Settings.from_dict(
        {
            "request": _REQUEST,
            "provider": {"base_url": url},
            "pool": [{"name": "bench", "images_per_minute": PER_MINUTE, "requests_per_minute": PER_MINUTE}],
            "key": [{"name": "bench", "pool": "bench", "env": "BENCH_KEY"}],
            "cache": {"policy": "off", "dir": f"{folder}/cache"},
            "run": {"out_dir": folder, "journal": journal, "max_in_flight": 128},
        }
    )
    async with open_race(settings, environ={"BENCH_KEY": "sk-bench"}) as race:
        path = Path(folder, "lines.jsonl")
        writer = LineWriter(path, lambda: None)  # a failure is raised at the end
        file = None if race.journal is None else output_file(race.journal, path, writer.handle, "benchmark")
        writer.start(file, race.disk)
        began = time.perf_counter()
        texts = [f"print number {number}" for number in range(prompts)]
        async with race.results(texts, write=writer.write, output=file) as results:
            statuses = {result.status async for result in results}
        if race.journal is not None:
            await race.journal.writer.durable()
        wall_s = time.perf_counter() - began
    # Behind the journal, which has its last lines synced.
    writer.close()
    if writer.error is not None:
        raise writer.error
    if statuses != {Status.OK}:
        raise RuntimeError(f"not every prompt was answered: {statuses}")
    return wall_s
