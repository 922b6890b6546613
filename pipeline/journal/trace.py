"""The way of one prompt through the runs of an output folder, as the journal has it."""

from __future__ import annotations

import difflib
import json
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import UsageError
from headrace.journal.database import at_work
from headrace.journal.reader import finite, moment, opened, utc
from headrace.journal.stored import restored, stored
from headrace.records import Result, Status
from headrace.text import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_ITEMS = "select number, name, prompt, read_at, status, result, ended_at from item where name = ? order by number desc limit ?"
_FIELDS = (
    *("strategy", "pool", "key", "request_id", "waited_s", "waited_for", "sent_at", "ended_at"),
    *("outcome", "kind", "status", "message", "cost_usd", "simulated"),
)
_CALLS = f"select {', '.join(_FIELDS)} from attempt where item = ? order by number"  # noqa: S608 - names of our own
_SINCE = 2
"""The version of a journal that has what is told here, but for the strategy of a call."""
_CALLS_THEN = _CALLS.replace("strategy", "null", 1)
_BY_NUMBER = "select distinct name from item where name not glob '*[^0-9]*' order by abs(cast(name as integer) - ?) limit 3"
_NEAR = (
    "select distinct name from item where name < :name and length(name) < 200 order by name desc limit 50",
    "select distinct name from item where name > :name and length(name) < 200 order by name limit 50",
    # One letter that is wrong leaves one half as it is.
    """select distinct name from item
        where (substr(name, 1, :half) = substr(:name, 1, :half) or substr(name, -:half) = substr(:name, -:half)) and length(name) < 200
        order by abs(length(name) - length(:name)) limit 2000""",
    "select distinct name from item where length(name) < 200 order by abs(length(name) - length(:name)) limit 2000",
)
"""Ids that may be what was meant, among a million."""
_DIGITS = 18
"""Of a number that SQLite takes."""
_SHOWN = 80
"""Characters of an id in a complaint."""


def trace(folder: str | Path, name: str, newest: int | None = None) -> dict[str, Any]:
    """What became of every prompt of that id, the newest last, while a run is at work as well as after it.

    Each has ``runs`` (numbers of those that read it, called for it or ended it), its ``calls``, and ``result``: what its output line
    says besides, or None. Of a call ``strategy`` is ``primary`` or the rung of the fallback ladder that made it, ``paused_s`` are the
    seconds before it because the one before had failed, ``waited_s`` those until it was let in; None where that is not known. Its
    ``outcome`` is ``paid``, ``spoilt`` (billed, and no picture could be used), ``unpaid``, ``unknown`` (its answer never came),
    ``in_doubt`` (its run ended meanwhile) or ``under_way``. Times are ISO 8601 in UTC, amounts USD. What cannot be read in a damaged
    journal is None.

    Args:
        folder: the output folder.
        name: the id.
        newest: at most so many prompts; ``count`` tells how many have the id.

    Raises:
        UsageError: no prompt has that id, or as in :func:`headrace.journal.reader.opened`.
    """
    path = Path(folder)
    running = at_work(path)
    name = name.encode("utf-8", "replace").decode()  # as ids are kept
    with opened(path, _SINCE) as db:
        (count,) = db.execute("select count(*) from item where name = ?", (name,)).fetchone()
        runs = db.execute("select number, started_at from run order by number").fetchall()
        rows = db.execute(_ITEMS, (name, -1 if newest is None else newest)).fetchall()
        items = [_item(db, row, runs, running=running) for row in reversed(rows)]
        nearest = () if count else _nearest(db, name)
    if not items:
        near = ", ".join(clean(each, _SHOWN) for each in nearest)
        hint = f"the nearest are {near}" if near else "'headrace status' says what there is"
        raise UsageError(f"no prompt in {path} has the id {clean(name, _SHOWN)!r}; {hint}")
    return {"folder": str(path), "running": running, "id": name, "count": count, "prompts": items}


def _item(db: sqlite3.Connection, row: Sequence[Any], runs: Sequence[tuple[int, float]], *, running: bool) -> dict[str, Any]:
    number, name, prompt, read_at, status, result, ended_at = row
    calls = [dict(zip(_FIELDS, call, strict=True)) for call in _calls(db, number)]
    moments = [read_at, *(call["sent_at"] for call in calls), ended_at]
    return {
        "id": name,
        "prompt": prompt,
        "read_at": utc(read_at, "milliseconds"),
        "runs": sorted({_run(runs, at) for at in moments if moment(at) is not None} - {None}),
        "calls": [_call(call, before, runs, running=running) for before, call in zip((None, *calls), calls, strict=False)],
        "status": status,
        "ended_at": utc(ended_at, "milliseconds"),
        "result": _result(result),
    }


def _calls(db: sqlite3.Connection, item: int) -> sqlite3.Cursor:
    (version,) = db.execute("pragma user_version").fetchone()
    return db.execute(_CALLS_THEN if version == _SINCE else _CALLS, (item,))


def _call(call: dict[str, Any], before: dict[str, Any] | None, runs: Sequence[tuple[int, float]], *, running: bool) -> dict[str, Any]:
    sent_at, ended_at = moment(call["sent_at"]), moment(call["ended_at"])
    waited_s, cost_usd = finite(call["waited_s"]), finite(call["cost_usd"])
    run = None if sent_at is None else _run(runs, sent_at)
    previous = None if before is None else moment(before["ended_at"])
    paused_s = 0.0
    if sent_at is not None and previous is not None and _run(runs, previous) == run:
        paused_s = max(0.0, round(sent_at - previous - (waited_s or 0.0), 3))
    outcome = call["outcome"]
    if outcome is None:
        outcome = "under_way" if running and run == _run(runs, float("inf")) else "in_doubt"
    changed = {
        "waited_s": None if waited_s is None else round(waited_s, 3),
        "paused_s": paused_s,
        "sent_at": utc(sent_at, "milliseconds"),
        "ended_at": utc(ended_at, "milliseconds"),
        "latency_s": None if sent_at is None or ended_at is None else round(ended_at - sent_at, 3),
        "outcome": outcome,
        "cost_usd": cost_usd,
        "simulated": bool(call["simulated"]),
    }
    return {"run": run} | call | changed


def _run(runs: Sequence[tuple[int, float]], at: float) -> int | None:
    """The run that was at work then: one at a time is."""
    place = bisect_right(runs, at, key=lambda run: run[1])
    return runs[place - 1][0] if place else None


def _result(text: str | None) -> dict[str, Any] | None:
    result = restored(text or "", Result(seq=0, id="", prompt=None, status=Status.OK))
    return None if result is None else dict(json.loads(stored(result)))


def _nearest(db: sqlite3.Connection, name: str) -> list[str]:
    if name.isascii() and name.isdigit() and len(name) <= _DIGITS and (found := db.execute(_BY_NUMBER, (int(name),)).fetchall()):
        return [each for (each,) in found]
    for some in _candidates(db, name[:200]):
        if found := difflib.get_close_matches(name[:200], some):
            return found
    return []


def _candidates(db: sqlite3.Connection, name: str) -> Iterator[list[str]]:
    """Some ids at a time, the likeliest first: to compare each of a million takes a minute."""
    given = {"name": name, "half": max(1, len(name) // 2)}
    *near, by_length = ([each for (each,) in db.execute(query, given)] for query in _NEAR)
    yield list(dict.fromkeys(each for some in near for each in some))
    yield by_length
