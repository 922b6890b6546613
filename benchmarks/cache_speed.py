"""What the cache costs: hits end to end, look-ups by meaning beside the bare encoder, start-up and memory by size.

    python benchmarks/cache_speed.py [--prompts 3000] [--entries 100000] [--sizes 10000 100000]

Prompts are made up, and so are the vectors that fill a large cache: encodings of made-up prompts with noise. Every row has a process of
its own. Ratios compare two things of one run; absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import trio

from headrace.assembly import open_race
from headrace.cache.database import FILE, prepare, transaction
from headrace.cache.encoder import load
from headrace.cache.keys import scope_key
from headrace.cache.search import Search
from headrace.caching import open_cache
from headrace.disk import Disk
from headrace.flow import flow
from headrace.offload import Threads
from headrace.prompts import PromptReader
from headrace.records import Prompt
from headrace.settings import RequestSettings, Settings
from headrace.stages.dedupe import Dedupe
from headrace.stages.semantic import Semantic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from numpy.typing import NDArray

GOAL_HITS = 3_000
GOAL_RATIO = 0.8
GOAL_DELAY_MS = 5.0
DIMENSIONS = 384
SEED = 20261123
_FINGERPRINT = "all-MiniLM-L6-v2:53aa51172d142c89"
AT_ONCE = 256
_WORDS = {
    "colour": ["red", "blue", "green", "yellow", "purple", "orange", "pink", "brown", "black", "white", "golden", "silver"],
    "thing": [
        "fox",
        "lighthouse",
        "teapot",
        "bicycle",
        "castle",
        "robot",
        "violin",
        "whale",
        "balloon",
        "cactus",
        "train",
        "owl",
        "sailboat",
        "lantern",
        "piano",
        "tiger",
    ],
    "place": [
        "in the snow",
        "on a beach",
        "under a bridge",
        "in a forest at dawn",
        "on a wooden table",
        "above the clouds",
        "in an old library",
    ],
    "style": ["oil painting", "watercolor", "photo", "pencil sketch", "pixel art", "low poly render", "linocut print"],
}


def main() -> int:
    """Run it and print the tables; 1 where a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=3000)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        _apart(_fill_by_running, folder, options.prompts)
        print(f"hits end to end, {options.prompts:,} prompts, all from the cache")
        for tier, rewrite in (("exact", "{}"), ("canonical", "Please draw {}!")):
            rate = _apart(_hits, folder, options.prompts, rewrite, f"cache_{tier}")
            missed += rate < GOAL_HITS
            print(f"{tier:10} {rate:7,.0f} prompts/s")
    with tempfile.TemporaryDirectory() as folder:
        _apart(_fill, folder, options.entries)
        found = _apart(_look_ups, folder, options.prompts)
        print(f"\nlook-ups by meaning among {options.entries:,} entries, {options.prompts} prompts")
        print(f"bare encoder, batches of 32 by length: {found['bare']:,.0f} prompts/s")
        print(f"through dedupe and semantic: {found['line']:,.0f} prompts/s, {found['line'] / found['bare']:.2f} of the bare encoder")
        print(f"delay of the event loop meanwhile: median {found['median_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms")
        print(f"memory of the process: {found['rss_mb']:,.0f} MB")
        missed += found["line"] / found["bare"] < GOAL_RATIO
        missed += found["p99_ms"] > GOAL_DELAY_MS
    print("\n   entries  start-up s  index MB    file MB  search ms")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            _apart(_fill, folder, size)
            found = _apart(_start, folder)
            print(f"{size:10,} {found['start_s']:11.2f} {found['grown_mb']:9,.0f} {found['file_mb']:10,.0f} {found['search_ms']:10.2f}")
    return 1 if missed else 0


def _apart(work: Callable[..., Any], *given: Any) -> Any:
    # A process each: what one of them leaves behind must not be the other's cost.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_send, args=(there, work, *given))
    process.start()
    there.close()
    found = here.recv()
    process.join()
    return found


def _send(parent: Any, work: Callable[..., Any], *given: Any) -> None:
    parent.send(work(*given))


def _prompts(count: int, seed: int) -> list[str]:
    chosen = random.Random(seed)  # noqa: S311 - repeatable
    pick = chosen.choice
    made: dict[str, None] = {}
    while len(made) < count:
        one, other = (f"a {pick(_WORDS['colour'])} {pick(_WORDS['thing'])}" for _ in range(2))
        made[f"{pick(_WORDS['style'])} of {one} and {other} {pick(_WORDS['place'])}"] = None
    return list(made)


def _settings(folder: str, policy: str = "verified") -> Settings:
    small = {"size": "816x816", "output_format": "webp", "output_compression": 70}
    run = {"simulate": True, "out_dir": f"{folder}/out", "max_in_flight": AT_ONCE}
    pool = [{"name": "bench", "max_concurrency": AT_ONCE}]
    key = [{"name": "bench", "pool": "bench", "env": "BENCH_KEY"}]
    cache = {"dir": f"{folder}/cache", "policy": policy}
    return Settings.from_dict({"request": small, "cache": cache, "run": run, "pool": pool, "key": key})


def _fill_by_running(folder: str, count: int) -> None:
    async def run() -> None:
        # One entry each, whatever the verifier says of them.
        async with open_race(_settings(folder, "canonical")) as race, race.results(_prompts(count, SEED)) as results:
            async for _ in results:
                pass

    trio.run(run)


