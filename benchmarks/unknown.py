"""Limits that are wrong, unknown, changed in mid-run or shared: what is used of what was there, and how soon after a change.

    python benchmarks/unknown.py [--seed 1] [--json FILE] [--plots DIR]

The gate of headrace in virtual time (``benchmarks/plant.py``): a bucket of a minute with 300 images a minute unless the row says otherwise,
pictures of ten seconds, refused calls charged, delays of 30 ms each way, twenty minutes; a change comes after ten. The columns are what the
server's refusals say: their numbers (as the vendor's do), a time to wait, or nothing at all. A share is of what was there after the
first minute, and may be more than all of it: the bucket is full at the start, and who learns of the limit by running into it, or keeps the
same pace beside a stranger, draws that minute's pictures too. A stranger's share is what it got of what it asked for. Recovery: seconds
from the change until half a minute holds 90 % of what is there from then on, with no more than 2 % of 429s.

Each cell is the mean of three seeds, and the longest recovery among them.

The goals are 90 % of what is there, 1 % of 429s, a recovery within a minute, and 97 % for a stranger; a cell that misses them has a ``!``.
"""

from __future__ import annotations

import sys
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import attrs
import trio
from plant import Plant, client_pool
from reliability.simulation import pinned
from show import keep, machine, options, table

from headrace.simulator import SimulatedPool, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from plant import Seen

    from headrace.admission.pool import Pool
    from headrace.simulator import World

LIMIT = 300.0
SECONDS, CHANGE_S, FIRST_S = 1_200.0, 600.0, 60.0
WINDOW_S = 30.0
STYLES = ("full", "hint", "bare")
SEEDS = 3
NEVER = "never"
SHOWN = "full"
"""What refuses in the plot."""
BIN_S = 15.0
SHARE, REFUSED, RECOVERY_S, STRANGER = 0.9, 0.01, 60.0, 0.97


@attrs.frozen(kw_only=True)
class Case:
    """One thing that goes wrong."""

    name: str
    clients: Callable[[], Sequence[Pool]]
    servers: Sequence[SimulatedPool] = ()
    then: Callable[[World], Awaitable[None]] | None = None
    """What happens after ten minutes."""
    there: tuple[float, float] = (LIMIT, LIMIT)
    """Images a minute for us, before the change and after it."""
    stranger: bool = False
    plotted: bool = False


def _server(*, keys: tuple[str, ...] = ("a",), **fields: Any) -> SimulatedPool:
    given: dict[str, Any] = {"name": keys[0], "keys": keys, "images_per_minute": LIMIT, "max_concurrency": None, **fields}
    return SimulatedPool(**given)


async def _after(world: World, act: Callable[[World], None]) -> None:
    await trio.sleep(CHANGE_S)
    act(world)


def _limit(limit: float) -> Callable[[World], Awaitable[None]]:
    return partial(_after, act=lambda world: world.change_limit("a", images_per_minute=limit))


def _calls(before: int, after: int) -> dict[str, Any]:
    """A limit of calls at once alone; they take 10.63 s on average."""
    return {
        "servers": [_server(images_per_minute=None, max_concurrency=before)],
        "then": partial(_after, act=lambda world: world.change_limit("a", max_concurrency=after)),
        "there": (before * 60 / 10.63, after * 60 / 10.63),
    }


async def _stranger(world: World) -> None:
    await trio.sleep(CHANGE_S)
    await world.stranger("a", 0.3 * LIMIT)


def _told(limit: float | None, *, exceed: bool = False) -> Callable[[], Sequence[Pool]]:
    limits: dict[str, Any] = {} if limit is None else {"images_per_minute": limit}
    return lambda: [client_pool("a", exceed=exceed, **limits)]


def _two() -> Sequence[Pool]:
    return [client_pool(name, images_per_minute=LIMIT) for name in ("a", "b")]


CASES = (
    Case(name="told 20 % too high", clients=_told(1.2 * LIMIT), plotted=True),
    Case(name="told 50 % too low, may be exceeded", clients=_told(0.5 * LIMIT, exceed=True)),
    Case(name="not told at all", clients=_told(None), plotted=True),
    Case(name="told, then cut by half", clients=_told(LIMIT), then=_limit(LIMIT / 2), there=(LIMIT, LIMIT / 2), plotted=True),
    Case(name="not told, then cut by half", clients=_told(None), then=_limit(LIMIT / 2), there=(LIMIT, LIMIT / 2)),
    Case(name="not told, then doubled", clients=_told(None), then=_limit(2 * LIMIT), there=(LIMIT, 2 * LIMIT), plotted=True),
    Case(
        name="told, then a stranger takes 30 %",
        clients=_told(LIMIT),
        then=_stranger,
        there=(LIMIT, 0.7 * LIMIT),
        stranger=True,
        plotted=True,
    ),
    Case(
        name="a key that dies beside one that lives",
        clients=_two,
        servers=[_server(), _server(keys=("b",))],
        then=partial(_after, act=lambda world: world.revoke("b")),
        there=(2 * LIMIT, LIMIT),
    ),
    Case(name="an organisation hidden behind two keys", clients=_two, servers=[_server(keys=("a", "b"))]),
    Case(name="24 calls at once, not told, then 12", clients=_told(None), **_calls(24, 12), plotted=True),
    Case(name="12 calls at once, not told, then 48", clients=_told(None), **_calls(12, 48)),
)


