"""The main job over a real loopback server: three organisations, distinct prompts, and what the server's books say about it.

    python benchmarks/main_job.py [--prompts 600] [--file PROMPTS]

Organisations of 300, 600 and 1,200 images a minute with 5, 10 and 20 calls at once; continuous buckets of three seconds' rate, rejected
calls charged, log-normal latency with a median of 0.4 s. The share is counted at the server: calls that arrived after the first second,
which may carry a burst, against the sum of the limits over that time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from loopback import books, loopback_api
from prompt_files import prompts_of

from headrace.simulator import SimulatedPool, SimulatorSettings

POOLS = (("a", 300, 5), ("b", 600, 10), ("c", 1_200, 20))
BURST_S = 3.0
START_S = 1.0


def main() -> int:
    """Run it and print the table; 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=600)
    parser.add_argument("--file", type=Path, help="prompts, one a line, or a TSV with a column Prompt; made up where absent")
    options = parser.parse_args()
    prompts = list(dict.fromkeys(prompts_of(options.file) if options.file else _made_up(options.prompts)))[: options.prompts]
    pools = tuple(
        SimulatedPool(name=name, keys=(f"sk-bench-{name}",), images_per_minute=limit, max_concurrency=cap, burst_s=BURST_S)
        for name, limit, cap in POOLS
    )
    with loopback_api(SimulatorSettings(pools=pools, latency_s=0.4, pictures="template")) as url, tempfile.TemporaryDirectory() as folder:
        lines, status, summary = _run(url, Path(folder), prompts)
        seen = books(url)
        whole = sum(_whole(Path(folder), picture) for line in lines for picture in line["images"])
    counts, bill = Counter(seen["counts"]), seen["bill"]
    later = [at for at in seen["arrivals"] if at > min(seen["arrivals"]) + START_S]
    share = (len(later) - 1) / (max(later) - min(later)) * 60 / sum(limit for _, limit, _ in POOLS)
    rows = {
        "prompts": len(prompts),
        "lines ok": sum(line["status"] == "ok" for line in lines),
        "paid exactly once": sum(bill.get(prompt) == 1 for prompt in prompts),
        "paid more often": sum(times > 1 for times in bill.values()),
        "429s": counts["rate_limited"] + counts["slow_down"],
        "files with the right sha256": whole,
        "share of the limits after the start": f"{share:.1%}",
        "exit status": status,
    }
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name, value in rows.items():
        print(f"{name:36} {value}")
    print(summary, file=sys.stderr)
    kept = whole == len(prompts) == rows["lines ok"] == rows["paid exactly once"] and rows["429s"] == 0 and share >= 0.97  # noqa: PLR2004
    return 0 if kept and status == 0 else 1


def _run(url: str, folder: Path, prompts: list[str]) -> tuple[list[dict[str, Any]], int, str]:
    tables = [f'[provider]\nbase_url = "{url}"\n[cache]\ndir = "{folder}/cache"\npolicy = "exact"\n']
    for name, limit, cap in POOLS:
        tables.append(f'[[pool]]\nname = "{name}"\nimages_per_minute = {limit}\nmax_concurrency = {cap}\n')
        tables.append(f'[[key]]\nname = "{name}"\npool = "{name}"\nenv = "BENCH_{name}"\n')
    config = folder / "headrace.toml"
    config.write_text("".join(tables), "utf-8")
    command = [sys.executable, "-m", "headrace", "run", "-", "-c", str(config), "--out-dir", str(folder), "--format", "jsonl"]
    environment = {**os.environ, **{f"BENCH_{name}": f"sk-bench-{name}" for name, _, _ in POOLS}}
    text = "".join(json.dumps(prompt) + "\n" for prompt in prompts)
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=600, check=False)  # noqa: S603
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode, done.stderr


def _whole(folder: Path, picture: dict[str, str]) -> bool:
    return hashlib.sha256((folder / picture["path"]).read_bytes()).hexdigest() == picture["sha256"]


def _made_up(count: int) -> list[str]:
    things = ("a lighthouse", "two foxes", "a tram", "an orchard", "a violin", "three kites", "a glass teapot")
    places = ("in the rain", "at dawn", "on a hill", "under neon light", "in deep snow")
    return [f"{things[i % 7]} {places[i % 5]}, print number {i}" for i in range(count)]


if __name__ == "__main__":
    sys.exit(main())
