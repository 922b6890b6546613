"""How the cost of a prompt grows with pools, with calls at once, and with prompts: it has to stay flat.

    python benchmarks/scale.py [--json FILE] [--plots DIR]

The whole line over loopback, a server in another process with pictures of 20 KB that answers at once (pools, prompts) or after two seconds
(calls at once). CPU is of the client's process with its threads, start-up left out; memory is its peak. Prompts are made as they are
pulled. The gate alone is in the second table: CPU of one admission and its end, in virtual time without HTTP, where every pool is busy.
Each row has a process of its own and is run once; of three runs of the gate the leanest counts. The machine is noisy: what matters is how
a row compares with the first of its kind. Flat is at most 1.3 times the first row, and a row over it has a ``!``; calls at once may take
memory, which holds them.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import trio
from loopback import loopback_api
from plant import Plant, client_pool
from show import keep, machine, options, table

from headrace.assembly import open_race
from headrace.settings import Settings
from headrace.simulator import SimulatedPool, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

POOLS = (1, 8, 64)
AT_ONCE = (10, 100, 1_000, 5_000)
AT_ONCE_ROWS = "calls at once"
PROMPTS = (1_000, 10_000, 30_000)
ROUNDS, GATE_ROUNDS = 1, 3
LONGEST_S, MILLION_S = 1_200.0, 7_200.0
FLAT = 1.3
REQUEST = {"model": "gpt-image-2.5-flare", "size": "816x816", "quality": "low", "output_format": "webp", "output_compression": 70}


def main() -> int:
    """Run it and print the tables; 1 where the cost was not flat."""
    parser = options(__doc__, seed=None)
    parser.add_argument("--million", action="store_true", help="also 1,000,000 prompts: an hour and a half")
    chosen = parser.parse_args()
    prompts = (*PROMPTS, 1_000_000) if chosen.million else PROMPTS
    rows: list[dict[str, Any]] = [
        *({"what": "pools", "size": size, "pools": size, "at_once": 64, "prompts": 2_000, "latency_s": 0.0} for size in POOLS),
        *(
            {"what": AT_ONCE_ROWS, "size": size, "pools": 1, "at_once": size, "prompts": max(500, 2 * size), "latency_s": 2.0}
            for size in AT_ONCE
        ),
        *({"what": "prompts", "size": size, "pools": 1, "at_once": 64, "prompts": size, "latency_s": 0.0} for size in prompts),
    ]
    _measure(rows)
    gate = [{"what": "the gate alone, pools", "size": size, "cpu_ms": min(_gate(size) for _ in range(GATE_ROUNDS))} for size in POOLS]
    print(machine())
    for row in rows:
        base = next(each for each in rows if each["what"] == row["what"])
        row |= {"cpu": row["cpu_ms"] / base["cpu_ms"], "rss": row["rss_mb"] / base["rss_mb"]}
        row["missed"] = row["cpu"] > FLAT or (row["rss"] > FLAT and row["what"] != AT_ONCE_ROWS)
    figures = {"flat": FLAT, "rows": rows, "gate": gate}
    for each in tables(figures):
        table(*each)
    keep(chosen.json, figures)
    if chosen.plots is not None:
        _plot(chosen.plots / "scale.svg", rows)
    return 1 if any(row["missed"] for row in rows) else 0


def tables(figures: dict[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Titles, columns and rows, from what ``--json`` keeps."""
    shown = [
        [
            row["what"],
            f"{row['size']:,}",
            f"{row['cpu_ms']:.2f}",
            f"{row['cpu']:.2f}x",
            f"{row['rss_mb']:.0f}",
            f"{row['rss']:.2f}x" + (" !" if row["missed"] else ""),
        ]
        for row in figures["rows"]
    ]
    yield "the whole line", ["", "", "CPU ms a prompt", "of the first", "peak MB", "of the first"], shown
    yield "admission alone", ["pools", "CPU ms a request"], [[f"{row['size']:,}", f"{row['cpu_ms']:.3f}"] for row in figures["gate"]]


def _measure(rows: list[dict[str, Any]]) -> None:
    for _ in range(ROUNDS):
        for row in rows:
            if row["prompts"] > 10_000 and "cpu_ms" in row:  # noqa: PLR2004 - long enough to be no accident
                continue
            cpu_ms, rss_mb = _apart(row)
            row["cpu_ms"] = min(cpu_ms, row.get("cpu_ms", cpu_ms))
            row["rss_mb"] = min(rss_mb, row.get("rss_mb", rss_mb))


def _apart(row: dict[str, Any]) -> tuple[float, float]:
    pool = SimulatedPool(keys=(), images_per_minute=None, max_concurrency=None)
    settings = SimulatorSettings(pools=(pool,), latency_s=row["latency_s"], sigma=0.0, pictures="template")
    context = multiprocessing.get_context("spawn")
    with loopback_api(settings) as url, tempfile.TemporaryDirectory() as folder:
        here, there = context.Pipe()
        process = context.Process(target=_child, args=(there, url, folder, row), daemon=True)
        process.start()
        there.close()
        if not here.poll(LONGEST_S if row["prompts"] <= max(PROMPTS) else MILLION_S):
            process.kill()
            raise SystemExit(f"{row} did not come to an end")
        measured: tuple[float, float] = here.recv()
        process.join()
    return measured


def _child(parent: Any, url: str, folder: str, row: dict[str, Any]) -> None:
    parent.send(trio.run(_line, url, folder, row))


async def _line(url: str, folder: str, row: dict[str, Any]) -> tuple[float, float]:
    names = [f"pool{number}" for number in range(row["pools"])]
    settings = Settings.from_dict(
        {
            "request": REQUEST,
            "provider": {"base_url": url},
            # Limits that are kept and never reached: what is measured is the work, not the waiting.
            "pool": [
                {"name": name, "images_per_minute": 1e7, "tokens_per_minute": 1e10, "max_concurrency": row["at_once"]} for name in names
            ],
            "key": [{"name": name, "pool": name, "env": "BENCH_KEY"} for name in names],
            "cache": {"dir": f"{folder}/cache", "policy": "exact"},
            "run": {"out_dir": f"{folder}/out", "max_in_flight": row["at_once"] + 8},
        },
    )
    async with open_race(settings, environ={"BENCH_KEY": "sk-bench"}) as race:
        started = _cpu_s()
        async with race.results(_texts(row["prompts"])) as results:
            failed = sum([result.status.value != "ok" async for result in results])
        used = _cpu_s() - started
    if failed:
        raise SystemExit(f"{failed} prompts were not answered")
    return used * 1000 / row["prompts"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _texts(number: int) -> Iterator[str]:
    return (f"print number {each}" for each in range(number))


def _plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    from plots import growth  # noqa: PLC0415 - matplotlib only where plots are asked for

    costs: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        costs.setdefault(row["what"], []).append((row["size"], row["cpu_ms"]))
    growth(path, f"CPU ms a prompt; dashed: {FLAT:g} times the first", costs, FLAT)


def _gate(pools: int) -> float:
    """CPU of one admission where all pools are at their limits, in ms."""
    names = [f"pool{number}" for number in range(pools)]
    limit = 6_000 / pools
    plant = Plant(
        servers=[SimulatedPool(name=name, keys=(name,), images_per_minute=None, max_concurrency=None) for name in names],
        clients=[client_pool(name, images_per_minute=limit, tokens_per_minute=1e9) for name in names],
        latency_s=1.0,
        jitter_s=0.0,
    )
    started = time.process_time()
    seen = plant.run(60.0)
    return (time.process_time() - started) * 1000 / len(seen.sent)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