def main() -> int:
    """Run it and print the table; 1 where a goal was missed."""
    chosen = options(__doc__).parse_args()
    cells: list[dict[str, Any]] = []
    seen: dict[str, Seen] = {}
    for case in CASES:
        for style in STYLES:
            runs = [measure(case, style, chosen.seed + number) for number in range(SEEDS)]
            cell = together([cell for cell, _ in runs])
            cells.append(cell | {"missed": not good(cell)})
            if style == SHOWN:
                seen[case.name] = runs[0][1]
    goals = {"share": SHARE, "refused": REFUSED, "recovery_s": RECOVERY_S, "stranger": STRANGER}
    figures = {"limit": LIMIT, "seeds": SEEDS, "seconds": SECONDS, "change_s": CHANGE_S, "goals": goals, "cells": cells}
    print(machine())
    for each in tables(figures):
        table(*each)
    keep(chosen.json, figures)
    if chosen.plots is not None:
        _plot(chosen.plots / "unknown.svg", seen)
    return 1 if any(cell["missed"] for cell in cells) else 0


def measure(case: Case, style: str, seed: int) -> tuple[dict[str, Any], Seen]:
    """One case against one way to refuse."""
    plant = Plant(
        servers=case.servers or [_server()],
        clients=case.clients(),
        settings=SimulatorSettings(refusals=style, seed=seed),  # type: ignore[arg-type]  # one of the three
        seed=seed,
    )
    worlds: list[World] = []

    async def note(world: World) -> None:
        worlds.append(world)

    with pinned(seed):
        seen = plant.run(SECONDS, note, *([case.then] if case.then else []))
    before, after = case.there
    there = before * (CHANGE_S - FIRST_S) / 60 + after * (SECONDS - CHANGE_S) / 60
    record = worlds[0].strangers[(case.servers or [_server()])[0].name]
    cell = {
        "case": case.name,
        "refusals": style,
        "share": seen.images_between(FIRST_S, SECONDS) / there,
        "refused": seen.refused_between(FIRST_S, SECONDS),
        "recovery_s": _recovery_s(seen, after) if before != after else None,
        "stranger": record.served / record.asked if case.stranger else None,
    }
    return cell, seen


def together(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The cells of several seeds as one: means, and the longest recovery."""
    means = {name: None if cells[0][name] is None else fmean(cell[name] for cell in cells) for name in ("share", "refused", "stranger")}
    recoveries = [cell["recovery_s"] for cell in cells]
    longest = None if recoveries[0] is None else NEVER if NEVER in recoveries else max(recoveries)
    return {**cells[0], **means, "recovery_s": longest}


def _recovery_s(seen: Seen, there: float) -> float | str:
    second = CHANGE_S
    while second + WINDOW_S <= SECONDS:
        rate = seen.images_between(second, second + WINDOW_S) * 60 / WINDOW_S
        if SHARE * there <= rate and seen.refused_between(second, second + WINDOW_S) <= 2 * REFUSED:
            return second - CHANGE_S
        second += 1
    return NEVER


def tables(figures: dict[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and rows, from what ``--json`` keeps."""
    rows: dict[str, list[str]] = {}
    for cell in figures["cells"]:
        rows.setdefault(cell["case"], [cell["case"]]).append(_cell(cell))
    styles = dict.fromkeys(cell["refusals"] for cell in figures["cells"])
    yield "share of what was there / 429s after the first minute / recovery / a stranger's share", ["", *styles], list(rows.values())


def good(cell: dict[str, Any]) -> bool:
    """Whether the goals are met."""
    recovered = cell["recovery_s"] is None or (cell["recovery_s"] != NEVER and cell["recovery_s"] <= RECOVERY_S)
    unharmed = cell["stranger"] is None or cell["stranger"] >= STRANGER
    return cell["share"] >= SHARE and cell["refused"] <= REFUSED and recovered and unharmed


def _cell(cell: dict[str, Any]) -> str:
    more = [] if cell["recovery_s"] is None else [NEVER if cell["recovery_s"] == NEVER else f"{cell['recovery_s']:.0f} s"]
    more += [f"{cell['stranger']:.1%}"] if cell["stranger"] is not None else []
    mark = " !" if cell["missed"] else ""
    return " / ".join([f"{cell['share']:.1%}", f"{cell['refused']:.2%}", *more]) + mark


def _plot(path: Path, seen: dict[str, Seen]) -> None:
    from plots import Course, courses, peaks, per_minute  # noqa: PLC0415 - matplotlib only where plots are asked for

    runs = []
    for case in CASES:
        if case.plotted:
            before, after = case.there
            runs.append(
                Course(
                    name=case.name,
                    rates=per_minute(seen[case.name].served, BIN_S, SECONDS),
                    there=[(0.0, before), (CHANGE_S / 60, after), (SECONDS / 60, after)],
                    # Those of a second are one tick.
                    refused=sorted({round(at) / 60 for at in seen[case.name].refused}),
                    in_flight=peaks(seen[case.name].in_flight, BIN_S),
                )
            )
    courses(path, "images a minute that the server lets in; where something changes, it does after ten minutes", runs, beside=3)


if __name__ == "__main__":
    sys.exit(main())
