"""Whether memory grows with the input: the peak RSS of a run over many lines against one over few.

    python benchmarks/memory.py [--lines 1000000] [--against 10000]

Lines come through stdin, one in a thousand is new, results go to /dev/null, and the API is a server in another process.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from loopback import loopback_api

from headrace.simulator import SimulatedPool, SimulatorSettings

GOAL = 1.15
REPEATS = 1000


def main() -> int:
    """Run it and print the table; 1 where the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--against", type=int, default=10_000)
    options = parser.parse_args()
    pool = SimulatedPool(keys=(), images_per_minute=None, max_concurrency=None)
    with loopback_api(SimulatorSettings(pools=(pool,), latency_s=0.05, pictures="template")) as url:
        measured = {lines: _peak(url, lines) for lines in (options.against, options.lines)}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'lines':>10} {'peak RSS MB':>12} {'seconds':>8} {'lines/s':>8}")
    for lines, (peak, seconds) in measured.items():
        print(f"{lines:10,} {peak / 1024:12.1f} {seconds:8.1f} {lines / seconds:8,.0f}")
    ratio = measured[options.lines][0] / measured[options.against][0]
    print(f"ratio {ratio:.3f} (goal: at most {GOAL})")
    return 0 if ratio <= GOAL else 1


def _peak(url: str, lines: int) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("wb") as nowhere:
        config = Path(folder) / "headrace.toml"
        config.write_text(
            f'[provider]\nbase_url = "{url}"\n[cache]\ndir = "{folder}/cache"\npolicy = "exact"\n'
            '[[pool]]\nname = "bench"\nmax_concurrency = 32\n'
        )
        command = [sys.executable, "-m", "headrace", "run", "-c", str(config), "--out-dir", f"{folder}/out", "--format", "text"]
        environment = {**os.environ, "OPENAI_API_KEY": "sk-bench"}
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, env=environment)  # noqa: S603
        feeder = threading.Thread(target=_feed, args=(process, lines))
        feeder.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        feeder.join()
    if process.returncode != 0:
        raise SystemExit(f"the run ended with status {process.returncode}")
    return used.ru_maxrss, time.perf_counter() - started


def _feed(process: subprocess.Popen[bytes], lines: int) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    with process.stdin as stdin:
        for start in range(0, lines, REPEATS):
            stdin.write(b"a lighthouse, print number %d\n" % (start // REPEATS) * REPEATS)


if __name__ == "__main__":
    sys.exit(main())
