"""headrace beside what else does this job, over real loopback: the same prompts, limits and latencies for everybody.

    python benchmarks/peers.py [--only NAME] [--workload 1|2] [--prompts N] [--litellm-python PYTHON]

Workload 1: three keys of 300, 600 and 1,200 images a minute with 5, 10 and 20 calls at once, 700 prompts. Workload 2: four keys of 120 a
minute and no limit of calls at once, 160 prompts; a client that has to be told a number is told 10 a key. Requests a minute are limited
to as many as images, buckets refill all the time and hold three seconds of their rate, latency is log-normal with a median of 0.4 s and
the same for a prompt whoever asks. Each runs once with refused calls free and once with refused calls charged to the limits, which is
what the vendor does.

Every client runs in a process of its own against a fresh server in another, gets the same parameters, ends with the pictures in files, and
is stopped after 150 s. How each is set up, by its own documentation, is in the docstrings of ``peer_*.py``. The columns:

answered     prompts whose picture is in a file
share        answered prompts, of the pictures that the limits let through in the time that the client took: full buckets + rate x time
429s         calls that the server refused for their pace, or for too many at once
paid twice   prompts whose picture the server made more than once
seconds      from the first prompt to the end of the last, or to the bound
CPU ms       of the client's process with its threads, an answered prompt; its start-up and its imports are left out

A client that gives up more than one prompt in a hundred ends early, while the full buckets of the start still count for much: its share and
its seconds cannot be compared with those of a client that answers them. headrace runs with the cache policy ``exact``, for nobody else has
a cache of meanings.

LiteLLM wants an older SDK than the newest, so it needs an environment of its own, which ``--litellm-python`` names.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from loopback import books, loopback_api
from peer_job import Job, Key, Report
from peer_row import COLUMNS, CPU_GOAL, OURS, Row, behind
from show import keep, machine, options, table

from headrace.simulator import SimulatedPool, SimulatorSettings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence

HERE = Path(__file__).parent
REQUEST = {"model": "gpt-image-2.5-flare", "size": "816x816", "quality": "low", "output_format": "webp", "output_compression": 70}
BURST_S = 3.0
LATENCY_S = 0.4
BOUND_S = 150.0
GRACE_S = 60.0
"""For start-up and for a client that does not stop when it is told to."""
AT_ONCE = 10


@attrs.frozen
class Workload:
    """Keys with their images a minute and their calls at once, and how many prompts."""

    number: int
    limits: tuple[tuple[int, int | None], ...]
    prompts: int


@attrs.frozen
class Client:
    """Somebody who does the job."""

    name: str
    label: str
    script: str
    how: str = ""
    packages: tuple[str, ...] = ()
    """What it needs, as pip is told it; the first is what it is called after."""
    apart: bool = False
    """Whether it needs another interpreter than the others."""


WORKLOADS = (
    Workload(1, ((300, 5), (600, 10), (1_200, 20)), 700),
    Workload(2, ((120, None),) * 4, 160),
)
SDK, LIMITER, LITELLM, AIOHTTP = "openai==3.57.0", "aiolimiter==1.3.0", "litellm==1.106.0", "aiohttp==3.14.5"
CLIENTS = (
    Client("sdk", "official SDK", "peer_sdk.py", "plain", (SDK,)),
    Client("aiolimiter", "official SDK, aiolimiter", "peer_sdk.py", "burst", (LIMITER, SDK)),
    Client("aiolimiter-paced", "official SDK, aiolimiter paced", "peer_sdk.py", "paced", (LIMITER, SDK)),
    Client("litellm-shuffle", "LiteLLM Router, simple-shuffle", "peer_litellm.py", "simple-shuffle", (LITELLM,), apart=True),
    Client("litellm-usage", "LiteLLM Router, usage-based-v2", "peer_litellm.py", "usage-based-routing-v2", (LITELLM,), apart=True),
    Client("article", "the article's balancer", "peer_article.py", packages=(AIOHTTP,)),
    Client("headrace", OURS, "peer_headrace.py", "exact"),
)


def main() -> int:
    """Run them and print a table for each workload; 1 where headrace is not first in a column, or a client broke down."""
    parser = options(__doc__, seed=0)
    parser.add_argument("--only", action="append", choices=[client.name for client in CLIENTS], help="run this client; may be repeated")
    parser.add_argument("--workload", type=int, choices=[workload.number for workload in WORKLOADS], help="run this workload alone")
    parser.add_argument("--prompts", type=int, help="at most so many")
    parser.add_argument("--litellm-python", default=sys.executable, metavar="PYTHON", help="interpreter of an environment with LiteLLM")
    given = parser.parse_args()
    print(machine())
    ready = list(_ready(given))
    figures: list[dict[str, Any]] = []
    missed: list[str] = []
    for workload in WORKLOADS:
        for charged in (False, True) if given.workload in (None, workload.number) else ():
            rows = [row for client, python in ready if (row := _row(client, python, workload, charged, given)) is not None]
            run = {"workload": workload.number, "charged": charged, "rows": [attrs.asdict(row) for row in rows]}
            figures.append(run)
            title, columns, shown = next(tables([run]))
            table(title, columns, shown)
            missed += [f"{title}: headrace is not first in {column}" for column in behind(rows)]
            if len(rows) < len(ready):
                missed.append(f"{title}: {len(ready) - len(rows)} clients broke down")
            if given.plots and charged:
                _plot(given.plots / f"peers-{workload.number}.svg", title, rows)
    for what in missed:
        print(what)
    workloads = [{**attrs.asdict(workload), "prompts": _size(workload, given)} for workload in WORKLOADS]
    setup = {"burst_s": BURST_S, "latency_s": LATENCY_S, "bound_s": BOUND_S, "at_once": AT_ONCE, "cpu_goal": CPU_GOAL}
    keep(given.json, {"setup": setup, "workloads": workloads, "runs": figures, "missed": missed})
    return 1 if missed else 0


def tables(runs: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    """Titles, columns and rows, from the runs that ``--json`` keeps."""
    for run in runs:
        title = f"workload {run['workload']}, refused calls {'charged' if run['charged'] else 'free'}"
        yield title, COLUMNS, [Row(**row).cells() for row in run["rows"]]


def _size(workload: Workload, given: argparse.Namespace) -> int:
    return min(workload.prompts, given.prompts or workload.prompts)


def _ready(given: argparse.Namespace) -> Iterator[tuple[Client, str]]:
    for client in CLIENTS:
        if given.only and client.name not in given.only:
            continue
        python = given.litellm_python if client.apart else sys.executable
        missing = [package for package in client.packages if not _installed(python, package.partition("==")[0])]
        if not missing:
            yield client, python
        elif client.apart:
            print(f"{client.name}: not installed; python -m pip install {' '.join(missing)}, in an environment for --litellm-python")
        else:
            print(f"{client.name}: not installed; {python} -m pip install {' '.join(missing)}")


def _installed(python: str, package: str) -> bool:
    ask = f"from importlib.util import find_spec; raise SystemExit(find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", ask], check=False).returncode == 0  # noqa: S603 - the user's own interpreter


def _row(client: Client, python: str, workload: Workload, charged: bool, given: argparse.Namespace) -> Row | None:
    keys = [
        Key(name=f"k{i}", secret=f"sk-bench-{i}", per_minute=limit, at_once=cap or AT_ONCE, at_once_is_limit=cap is not None)
        for i, (limit, cap) in enumerate(workload.limits)
    ]
    pools = [
        SimulatedPool(
            name=key.name,
            keys=(key.secret,),
            images_per_minute=key.per_minute,
            requests_per_minute=key.per_minute,
            max_concurrency=key.at_once if key.at_once_is_limit else None,
            burst_s=BURST_S,
        )
        for key in keys
    ]
    count = _size(workload, given)
    prompts = tuple(f"a lighthouse on a hill, print number {i}" for i in range(count))
    settings = SimulatorSettings(pools=tuple(pools), charge_rejected=charged, latency_s=LATENCY_S, pictures="template", seed=given.seed)
    with loopback_api(settings) as url, tempfile.TemporaryDirectory() as folder:
        job = Job(url=url, keys=tuple(keys), request=REQUEST, prompts=prompts, bound_s=BOUND_S, folder=folder, how=client.how)
        report = _apart(client, python, job)
        seen = books(url)
    if report is None:
        return None
    print(f"{client.name}: {report}", file=sys.stderr)
    full = sum(max(1.0, key.per_minute * BURST_S / 60) for key in keys)
    ideal = full + sum(key.per_minute for key in keys) / 60 * report.seconds
    return Row(
        client=client.label,
        prompts=len(prompts),
        answered=report.answered,
        share=report.answered / ideal,
        refused=seen["counts"].get("rate_limited", 0) + seen["counts"].get("slow_down", 0),
        paid_twice=sum(times > 1 for times in seen["bill"].values()),
        paid=sum(seen["bill"].values()),
        seconds=report.seconds,
        cpu_ms=report.cpu_s * 1000 / report.answered if report.answered else None,
        problems=report.problems,
    )


def _apart(client: Client, python: str, job: Job) -> Report | None:
    # A process each: what one of them leaves behind must not be the other's cost.
    command, text = [python, str(HERE / client.script)], job.to_json()
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=job.bound_s + GRACE_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        print(f"{client.name}: did not stop")
        return None
    if done.returncode != 0:
        print(f"{client.name}: ended with status {done.returncode}: {done.stderr[-2000:]}")
        return None
    return Report(**json.loads(done.stdout.splitlines()[-1]))


def _plot(path: Path, title: str, rows: Sequence[Row]) -> None:
    from plots import bars  # noqa: PLC0415 - matplotlib only where plots are asked for

    panels = {
        "prompts answered, %": [100 * row.answered / row.prompts for row in rows],
        "share of the limits, %": [100 * row.share for row in rows],
        "429s": [float(row.refused) for row in rows],
    }
    bars(path, title, [row.client for row in rows], panels, OURS)


if __name__ == "__main__":
    sys.exit(main())
