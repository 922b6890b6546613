"""Whether memory grows with a table: the peak RSS of a run from Parquet to Parquet over many rows against one over few.

    python benchmarks/parquet.py [--rows 1000000] [--against 10000]

The prompts lie in row groups as large as pandas writes them, a million rows; one in a thousand is new, every row has metadata, and the
API is a server in another process.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from loopback import loopback_api

from headrace.simulator import SimulatedPool, SimulatorSettings

GOAL = 1.15
REPEATS = 1000


def main() -> int:
    """Run it and print the table; 1 where the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--against", type=int, default=10_000)
    options = parser.parse_args()
    pool = SimulatedPool(keys=(), images_per_minute=None, max_concurrency=None)
    with loopback_api(SimulatorSettings(pools=(pool,), latency_s=0.05, pictures="template")) as url:
        measured = {rows: _measured(url, rows) for rows in (options.against, options.rows)}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, pyarrow {pa.__version__}")
    print(f"{'rows':>10} {'in MB':>8} {'out MB':>8} {'peak RSS MB':>12} {'seconds':>8} {'rows/s':>8}")
    for rows, (size, written, peak, seconds) in measured.items():
        print(f"{rows:10,} {size / 1e6:8.1f} {written / 1e6:8.1f} {peak / 1024:12.1f} {seconds:8.1f} {rows / seconds:8,.0f}")
    ratio = measured[options.rows][2] / measured[options.against][2]
    print(f"ratio {ratio:.3f} (goal: at most {GOAL})")
    return 0 if ratio <= GOAL else 1


def _measured(url: str, rows: int) -> tuple[int, int, int, float]:
    """Bytes read and written, peak RSS in KB, seconds."""
    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("wb") as nowhere:
        folder = Path(name)
        source, output = folder / "prompts.parquet", folder / "results.parquet"
        # A process starts with the peak of whoever starts it, so that the table must not have been in here.
        writer = get_context("spawn").Process(target=_write, args=(source, rows))
        writer.start()
        writer.join()
        config = folder / "headrace.toml"
        config.write_text(
            f'[provider]\nbase_url = "{url}"\n[cache]\ndir = "{folder}/cache"\npolicy = "exact"\n'
            '[[pool]]\nname = "bench"\nmax_concurrency = 32\n'
        )
        command = [sys.executable, "-m", "headrace", "run", str(source), "-o", str(output), "-c", str(config), "--out-dir", f"{folder}/out"]
        started = time.perf_counter()
        process = subprocess.Popen(command, stderr=nowhere, env={**os.environ, "OPENAI_API_KEY": "sk-bench"})  # noqa: S603 - our own
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"the run ended with status {process.returncode}")
        table = pq.read_metadata(output)
        if table.num_rows != rows:
            raise SystemExit(f"{table.num_rows:,} rows came out of {rows:,}")
        return source.stat().st_size, output.stat().st_size, used.ru_maxrss, seconds


def _write(path: Path, rows: int) -> None:
    numbers = range(rows)
    table = pa.table(
        {
            "prompt": [f"a lighthouse, print number {number // REPEATS}" for number in numbers],
            "id": [f"row-{number}" for number in numbers],
            "campaign": [number % 97 for number in numbers],
            "note": [f"what the caller keeps of row {number}" for number in numbers],
        }
    )
    pq.write_table(table, path)


if __name__ == "__main__":
    sys.exit(main())
