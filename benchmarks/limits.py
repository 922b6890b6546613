"""The share of a known limit that is used, and the 429s, over seven ways to count a minute.

    python benchmarks/limits.py [--seed 1] [--json FILE] [--plots DIR]

The gate of headrace in virtual time against the simulator's windows (``benchmarks/plant.py``): a client that always has work, pictures
of ten seconds, refused calls charged, and delays on the way whose median is 10, 30 and 100 ms (log-normal, sigma 1, each way). The share is
what the server let in after the first minute, out of the limit; the 429s are of all calls, the first minute's too.

The goals are 98 % of the limit with 0.1 % of 429s, and 93 % where a server counts by less than a minute: it lets whole calls in, so that
96 % of 500 a minute are all that there is by the second. A cell that misses them has a ``!``, and stands once more in the last table:
beside the same server under calls that leave 1 % slower than the limit and never learn.
"""

from __future__ import annotations

import math
import sys
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
from plant import Plant, client_pool
from reliability.simulation import pinned
from show import keep, machine, options, table

from headrace.simulator import SimulatedPool
from headrace.simulator.windows import make_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.simulator.settings import Discipline


@attrs.frozen
class Server:
    """A way to count."""

    name: str
    discipline: Discipline
    burst_s: float = 60.0
    window_s: float = 60.0
    by_minute: bool = True

    def pool(self, limit: float) -> SimulatedPool:
        """A pool that counts so."""
        return SimulatedPool(
            name="a",
            keys=("a",),
            images_per_minute=limit,
            max_concurrency=None,
            discipline=self.discipline,
            burst_s=self.burst_s,
            window_s=self.window_s,
        )


SERVERS = (
    Server("bucket of a minute", "continuous"),
    Server("bucket of a second", "continuous", burst_s=1.0),
    Server("sliding log, 60 s", "sliding"),
    Server("sliding counter, 60 s", "counter"),
    Server("fixed 60 s", "fixed"),
    Server("fixed 10 s", "fixed", window_s=10.0, by_minute=False),
    Server("fixed 1 s", "fixed", window_s=1.0, by_minute=False),
)
LIMITS = (5, 60, 500, 5_000)
JITTERS_S = (0.01, 0.03, 0.1)
MINUTES = {5: 60, 60: 30, 500: 10, 5_000: 3}
SHARE, REFUSED, SHARE_BY_LESS = 0.98, 0.001, 0.93
PACE = 0.99
FIRST_S = 60.0


def main() -> int:
    """Run it and print the tables; 1 where a goal was missed."""
    chosen = options(__doc__).parse_args()
    cells = [
        measure(server, limit, jitter_s, chosen.seed) | steadily(server, limit, jitter_s, chosen.seed)
        for jitter_s in JITTERS_S
        for server in SERVERS
        for limit in LIMITS
    ]
    figures = {"goals": {"share": SHARE, "refused": REFUSED, "share_by_less": SHARE_BY_LESS}, "pace": PACE, "cells": cells}
    print(machine())
    for each in tables(figures):
        table(*each)
    keep(chosen.json, figures)
    if chosen.plots is not None:
        _plot(chosen.plots / "limits.svg", cells)
    return 1 if any(cell["missed"] for cell in cells) else 0


def measure(server: Server, limit: int, jitter_s: float, seed: int) -> dict[str, Any]:
    """One cell of the tables."""
    plant = Plant(servers=[server.pool(limit)], clients=[client_pool("a", images_per_minute=limit)], jitter_s=jitter_s, seed=seed)
    seconds = MINUTES[limit] * 60.0
    with pinned(seed):
        seen = plant.run(seconds)
    share = seen.images_between(FIRST_S, seconds) / (limit * (seconds - FIRST_S) / 60)
    refused = seen.refused_between(0, seconds)
    missed = share < SHARE or refused > REFUSED if server.by_minute else share < SHARE_BY_LESS
    return {"server": server.name, "limit": limit, "jitter_s": jitter_s, "share": share, "refused": refused, "missed": missed}


def steadily(server: Server, limit: int, jitter_s: float, seed: int) -> dict[str, Any]:
    """The same server under calls that leave at one pace, whatever it says."""
    random, seconds = Random(seed), MINUTES[limit] * 60.0  # noqa: S311 - a simulation
    window = make_window(server.discipline, limit, burst_s=server.burst_s, window_s=server.window_s)
    apart_s = 60 / (PACE * limit)
    arrivals = sorted(call * apart_s + jitter_s * random.lognormvariate(0, 1) for call in range(math.floor(seconds / apart_s)))
    let_in = []
    for at in arrivals:
        if window.wait_s(1, at) == 0:
            let_in.append(at)
        window.charge(1, at)
    share = sum(FIRST_S <= at < seconds for at in let_in) / (limit * (seconds - FIRST_S) / 60)
    return {"steady_share": share, "steady_refused": 1 - len(let_in) / len(arrivals)}


def tables(figures: dict[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Titles, columns and rows, from what ``--json`` keeps."""
    cells = figures["cells"]
    limits = list(dict.fromkeys(cell["limit"] for cell in cells))
    for jitter_s in dict.fromkeys(cell["jitter_s"] for cell in cells):
        rows: dict[str, list[str]] = {}
        for cell in cells:
            if cell["jitter_s"] == jitter_s:
                rows.setdefault(cell["server"], [cell["server"]]).append(_cell(cell["share"], cell["refused"]) + " !" * cell["missed"])
        columns = ["share of the limit / 429s", *(f"{limit:,}/min" for limit in limits)]
        yield f"delays with a median of {_ms(jitter_s)}", columns, list(rows.values())
    missed = [
        [
            f"{cell['server']}, {cell['limit']:,}/min",
            _ms(cell["jitter_s"]),
            _cell(cell["share"], cell["refused"]),
            _cell(cell["steady_share"], cell["steady_refused"]),
        ]
        for cell in sorted(cells, key=lambda cell: cell["server"])
        if cell["missed"]
    ]
    yield "where a goal is missed", ["", "delays", "headrace", f"{figures['pace']:.0%} of the limit, never learning"], missed


def _cell(share: float, refused: float) -> str:
    return f"{share:.1%} / {refused:.2%}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"


def _plot(path: Path, cells: list[dict[str, Any]]) -> None:
    from plots import heat  # noqa: PLC0415 - matplotlib only where plots are asked for

    shares = {
        f"delays of {_ms(jitter_s)}": [
            [(cell["share"], cell["missed"]) for cell in cells if cell["jitter_s"] == jitter_s and cell["server"] == server.name]
            for server in SERVERS
        ]
        for jitter_s in JITTERS_S
    }
    columns = [f"{limit:,}/min" for limit in LIMITS]
    heat(path, "share of the limit that is used, %; framed where a goal is missed", [server.name for server in SERVERS], columns, shares)


if __name__ == "__main__":
    sys.exit(main())
