"""The same work with two actors of Ray, with one, and without Ray: how much of a limit is used, what a killed actor costs, and a row.

    python benchmarks/on_ray.py [--limit 1200] [--rows 1000] [--json FILE]

(A script of the name ray.py would be what ``import ray`` finds.) In real time, against a server on loopback that counts the last 60 s to
the instant and charges refused calls too; pictures take 2 s in the median. Debian's redis-server on a free port, and a Ray of its own with
two CPUs. Five minutes:

* without Ray, one actor, two actors: the same rows, each time with a server and a cache of its own;
* killed: two actors, and one of them gets SIGKILL when a third of the rows is paid for; half of the rows go round the cache, so that only
  the name of the job keeps them from being paid for twice;
* a row: a server without limits that answers at once, without Ray and with one actor, from the first call to the last.

A share is of the calls that arrived in what the limit lets in between the first and the last of them. Exit status 1 where less than 97 %
was used, a call was refused, a row was lost or more was paid twice than was in flight.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopback import books, loopback_api
from shared_quota import redis
from show import keep, machine, options, table

import headrace
from headrace.simulator import SimulatedPool, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MINUTE_S = 60.0
GOAL = 0.97
LATENCY_S = 2.0
ROWS_AT_ONCE = 1500
REQUEST = {"size": "816x816", "quality": "low", "output_format": "webp", "output_compression": 70}
WAYS = {"without Ray": 0, "one actor": 1, "two actors": 2}


def main() -> int:
    """Run it and print the tables; 1 where a goal was missed."""
    parser = options(__doc__, seed=None)
    parser.add_argument("--limit", type=int, default=1200, help="images a minute")
    parser.add_argument("--rows", type=int, default=1000)
    chosen = parser.parse_args()
    os.environ |= {"BENCH_KEY": "sk-bench", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory() as folder, redis(Path(folder)) as (_, port), cluster():
        job = Job(Path(folder), port, chosen.limit, chosen.rows)
        shares = {way: job.paced(way, actors) for way, actors in WAYS.items()}
        killed = job.killed()
        rows = {way: job.at_once(actors) for way, actors in list(WAYS.items())[:2]}
    print(machine())
    _show(chosen, shares, killed, rows)
    keep(chosen.json, {"limit": chosen.limit, "rows": chosen.rows, "shares": shares, "killed": killed, "a_row": rows})
    short = any(way["share"] < GOAL or way["refused"] for way in shares.values())
    return 1 if short or killed["lost"] or killed["paid_twice"] > killed["in_flight"] else 0


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray with two CPUs."""
    import ray.data  # noqa: PLC0415 - two seconds, which the server's process does not need

    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


class Job:
    """The work, below a folder."""

    def __init__(self, folder: Path, port: int, limit: int, rows: int) -> None:
        self._folder = folder
        self._port = port
        self._limit = limit
        self._rows = rows

    def paced(self, way: str, actors: int) -> dict[str, Any]:
        """How much of the limit one way uses."""
        with loopback_api(self._server()) as url:
            settings = self._settings(way.replace(" ", "-"), url, shared=actors > 1)
            statuses = Counter(self._answered([{"prompt": f"print number {n}"} for n in range(self._rows)], settings, actors))
            seen = books(url)
        at = seen["arrivals"]
        refused = sum(number for outcome, number in seen["counts"].items() if outcome != "ok")
        return {"share": (len(at) - 1) * MINUTE_S / (self._limit * (at[-1] - at[0])), "refused": refused, "statuses": statuses}

    def killed(self) -> dict[str, Any]:
        """What it costs when one of two actors is killed."""
        rows = [{"prompt": f"print number {n}", "cache": "bypass" if n % 2 else "use"} for n in range(self._rows)]
        found: list[str] = []
        with loopback_api(self._server()) as url:
            settings = self._settings("killed", url, shared=True)
            job = threading.Thread(target=lambda: found.extend(self._answered(rows, settings, 2)), daemon=True)
            job.start()
            while sum(books(url)["bill"].values()) < self._rows / 3:
                time.sleep(0.2)
            seen = books(url)
            os.kill(min(_actors()), signal.SIGKILL)
            in_flight = len(seen["arrivals"]) - sum(seen["counts"].values())
            job.join()
            paid = books(url)["bill"]
        twice = sum(paid.values()) - len(paid)
        return {"paid_twice": twice, "in_flight": in_flight, "lost": self._rows - found.count("ok")}

    def at_once(self, actors: int) -> float:
        """Milliseconds a row from the first call to the last, where nothing else takes time."""
        with loopback_api(SimulatorSettings(latency_s=0.0, pictures="template")) as url:
            settings = self._settings(f"{actors}-at-once", url, shared=False, limit=None)
            list(self._answered([{"prompt": f"print number {n}"} for n in range(ROWS_AT_ONCE)], settings, actors))
            at: list[float] = books(url)["arrivals"]
        return 1000 * (at[-1] - at[0]) / len(at)

    def _server(self) -> SimulatorSettings:
        pool = SimulatedPool(keys=(), images_per_minute=self._limit, max_concurrency=None, discipline="sliding")
        return SimulatorSettings(pools=(pool,), latency_s=LATENCY_S, pictures="template")

    def _settings(self, name: str, url: str, *, shared: bool, limit: float | None = 0) -> headrace.Settings:
        folder = self._folder / name
        (folder / "shared").mkdir(parents=True)
        store = {"quota": {"store": f"redis://127.0.0.1:{self._port}", "namespace": name}} if shared else {}
        place = {"shared": str(folder / "shared")} if shared else {}
        return headrace.Settings.from_dict(
            {
                "request": REQUEST,
                "provider": {"base_url": url},
                "pool": [{"name": "studio"} | ({} if limit is None else {"images_per_minute": self._limit})],
                "key": [{"name": "studio-a", "pool": "studio", "env": "BENCH_KEY"}],
                "cache": {"policy": "exact", "dir": str(folder / "cache"), **place},
                "run": {"out_dir": str(folder / "out")} | ({"max_in_flight": 128} if limit is None else {}),
                **store,
            },
        )

    def _answered(self, rows: list[dict[str, Any]], settings: headrace.Settings, actors: int) -> Iterable[str]:
        if not actors:
            yield from (result.status for result in headrace.generate(rows, settings))
            return
        import ray.data  # noqa: PLC0415 - as above

        given = ray.data.from_items(rows, override_num_blocks=1)
        drawn = headrace.ray.generate(given, settings, concurrency=actors)
        yield from (row["headrace_status"] for row in drawn.iter_rows())


def _actors() -> list[int]:
    """Processes of this process's Ray in which lines run."""
    command = b"ray::MapWorker"
    found = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if path.read_bytes().startswith(command)]
    return [pid for pid in found if _parent(_parent(pid)) == os.getpid()]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _show(chosen: Any, shares: dict[str, Any], killed: dict[str, Any], rows: dict[str, float]) -> None:
    title = f"{chosen.rows:,} rows, {chosen.limit:,} images a minute"
    table(title, ["", "share of the limit", "refused"], [[way, f"{seen['share']:.1%}", seen["refused"]] for way, seen in shares.items()])
    print(
        f"one of two actors killed: {killed['lost']} rows lost, {killed['paid_twice']} pictures paid twice; in flight {killed['in_flight']}"
    )
    table("no limit, no latency", ["", "ms a row"], [[way, f"{taken:.1f}"] for way, taken in rows.items()])


if __name__ == "__main__":
    sys.exit(main())
