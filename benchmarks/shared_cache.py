"""Four processes with the same prompts and one shared cache: how often a picture is paid for, and what asking the store costs.

    python benchmarks/shared_cache.py [--prompts 200] [--json FILE]

The whole line in each process, each with folders of its own, in real time, against one server on loopback that keeps a bill; Debian's
redis-server on a free port, one for the benchmark; pictures go through a folder. About a minute, in parts:

* together: all four have the same prompts, each in another order;
* killed: the same with other prompts; one gets SIGKILL in the middle, and its share is run again by a new process with empty folders;
* again: a new process asks for everything that was paid for, in its own time, and pays for nothing;
* claims: claims and answers one after another, nothing else.

Script calls are those for the cache, not those for limits. Exit status 1 where a prompt of the first part was paid for twice, more was
paid for twice in the second than a process has in flight, or the third paid for anything.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import tempfile
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio
from loopback import books, loopback_api
from shared_quota import redis
from show import keep, machine, options, table

from headrace.assembly import open_race
from headrace.records import Strategy
from headrace.redis.client import open_redis
from headrace.redis.link import Link
from headrace.secret import Secret
from headrace.settings import Settings
from headrace.shared_cache.claims import Claims
from headrace.simulator import SimulatedPool, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

PROCESSES = 4
IN_FLIGHT = 20
LATENCY_S = 2.0
CLAIMS = 2_000
SEED = 1
REQUEST = {"model": "gpt-image-2.5-flare", "size": "816x816", "quality": "low", "output_format": "webp", "output_compression": 70}


def main() -> int:
    """Run it and print the table; 1 where a goal was missed."""
    parser = options(__doc__, seed=None)
    parser.add_argument("--prompts", type=int, default=200, help="distinct prompts in each part")
    chosen = parser.parse_args()
    count: int = chosen.prompts
    pool = SimulatedPool(keys=(), images_per_minute=60_000, max_concurrency=None)
    settings = SimulatorSettings(pools=(pool,), latency_s=LATENCY_S, pictures="template")
    with tempfile.TemporaryDirectory() as folder, redis(Path(folder)) as (_, port), loopback_api(settings) as url:
        (Path(folder) / "pictures").mkdir()
        bench = Bench(folder, url, port)
        first, second = _prompts("first", count), _prompts("second", count)
        rows = [bench.part("together", first, kill=False), bench.part("killed", second, kill=True), bench.again([*first, *second])]
        claim_ms = trio.run(_claim_ms, port)
    figures = {"prompts": count, "parts": [attrs.asdict(row) for row in rows], "claim_ms": claim_ms}
    print(machine())
    _show(rows, count, claim_ms)
    keep(chosen.json, figures)
    together, killed, again = rows
    return 1 if together.twice or killed.twice > IN_FLIGHT or again.paid else 0


@attrs.frozen
class Part:
    """What one part came to."""

    name: str
    distinct: int
    paid: int
    twice: int
    """Pictures that were paid for beyond the first of their prompt."""
    results: int
    calls: int
    """Scripts for the cache."""
    lasted_s: float


@attrs.define
class Bench:
    """Processes with one store, one place for pictures and one server."""

    folder: str
    url: str
    port: int
    started: int = 0

    def part(self, name: str, prompts: Sequence[str], *, kill: bool) -> Part:
        """All processes with the same prompts."""
        began, before = time.monotonic(), books(self.url)["bill"]
        running = [self._start(random.Random(SEED + number).sample(prompts, len(prompts))) for number in range(PROCESSES)]  # noqa: S311
        results = calls = 0
        while running:
            for pipe in wait([child.pipe for child in running]):
                child = next(each for each in running if each.pipe is pipe)
                told = child.told()
                if told is None:
                    child.seen += 1
                    if kill and child is running[0] and child.seen == len(prompts) // 4:
                        child.process.kill()
                        kill = False
                        running.append(self._start(child.prompts))
                        running.remove(child)
                    continue
                results, calls = results + child.seen, calls + told
                running.remove(child)
        return self._counted(name, prompts, before, results, calls, began)

    def again(self, prompts: Sequence[str]) -> Part:
        """One process that has nothing yet."""
        began, before = time.monotonic(), books(self.url)["bill"]
        child, calls = self._start(prompts), None
        while calls is None:
            calls = child.told()
        return self._counted("again", prompts, before, len(prompts), calls, began)

    def _counted(self, name: str, prompts: Sequence[str], before: dict[str, int], results: int, calls: int, began: float) -> Part:
        bill = books(self.url)["bill"]
        paid = {prompt: bill.get(prompt, 0) - before.get(prompt, 0) for prompt in prompts}
        twice = sum(number - 1 for number in paid.values() if number > 1)
        return Part(name, len(paid), sum(paid.values()), twice, results, calls, time.monotonic() - began)

    def _start(self, prompts: Sequence[str]) -> Child:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self.started += 1
        settings = self._settings(f"{self.folder}/{self.started}")
        process = context.Process(target=_child, args=(there, settings, prompts), daemon=True)
        process.start()
        there.close()
        return Child(process, here, prompts)

    def _settings(self, folder: str) -> dict[str, Any]:
        return {
            "request": REQUEST,
            "provider": {"base_url": self.url},
            "pool": [{"name": "studio", "images_per_minute": 60_000}],
            "key": [{"name": "studio-a", "pool": "studio", "env": "BENCH_KEY"}],
            "quota": {"store": f"redis://127.0.0.1:{self.port}"},
            "cache": {"dir": f"{folder}/cache", "policy": "canonical", "shared": f"{self.folder}/pictures"},
            "run": {"out_dir": f"{folder}/out", "max_in_flight": IN_FLIGHT},
        }


@attrs.define(eq=False)
class Child:
    """A process at work."""

    process: SpawnProcess
    pipe: Connection
    prompts: Sequence[str]
    seen: int = 0

    def told(self) -> int | None:
        """How many scripts it has run in all, at its end; None for a result."""
        told: int | None = self.pipe.recv()
        return told


def _child(parent: Connection, settings: dict[str, Any], prompts: Sequence[str]) -> None:
    async def line() -> None:
        async with open_race(Settings.from_dict(settings), environ={"BENCH_KEY": "sk-bench"}) as race:
            async with race.results(prompts) as results:
                async for result in results:
                    assert result.strategy in (Strategy.PRIMARY, Strategy.CACHE_EXACT), result  # noqa: S101 - a benchmark
                    parent.send(None)
            assert race.shared_cache is not None  # noqa: S101
            parent.send(race.shared_cache.claims.calls)

    trio.run(line)


async def _claim_ms(port: int) -> float:
    """Milliseconds for a claim and its answer, one prompt after another."""
    url = Secret(f"redis://127.0.0.1:{port}")
    async with open_redis(url) as server:
        claims = Claims(Link(server, url), "bench", 60.0, random.Random(SEED))  # noqa: S311
        began = time.perf_counter()
        for number in range(CLAIMS):
            keys = [f"exact-{number}", f"canonical-{number}"]
            await claims.claim(str(number), keys)
            await claims.end(str(number), keys, keys, "x" * 500)
        return (time.perf_counter() - began) * 1000 / CLAIMS


def _prompts(part: str, count: int) -> list[str]:
    return [f"print number {number} of the {part}" for number in range(count)]


def _show(rows: Sequence[Part], count: int, claim_ms: float) -> None:
    title = f"{PROCESSES} processes, the same {count} prompts in other orders; a claim and its answer take {claim_ms:.2f} ms"
    columns = ["", "pictures paid / prompts", "paid twice", "results", "script calls a result", "seconds"]
    table(
        title,
        columns,
        [
            [
                each.name,
                f"{each.paid / each.distinct:.2f}",
                each.twice,
                each.results,
                f"{each.calls / each.results:.2f}",
                f"{each.lasted_s:.1f}",
            ]
            for each in rows
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
