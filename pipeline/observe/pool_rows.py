"""The pools of a run as rows of a table: what each used of its limits in the last minute, and what it waits for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import attrs
from rich.table import Table
from rich.text import Text

from headrace.admission import ledger
from headrace.observe.words import bar, foreign, short
from headrace.told import CALLS, RESOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.admission.books import Known
    from headrace.observe.state import PoolState

READY = "ready"
STUCK = ("benched", "held", "refused")
"""Begins of what will not pass by itself within a minute."""
WIDE, MIDDLE = 90, 50
"""Columns from which there is one for what is tried of the limits, and those for calls and 429s."""
GAP = 2
NAME, REFUSED_ROOM, TRIED_ROOM, STATE = 18, 4, 5, 18
"""Columns of the table's own columns, where there is room."""
LEAST_NAME = 8
WITH_NUMBERS, WITH_BAR = 19, 9
"""Columns from which a limit has a bar with numbers, and with a percentage."""
BAR, RESOURCE, NUMBERS, PERCENT = 20, 8, 11, 4
IN_FLIGHT = 7
"""Columns of the calls out and of how many there may be."""
SHORTEST_BAR = 3
SAME = 0.01
_WAITS = {
    ledger.CALLS: "all calls are out",
    ledger.INPUT: "waits for input",
    ledger.CONSUMER: "waits for output",
    ledger.MIX: "waits for models",
    ledger.IN_FLIGHT: "at max_in_flight",
    ledger.NOTHING: "nothing to do",
    ledger.PAUSED: READY,
    ledger.FAILING: READY,
    ledger.BENCHED: READY,
}


@attrs.frozen
class _Columns:
    """How the width is given to the columns; 0 is no such column."""

    name: int
    resources: tuple[str, ...]
    """Those that have a column each; none is one column for whichever is used most."""
    limit: int
    refused: int
    tried: int
    state: int


def standing(pool: PoolState) -> tuple[str, str]:
    """What a pool is doing or waiting for, and the style to say it in."""
    state, cause = pool.books.state, pool.waits_for
    if state != READY:
        return state, "bold red" if state.startswith("benched") else "yellow"
    if cause is None:
        return READY, "dim"
    if cause.endswith("/min"):
        return f"at {cause}", "green"  # which is where it should be
    return _WAITS.get(cause, cause), "dim"


