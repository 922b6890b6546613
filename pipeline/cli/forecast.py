"""What ``headrace estimate`` shows; foreign text comes in clean, and never as markup."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import trio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.options import refuse_impossible
from headrace.errors import lone
from headrace.forecast.report import estimated
from headrace.money import money
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headrace.settings import RequestSettings, Settings
    from headrace.sources import Source

SHOWN = 10
"""Bad lines, pools and limits that bind that are listed; --json has more."""
_SHORT_S = 100.0


def forecast_of(settings: Settings, source: Source, profiles: Mapping[str, RequestSettings]) -> dict[str, Any]:
    """The estimate as plain data.

    Raises:
        HeadraceError: as in :func:`headrace.forecast.report.estimated`.
    """
    refuse_impossible(settings.request)
    if source.name == "-" and sys.stdin is not None and sys.stdin.isatty():
        typer.echo("headrace: reading prompts from the terminal, one a line; Ctrl-D ends them", err=True)

    async def main() -> dict[str, Any]:
        return await estimated(settings, source, os.environ, profiles=profiles)

    try:
        return trio.run(main)
    except BaseExceptionGroup as group:
        raise lone(group) from None


def forecast_tables(found: Mapping[str, Any]) -> None:
    """Show it."""
    console = Console(highlight=False)
    console.print(_summary(found))
    if found["time"] is not None and found["paid"]["prompts"]:
        console.print(_pools(found["time"]["pools"]))
    now = found["paid"]["cost_usd"], found["paid"]["seconds"]
    others = Table(
        "with the profile, or one rung down", "asks for", "cost", "time", title="the same job done otherwise", title_justify="left"
    )
    for row in (*found["profiles"], *found["ladder"]):
        asks = " ".join(row[each] for each in ("model", "size", "quality") if row[each] is not None)
        refused = f"; {row['refused']:,} cannot be done so" if row["refused"] else ""
        others.add_row(
            _text(row["name"]), _text(asks + refused), _against(row["cost_usd"], now[0], money), _against(row["seconds"], now[1], _time)
        )
    console.print(others)
    table = Table("model", "quality", "cost", "time", title="the same job by model and quality", title_justify="left")
    before = None
    for row in found["models"]:
        if before not in (None, row["model"]):
            table.add_section()
        name, before = row["model"] if row["model"] != before else "", row["model"]
        table.add_row(name, row["quality"], money(row["cost_usd"]), _time(row["seconds"]))
    for shown in (others, table):
        shown.columns[2].justify = shown.columns[3].justify = "right"
    console.print(table)
    for line in (*found["notes"], *_bad(found)):
        console.print(_text(line), soft_wrap=True)


def _summary(found: Mapping[str, Any]) -> Table:
    table = Table(show_header=False)
    paid, alone = found["paid"], found["without_cache"]
    table.add_row("prompts", f"{found['prompts']:,}" + (f", and {found['bad']:,} bad lines" if found["bad"] else ""))
    if found["finished"]:
        table.add_row("finished", f"{found['finished']:,} by earlier runs in this folder, and not paid for again")
    for free in found["free"]:
        table.add_row(f"free: {free['tier']}", f"{free['in_file']:,} by prompts before them, {free['on_disk']:,} by the cache as it is")
    table.add_row("to be paid", f"{paid['prompts']:,} prompts, {paid['images']:,} pictures")
    table.add_row("tokens", f"{paid['input_tokens']:,} in, {paid['output_tokens']:,} out")
    for name, field, shown in (("cost", "cost_usd", money), ("time", "seconds", _time)):
        without = f" with the cache ({found['policy']}), {shown(alone[field])} without" if found["policy"] != "off" else ", without a cache"
        table.add_row(name, shown(paid[field]) + without)
    if found["time"] is not None:
        binding = found["time"]["binding"]
        bound = [f"{each['cause']}{'' if each['pool'] is None else ' of ' + each['pool']} ({each['weight']:.0%})" for each in binding]
        more = f", and {len(bound) - SHOWN:,} more" if len(bound) > SHOWN else ""
        table.add_row("what binds", _text(", ".join(bound[:SHOWN]) + more if bound else "nothing: all calls start at once"))
    return table


def _pools(pools: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("pool", "pictures", "limit", "a minute", "from", "used", title="what each pool does", title_justify="left")
    table.columns[1].justify = table.columns[3].justify = table.columns[5].justify = "right"
    for column in table.columns[1:4]:
        column.no_wrap = True
    for pool in sorted(pools, key=lambda pool: -pool["images"])[:SHOWN]:
        first = (_text(pool["name"]), f"{pool['images']:,}")
        for known in pool["limits"] or [{"resource": "none known", "limit": None, "source": ""}]:
            cause = "calls at once" if known["resource"] == "calls" else f"{known['resource']}/min"
            limit = "?" if known["limit"] is None else f"{known['limit']:,.0f}" + (" at once" if known["resource"] == "calls" else "")
            used = pool["used"].get(cause)
            share = Text("" if used is None else f"{used:.0%}", style="bold" if cause == pool["binding"] else "")
            table.add_row(*first, known["resource"], limit, _text(known["source"]), share)
            first = (Text(), "")
        table.add_section()
    if len(pools) > SHOWN:
        table.add_row(f"and {len(pools) - SHOWN:,} more")
    return table


def _bad(found: Mapping[str, Any]) -> Iterator[str]:
    for line in found["bad_lines"][:SHOWN]:
        message = line["message"]
        yield message if message.startswith("row ") else f"line {line['line']}: {message}"
    if found["bad"] > SHOWN:
        yield f"and {found['bad'] - SHOWN:,} more bad lines; --json lists the first {len(found['bad_lines']):,}"


def _against(value: float | None, now: float | None, shown: Any) -> str:
    if value is None or not now:
        return str(shown(value))
    return f"{shown(value)} ({value / now - 1:+.0%})"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "no pool for it"
    if seconds < _SHORT_S:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"  # noqa: PLR2004 - as people say it


def _text(foreign: str) -> Text:
    return Text(clean(foreign))
