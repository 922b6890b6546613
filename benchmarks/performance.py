"""The page ``docs/performance.md``, from what the benchmarks keep as JSON; ``make performance`` runs them first.

    python benchmarks/performance.py FOLDER

FOLDER has ``peers.json``, ``headline.json``, ``limits.json``, ``unknown.json`` and ``scale.json``; the section of one that is missing
stands as it stood. Every figure of the page comes from there, those in sentences too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import headline
import jinja2
import limits
import peers
import scale
import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Table = tuple[str, Sequence[str], Iterable[Sequence[str]]]

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
HEAD = """\
# Performance

How much of the limits headrace uses, how many calls are refused, and what a prompt costs in CPU and memory. All of it was measured against
the simulated API, nothing against a vendor's. This page is written by `make performance`; each section begins with the command that makes
it alone. Figures in virtual time are of admission alone, but the article's figures are of the whole line; figures over loopback are of the
whole program. A cell with a `!` misses its goal.
"""
FOOT = """\
## How to repeat it

`make performance` runs everything, makes the environments of the other clients, draws the plots and writes this page. What is in virtual
time gives the same figures for the same seed (`--seed`); CPU, and what goes over loopback, differ from run to run. Each benchmark ends with
1 where it missed a goal. `benchmarks/performance.py FOLDER` writes the page from figures that are there already.
"""
PEERS = """\
{% for workload in workloads -%}
Workload {{ workload.number }}: {{ workload.limits | length }} keys of
{%- set paces = workload.limits | map("first") | unique %} {{ paces | together }} images a minute
{%- if workload.limits[0][1] %} with {{ workload.limits | map("last") | together }} calls at once
{%- else %} and no limit of calls at once; a client that has to be told a number is told {{ setup.at_once }} a key
{%- endif %}. {{ workload.prompts }} prompts.

{% endfor -%}
Every client runs over loopback in a process of its own, against a fresh server whose buckets hold {{ setup.burst_s | whole }} s of their
rate and whose latency is log-normal with a median of {{ setup.latency_s }} s, and is stopped after {{ setup.bound_s | whole }} s. `share`
is what the client got of the pictures that the limits let through in the time that it took. A client that gives up more than one prompt in
a hundred ends early, while the full buckets of the start still count for much: its share and its seconds cannot be compared with those of
the others.
`CPU ms` is the CPU time of the client's process for each answered prompt. How each client is set up is in `benchmarks/peer_*.py`.
|||
The goal is to be first in every column, ties included, and of CPU to use at most {{ setup.cpu_goal | whole }} times what the leanest does.
The others write a picture to a file and that is all; headrace checks each picture, syncs it, and has every step in a journal that is synced
too.
{% for miss in missed %}
- Missed: {{ miss }}.
{%- else %}
The goal is met.
{%- endfor %}
"""
HEADLINE = """\
This project grew from an article of July 2025. Here are its claims, what a naive client gets and what headrace gets, in virtual time under
the article's tiers (calls, tokens and calls at once; no limit of images). Chosen, since the article does not say it:
{{ faults.values() | sum | percent }} of the calls meet a fault, and {{ repeats | percent }} of the prompts ask for an earlier one's
picture. The price of a picture is all that was billed, divided by the pictures that came whole.
|||
{% set before, after = article.before, article.after -%}
{% set was, now = claims[0], claims[1] -%}
{% set fault = faults.values() | sum -%}
- Latency is the server's, the same for every client: a client changes what a prompt takes by hits alone (`with hits s`).
- Of the article's factor of {{ (after.pictures_per_minute / before.pictures_per_minute) | round(1) }},
  {{ "%g" % (now.requests_per_minute / was.requests_per_minute) }} is the tier: {{ now.requests_per_minute | whole }} calls a minute against
  {{ was.requests_per_minute | whole }}. A loop at {{ before.latency_s }} s a call makes {{ (60 / before.latency_s) | whole }} a minute, not
  {{ was.calls | whole }}.
- A naive client several at once starts with a full bucket, a minute's limit, above the pace. Once that is spent, refusals are charged, and
  it gives up what is left; {{ headline[-1].prompts | whole }} prompts do not spend it at tier {{ after.tier }}, where it is fast and loses
  the prompts that meet a fault.