def _hits(folder: str, count: int, rewrite: str, strategy: str) -> float:
    async def run() -> float:
        prompts = [rewrite.format(prompt) for prompt in _prompts(count, SEED)]
        async with open_race(_settings(folder)) as race:
            started = time.perf_counter()
            async with race.results(prompts) as results:
                seen = {result.strategy async for result in results}
            if seen != {strategy}:
                raise SystemExit(f"not all were {strategy}: {seen}")
            return count / (time.perf_counter() - started)

    return trio.run(run)


def _fill(folder: str, count: int) -> None:
    encoder = load()
    known = _prompts(2_000, SEED + 1)
    vectors = encoder.encode(known)
    noise = np.random.default_rng(SEED)
    [prompt] = _read(["a prompt"])
    scope = scope_key(prompt.request, 0, "default", "bench")
    request = json.dumps({"model": "m", "size": "s", "quality": "low"})
    cache = Path(folder) / "cache"
    db = prepare(cache)
    now = time.time()
    for start in range(0, count, 10_000):
        batch = range(start, min(start + 10_000, count))
        near = vectors[[number % len(known) for number in batch]] + noise.normal(0, 0.04, (len(batch), DIMENSIONS))
        near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
        with transaction(db):
            for number, vector in zip(batch, near, strict=True):
                text = f"{known[number % len(known)]}, number {number}"
                keys = (f"exact {number}", scope, f"canonical {number}")  # nobody asks for these by their keys
                row = (number + 1, *keys, "default", text, request, str(number), None, None, 0.006, now, now, 0)
                db.execute("insert into entry values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                db.execute("insert into vector values (?, ?, ?)", (number + 1, encoder.fingerprint, vector.tobytes()))
    db.close()


def _look_ups(folder: str, count: int) -> dict[str, float]:
    encoder = load()
    texts = _prompts(count, SEED + 2)
    encoder.encode(texts[:64])
    by_length = sorted(texts, key=len)
    started = time.perf_counter()
    for start in range(0, count, 32):
        encoder.encode(by_length[start : start + 32])
    bare = count / (time.perf_counter() - started)
    return {"bare": bare} | trio.run(_line, folder, texts, encoder)


async def _line(folder: str, texts: Sequence[str], encoder: Any) -> dict[str, float]:
    delays: list[float] = []
    slots = trio.Semaphore(AT_ONCE)
    settings = _settings(folder)
    settings = attrs.evolve(settings, run=attrs.evolve(settings.run, simulate=False))
    async with AsyncExitStack() as stack, trio.open_nursery() as beside:
        cache = open_cache(settings, Path(folder) / "out", None, encoder, stack, Disk(Threads(1)))
        if cache is None or cache.meaning is None:
            raise SystemExit("there is no cache by meaning")
        beside.start_soon(cache.meaning.run)
        leads = stack.enter_context(cache.in_flight.line())

        async def source(wanted: Sequence[str]) -> AsyncIterator[Prompt]:
            for prompt in _read(wanted):
                await slots.acquire()
                yield prompt

        async def pass_through(wanted: Sequence[str]) -> None:
            line = (
                flow(source(wanted))
                .then(Dedupe(cache.answers, leads, "bench", "default"))
                .then(Semantic(cache.answers, leads, cache.meaning))
            )
            async with line.open() as running:
                async for record in running.results:
                    slots.release()
                    for key in record.leads if isinstance(record, Prompt) else ():
                        leads.land(key, None)

        await pass_through(["a first prompt that waits for the index"])
        beside.start_soon(_watch, delays)
        started = time.perf_counter()
        await pass_through(texts)
        rate = len(texts) / (time.perf_counter() - started)
        beside.cancel_scope.cancel()
    median_s, p99_s = np.quantile(delays, [0.5, 0.99])
    return {"line": rate, "rss_mb": _rss_mb(), "median_ms": median_s * 1000, "p99_ms": p99_s * 1000}


async def _watch(delays: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await trio.sleep(0.001)
        delays.append(time.perf_counter() - started - 0.001)


def _start(folder: str) -> dict[str, float]:
    class Known:
        fingerprint = _FINGERPRINT

        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.full((len(texts), DIMENSIONS), DIMENSIONS**-0.5, dtype=np.float32)

    [prompt] = _read(["a prompt"])
    scope = scope_key(prompt.request, 0, "default", "bench")
    search = Search(Path(folder) / "cache", Known(), 0.8, 1e9)
    before, started = _rss_mb(), time.perf_counter()
    search.look([(scope, "the first")])
    start_s, grown = time.perf_counter() - started, _rss_mb() - before
    started = time.perf_counter()
    for _ in range(50):
        search.look([(scope, "another")])
    search_ms = (time.perf_counter() - started) * 1000 / 50
    file_mb = (Path(folder) / "cache" / FILE).stat().st_size / 1e6
    return {"start_s": start_s, "grown_mb": grown, "file_mb": file_mb, "search_ms": search_ms}


def _read(texts: Sequence[str]) -> Iterator[Prompt]:
    reader = PromptReader(RequestSettings())
    return (prompt for text in texts if isinstance(prompt := reader.read(text), Prompt))


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    sys.exit(main())