def most_important(pools: Sequence[PoolState], room: int) -> list[PoolState]:
    """As many as there is room for, in their order: those that cannot work, up to half, then those that did most."""
    if len(pools) <= room:
        return list(pools)
    stuck = [pool for pool in pools if pool.books.state.startswith(STUCK)][: max(1, room // 2)]
    others = sorted((pool for pool in pools if pool not in stuck), key=lambda pool: -pool.books.calls)
    chosen = {pool.books.name for pool in (*stuck, *others[: room - len(stuck)])}
    return [pool for pool in pools if pool.books.name in chosen][:room]


def rest(pools: Sequence[PoolState], shown: Sequence[PoolState]) -> str:
    """Those that there is no room for, in one line."""
    left = [pool for pool in pools if pool not in shown]
    words = Counter(pool.books.state.partition(" ")[0].rstrip(":") for pool in left)
    states = ", ".join(f"{count:,} {word}" for word, count in words.most_common())
    return f"and {len(left):,} more: {states}; {sum(pool.books.in_flight for pool in left):,} calls out"


def pool_table(pools: Sequence[PoolState], width: int, *, ascii_only: bool) -> Table:
    """A row each, of exactly one line, below a line of headings."""
    columns = _columns(pools, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")

    def column(title: str, size: int, justify: Literal["left", "right"] = "left") -> None:
        if size:
            table.add_column(title, width=size, no_wrap=True, overflow="crop" if ascii_only else "ellipsis", justify=justify)

    column("pool", columns.name)
    for name in columns.resources or ("limit",):
        title = f"{name}/min" if name in RESOURCES else name
        size = min(columns.limit, BAR + 1 + IN_FLIGHT) if name == CALLS else columns.limit
        column(title if len(title) <= size else name, size)
    column("tried", columns.tried, "right")
    column("429s", columns.refused, "right")
    column("state", columns.state)
    for pool in pools:
        table.add_row(*_cells(pool, columns, ascii_only=ascii_only))
    return table


def reasons(pools: Sequence[PoolState], width: int, *, ascii_only: bool) -> Iterator[tuple[str, Text]]:
    """The states of those that cannot work and for which the table has no room, each with a line that says all of it."""
    columns = _columns(pools, width)
    for pool in pools:
        words, style = standing(pool)
        if pool.books.state != READY and len(words) > columns.state:
            name = Text(foreign(pool.books.name, ascii_only=ascii_only), style="bold")
            name.truncate(columns.name, overflow="crop", pad=True)
            yield words, Text.assemble(name, " " * GAP, (foreign(words, ascii_only=ascii_only), style))


def _columns(pools: Sequence[PoolState], width: int) -> _Columns:
    resources = tuple(name for name in RESOURCES if any(_known(pool, name) for pool in pools))
    resources += (CALLS,) if width >= MIDDLE else ()
    longest = max(len(pool.books.name) for pool in pools)
    name = max(LEAST_NAME if width >= MIDDLE else LEAST_NAME // 2, min(NAME, longest, width // (4 if width < MIDDLE else 6)))
    tried = TRIED_ROOM if width >= WIDE and any(_scale(pool) < 1 - SAME for pool in pools) else 0
    refused = REFUSED_ROOM if width >= MIDDLE else 0
    state = min(STATE, width // (3 if width < MIDDLE else 5))
    left = width - state - sum(size + GAP for size in (name, tried, refused) if size)
    limit = left // len(resources) - GAP if resources else 0
    if limit < WITH_BAR:
        resources, limit = (), max(PERCENT + 1, left - GAP)
    limit = min(limit, BAR + NUMBERS + 1)
    limits = [min(limit, BAR + 1 + IN_FLIGHT) if name == CALLS else limit for name in resources] or [limit]
    state = width - sum(size + GAP for size in (name, tried, refused, *limits) if size)
    return _Columns(name, resources, limit, refused, tried, max(1, state))


def _cells(pool: PoolState, columns: _Columns, *, ascii_only: bool) -> list[Text]:
    books = pool.books
    cells = [Text(foreign(books.name, ascii_only=ascii_only), style="bold")]
    if columns.resources:
        cells += [_gauge(_known(pool, name), columns.limit, ascii_only=ascii_only) for name in columns.resources if name != CALLS]
        cells += [_calls(pool, columns.limit, ascii_only=ascii_only)] * (CALLS in columns.resources)
    else:
        cells.append(_fullest(pool, columns.limit, ascii_only=ascii_only))
    scale = _scale(pool)
    less = "" if scale >= 1 - SAME else f"{scale:.0%}"
    if columns.tried:
        cells.append(Text(less, style="yellow"))
    if columns.refused:
        cells.append(Text(short(books.refused), style="yellow" if books.refused else "dim"))
    words, style = standing(pool)
    if less and not columns.tried and books.state == READY:
        words, style = f"{less} tried", "yellow"
    cells.append(Text(foreign(words, ascii_only=ascii_only), style=style))
    return cells


def _fullest(pool: PoolState, width: int, *, ascii_only: bool) -> Text:
    known = max((each for each in pool.books.known if each.limit), key=lambda each: _part(each) or 0.0, default=None)
    if known is None:
        return Text("-", style="dim")
    if width < RESOURCE + 1 + WITH_BAR:
        name = f"{known.resource:{RESOURCE}} " if width > RESOURCE + PERCENT else ""
        return Text(f"{name}{_part(known):>{PERCENT}.0%}")
    return Text.assemble(f"{known.resource:{RESOURCE}} ", _gauge(known, width - RESOURCE - 1, ascii_only=ascii_only))


def _gauge(known: Known | None, width: int, *, ascii_only: bool) -> Text:
    if known is None:
        return Text("-", style="dim")
    part = _part(known)
    if part is None or known.limit is None:
        return Text.assemble(short(known.used), (" of ?", "dim"))
    style = "yellow" if known.scale < 1 - SAME else "cyan"
    if width < WITH_NUMBERS:
        return Text.assemble(bar(part, width - PERCENT - 1, style, ascii_only=ascii_only), f" {part:>{PERCENT}.0%}")
    numbers = Text.assemble(short(known.used), (f"/{short(known.limit)}", "dim"))
    return Text.assemble(bar(part, width - NUMBERS - 1, style, ascii_only=ascii_only), " ", numbers)


def _calls(pool: PoolState, width: int, *, ascii_only: bool) -> Text:
    known, out = _known(pool, CALLS), f"{pool.books.in_flight:,}"
    if known is None or not known.limit:
        return Text(out)
    numbers = Text.assemble(out, (f"/{short(known.limit)}", "dim"))
    room = min(BAR, width - 1 - IN_FLIGHT)
    if room < SHORTEST_BAR:
        return numbers
    return Text.assemble(bar(pool.books.in_flight / known.limit, room, "cyan", ascii_only=ascii_only), " ", numbers)


def _part(known: Known) -> float | None:
    return None if not known.limit else known.used / known.limit


def _known(pool: PoolState, resource: str) -> Known | None:
    return next((each for each in pool.books.known if each.resource == resource), None)


def _scale(pool: PoolState) -> float:
    return min((known.scale for known in pool.books.known), default=1.0)