- headrace counts every call, also one that fails: {{ now.requests_per_minute | whole }} calls a minute are at most
  {{ (now.requests_per_minute * (1 - fault)) | whole }} fresh pictures with these faults. It gives a prompt up after {{ attempts }}
  attempts: {{ (fault ** attempts * 10000) | whole }} in 10,000 meet as many faults in a row.
- At {{ before.latency_s }} s a call, {{ now.max_concurrency }} at once are {{ (now.max_concurrency * 60 / before.latency_s) | whole }} a
  minute for any client: what the article claims takes a server of {{ after.latency_s }} s.
"""
LIMITS = """\
A client that always has work, in virtual time; pictures of ten seconds, refused calls charged, log-normal delays each way. The goals are
{{ goals.share | percent }} of the limit with {{ goals.refused | percent(1) }} of 429s, and {{ goals.share_by_less | percent }}, however
many 429s, where a server counts by less than a minute.
|||
{% set missed = cells | selectattr("missed") | list -%}
{% for server, its in missed | groupby("server") -%}
{% set limit = its | map(attribute="limit") | min -%}
- {{ server }}:
  {%- if server == "bucket of a second" %} at {{ its | map(attribute="limit") | unique | sort | together }} a minute it holds one picture.
  Delays bring calls closer together than the limit's pace: the second of two is refused, and charged, so that the bucket is empty again.
  {%- elif server == "sliding counter, 60 s" %} of {{ limit }} a minute it lets {{ limit - 1 }} in that come evenly
  ({{ ((limit - 1) / limit) | percent }}), for the last minute's count weighs on.
  {%- elif server == "sliding log, 60 s" %} the {{ (1 - pace) | percent }} that headrace leaves is
  {{ ((1 / pace - 1) * 60000 / limit) | whole }} ms a call here, and the delays differ by more.
  {%- else %} a window lets so many whole calls in, and delays push some into one that is full.
  {%- for odd in its | map(attribute="limit") | unique if server == "fixed 1 s" and odd > 60 and odd % 60 %} Of {{ odd | whole }} a minute
  {{ odd // 60 }} a second are all that there is, {{ (odd // 60 * 60 / odd) | percent(1) }}.{% endfor %}
  {%- endif %}
{% endfor %}
{% if missed -%}
Where nearly all of the limit gets in all the same, headrace keeps its pace; else it takes such refusals for a lower limit and slows down.
Of these {{ missed | length }} cells it is refused less often than calls at a steady pace in {{ missed | quieter | length }}, and uses less
of the limit than they do in {{ missed | lost | length }}.
{%- endif %}
"""
UNKNOWN = """\
In virtual time: a bucket of a minute with {{ limit | whole }} images a minute unless the row says otherwise, a client that always has work,
{{ (seconds / 60) | whole }} minutes; a change comes after {{ (change_s / 60) | whole }}. The columns are what a refusal says: its numbers,
as the vendor's does (`full`), a time to wait (`hint`), or nothing (`bare`). A cell has the share of what was there and the 429s, both after
the first minute; the seconds from a change until half a minute holds nine tenths of what is there from then on, with few 429s; and what a
stranger got of what it asked for: means of {{ seeds }} seeds, and the longest recovery. The goals are {{ goals.share | percent }},
{{ goals.refused | percent }}, {{ goals.recovery_s | whole }} s and {{ goals.stranger | percent }}. The plot is of the first seed.

A share may be more than all that was there: the bucket is full at the start, and a client that runs into the limit to learn of it, or keeps
its pace under a lower one, draws that minute's pictures too. For the same reason a lower limit is met a while after the change, and a
recovery may take no time.
|||
{% set missed = cells | selectattr("missed") | list -%}
{% set calls, rates = missed | of_calls, missed | of_rates -%}
{{ missed | length }} of {{ cells | length }} cells miss a goal.
{% if calls | selectattr("refusals", "eq", "bare") | list %}
- Calls at once, refused without a word: nothing tells them from a rate. headrace guesses a rate, paces itself by it, and stays below what
  is there.
{%- endif %}
{%- if calls | slow(goals) | rejectattr("refusals", "eq", "bare") | list %}
- More calls at once than before: nothing says that there are. headrace holds what was good after a refusal for a while, and then tries more
  in growing steps, each of which has to stand first.
{%- endif %}
{%- for cell in missed if cell in rates or (cell.refusals != "bare" and cell.refused > goals.refused) %}
- {{ cell.case }} ({{ cell.refusals }}): {% if cell.refused > goals.refused %}{{ cell.refused | percent(2) }} of 429s{% else %}the time
  until it has what is there{% endif %}.
{%- endfor %}
"""
SCALE = """\
The whole program over loopback, cache and journal included, with pictures of 20 KB; CPU is that of its process with its threads, start-up
left out. Flat is at most {{ flat }} times the first row, the dashed line; calls at once may take memory, which holds them. With prompts
memory grows until the cache has as many of its last answers and pictures at hand as it remembers (10,000 and 50,000).
|||
{% for row in rows if row.missed -%}
- Not flat: {{ row.size | whole }} {{ row.what }}, {{ "%.2f" % row.cpu }} times the CPU and {{ "%.2f" % row.rss }} times the memory.
{% endfor -%}
{% for row in gate if row.cpu_ms > flat * gate[0].cpu_ms -%}
- Not flat: admission alone with {{ row.size }} pools, {{ "%.2f" % (row.cpu_ms / gate[0].cpu_ms) }} times the CPU of {{ gate[0].size }}.
{% endfor -%}
"""
FILTERS: dict[str, Callable[..., Any]] = {
    "percent": lambda share, digits=0: f"{100 * share:.{digits}f} %",
    "whole": lambda number: f"{number:,.0f}",
    "together": lambda numbers: " and ".join(", ".join(f"{number:,}" for number in numbers).rsplit(", ", 1)),
    "quieter": lambda cells: [cell for cell in cells if cell["refused"] < cell["steady_refused"]],
    "of_calls": lambda cells: [cell for cell in cells if "calls at once" in cell["case"]],
    "of_rates": lambda cells: [cell for cell in cells if "calls at once" not in cell["case"]],
    "slow": lambda cells, goals: [cell for cell in cells if cell["share"] < goals["share"]],
    "lost": lambda cells: [cell for cell in cells if cell["share"] < cell["steady_share"]],
}


@attrs.frozen
class Section:
    """One benchmark's."""

    name: str
    """Of its JSON file, and of its target in the Makefile."""
    title: str
    text: str
    """A template over the figures: what stands before the plots and tables, three bars, and what stands after them."""
    tables: Callable[[Any], Iterable[Table]]
    plots: Mapping[str, str]
    """File in the folder of plots -> what is to be seen."""


_PEERS = {f"peers-{number}": f"workload {number}, charged: prompts answered, share of the limits and 429s by client" for number in (1, 2)}
_HEADLINE = {"headline": "pictures finished over time, naive clients and headrace, with the limit"}
_LIMITS = {"limits": "share of the limit by way to count, limit and delays"}
_UNKNOWN = {"unknown": "images let in over time against what is there, 429s and calls in flight, for six of the cases"}
_SCALE = {"scale": "CPU a prompt by pools, by calls at once and by prompts"}
SECTIONS = (
    Section("peers", "Beside other clients", PEERS, lambda figures: peers.tables(figures["runs"]), _PEERS),
    Section("headline", "The article's figures", HEADLINE, headline.tables, _HEADLINE),
    Section("limits", "A known limit, seven ways to count it", LIMITS, limits.tables, _LIMITS),
    Section("unknown", "Limits that are wrong, unknown, changed or shared", UNKNOWN, unknown.tables, _UNKNOWN),
    Section("scale", "What a prompt costs as everything grows", SCALE, scale.tables, _SCALE),
)


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
    templates = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - Markdown of our own figures
    templates.filters.update(FILTERS)
    before, after = templates.from_string(section.text).render(figures).split("|||")
    plots = [f"![{seen}](performance/{plot}.svg)" for plot, seen in section.plots.items()]
    tables = map(_table, section.tables(figures))
    return "\n\n".join([f"`make {section.name}` ({machine})", before.strip(), *plots, *tables, after.strip()])


def _table(table: Table) -> str:
    title, columns, rows = table
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join([f"**{title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


if __name__ == "__main__":
    sys.exit(main())
