"""The page ``docs/performance.md``, from what the benchmarks keep as JSON; ``make performance`` runs them first.

    python benchmarks/performance.py FOLDER

FOLDER has ``peers.json``, ``headline.json``, ``limits.json``, ``unknown.json`` and ``scale.json``; the section of one that is missing stands
as it stood. Every figure of the page comes from there, those in sentences too.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import headline
import limits
import peers
import scale
import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Table = tuple[str, Sequence[str], Iterable[Sequence[str]]]

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
HEAD = """\
# Performance

What headrace makes of the limits that there are, what it is refused, and what a prompt costs, all against the simulated API. This page is
written by `make performance`; above each table is the command that makes it alone. In virtual time what is measured is the admission, over
loopback the whole program. A figure with a `!` misses its goal.
"""
FOOT = """\
## How to repeat it

`make performance` runs everything, makes the environments of the other clients, draws the plots and writes this page; with
`benchmarks/performance.py FOLDER` the page comes from figures that are there already. What is in virtual time gives the same figures
for the same seed (`--seed`); CPU and what goes over loopback differ from run to run. Each command ends with 1 where a goal was missed.
"""


def main() -> int:
    """Write the page; 2 where there is nothing to write it from."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the command and the folder
        print("usage: python benchmarks/performance.py FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    kept = {section.name: json.loads(path.read_text("utf-8")) for section in SECTIONS if (path := folder / f"{section.name}.json").exists()}
    if not kept:
        print(f"no figures in {folder}", file=sys.stderr)
        return 2
    PAGE.write_text(as_page(kept, PAGE.read_text("utf-8") if PAGE.exists() else ""), "utf-8")
    print(f"written: {PAGE}")
    return 0


def as_page(kept: Mapping[str, Any], before: str = "") -> str:
    """The page; the section of what is not ``kept`` stands as it stood in the page ``before``."""
    bodies = dict(part.split("\n", 1) for part in before.split("\n## ")[1:])
    bodies |= {section.title: _body(section, **kept[section.name]) for section in SECTIONS if section.name in kept}
    told = [f"## {section.title}\n\n{bodies[section.title].strip()}\n" for section in SECTIONS if section.title in bodies]
    return "\n".join([HEAD, *told, FOOT])


def _body(section: Section, machine: str, figures: Any) -> str:
    plots = [f"![{seen}](performance/{plot}.svg)" for plot, seen in section.plots.items()]
    tables = map(_table, section.tables(figures))
    command = f"`make {section.name}` ({machine})"
    return "\n\n".join([command, *section.before(figures), *plots, *tables, *section.after(figures)])


def _table(table: Table) -> str:
    title, columns, rows = table
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join([f"**{title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def _and(words: Iterable[object]) -> str:
    *most, last = map(str, words)
    return f"{', '.join(most)} and {last}" if most else last


def _peers(figures: Any) -> Iterator[str]:
    setup = figures["setup"]
    for workload in figures["workloads"]:
        paces, caps = zip(*workload["limits"], strict=True)
        capped = f"with {_and(caps)} calls at once" if all(caps) else f"and no limit of calls at once ({setup['at_once']} a key are allowed)"
        each = f"{_and(f'{pace:,}' for pace in paces)} images a minute"
        yield f"Workload {workload['number']}: {len(paces)} keys, {each}, {capped}; {workload['prompts']} prompts."
    yield (
        f"Over loopback, each client in a process of its own against a fresh server whose buckets hold {setup['burst_s']:g} s of their rate; "
        f"log-normal latency with a median of {setup['latency_s']:g} s. A client is stopped after {setup['bound_s']:g} s. The share is that "
        "of the pictures which the limits let through in the time that the client took: who gives prompts up ends early, and its share and "
        "its seconds are not to be compared. CPU is the client's, an answered prompt. How each is set up is told in `benchmarks/peer_*.py`."
    )


def _peers_after(figures: Any) -> Iterator[str]:
    goal = f"within {figures['setup']['cpu_goal']:g} times the leanest"
    yield f"The goal is to be first in every column (ties are first), and of CPU {goal}, where the others write no journal and sync nothing."
    yield "\n".join(f"- Missed: {missed}." for missed in figures["missed"]) or "It is met."


def _headline(figures: Any) -> Iterator[str]:
    yield (
        "What the article of July 2025 claims that this project grew from, what a naive client gets, and what headrace gets, in virtual time "
        "under the article's tiers (calls, tokens and calls at once; no limit of images). Chosen, since the article does not say it: "
        f"{sum(figures['faults'].values()):.0%} of the calls meet a fault, and {figures['repeats']:.0%} of the prompts ask for an earlier "
        f"one's picture. The price is all that is billed, over the pictures that came whole."
    )


def _headline_after(figures: Any) -> Iterator[str]:
    before, after = figures["article"].values()
    was, now = (next(claim for claim in figures["claims"] if claim["name"] == when) for when in figures["article"])
    factor, tiers = after["pictures_per_minute"] / before["pictures_per_minute"], now["requests_per_minute"] / was["requests_per_minute"]
    fault, slow = sum(figures["faults"].values()), before["latency_s"]
    yield (
        "- Latency is the server's, the same for every client: a client changes what a prompt takes by hits alone (`with hits s`).\n"
        f"- Of the article's factor of {factor:.1f}, {tiers:g} is the tier: {now['requests_per_minute']:g} calls a minute against "
        f"{was['requests_per_minute']:g}. A loop at {slow:g} s a call makes {60 / slow:.0f} a minute, not {was['calls']:.0f}.\n"
        "- A naive client several at once starts with a full bucket, a minute's limit, above the pace; once that is spent, refusals are "
        f"charged and it gives up what is left. {figures['headline'][-1]['prompts']:,} prompts do not spend it at tier {after['tier']}: it is "
        "fast there, and loses the prompts that meet a fault.\n"
        f"- headrace counts every call, also one that fails: {now['requests_per_minute']:g} calls a minute are at most "
        f"{now['requests_per_minute'] * (1 - fault):.0f} fresh pictures with these faults. It gives a prompt up after {figures['attempts']} "
        f"attempts: {fault ** figures['attempts'] * 10_000:.0f} in 10,000 meet as many faults in a row.\n"
        f"- At {slow:g} s a call, {now['max_concurrency']} at once are {now['max_concurrency'] * 60 / slow:.0f} a minute for any client: "
        f"what the article claims takes a server of {after['latency_s']:g} s."
    )


def _limits(figures: Any) -> Iterator[str]:
    goals = figures["goals"]
    yield (
        "A client that always has work, in virtual time; pictures of ten seconds, refused calls charged, log-normal delays each way. The goals "
        f"are {goals['share']:.0%} of the limit with {goals['refused']:.1%} of 429s, and {goals['share_by_less']:.0%} where a server counts by "
        "less than a minute."
    )


def _limits_after(figures: Any) -> Iterator[str]:
    missed = [cell for cell in figures["cells"] if cell["missed"]]
    if not missed:
        return
    least = {server: min(cell["limit"] for cell in missed if cell["server"] == server) for server in {cell["server"] for cell in missed}}
    why = {
        "bucket of a second": "It holds one picture where the limit is small: of two calls that delays bring closer together than the limit's "
        "pace the second is refused, and as it is charged, the bucket is empty again.",
        "sliding counter, 60 s": f"Of {{0}} a minute it lets {{less}} in that come evenly ({{ceiling:.0%}}): the last minute's count weighs on.",
        "fixed 1 s": "It lets whole calls in by the second, and delays push calls into a second that is full.",
        "sliding log, 60 s": "Delays press one call too many into a minute, where the limit is so small that they differ by more than "
        f"the {1 - figures['pace']:.0%} that headrace leaves.",
    }
    for server, limit in sorted(least.items()):
        if server in why:
            reason = why[server].format(limit, less=limit - 1, ceiling=(limit - 1) / limit)
            yield f"- **{server}**: {reason}"
    second = [cell["limit"] for cell in missed if cell["server"] == "fixed 1 s" and cell["limit"] % 60]
    if second:
        yield f"  Of {min(second):,} a minute {math.floor(min(second) / 60)} a second are {math.floor(min(second) / 60) * 60 / min(second):.0%}."
    lost = [cell for cell in missed if cell["share"] < cell["steady_share"]]
    yield (
        f"headrace takes such refusals for a lower limit and slows down. It is refused less than the same pace would be that never learns, and "
        f"in {len(lost)} of these {len(missed)} cells it uses less of the limit for it."
    )
