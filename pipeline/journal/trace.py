"""The way of one prompt through the runs of an output folder, as the journal has it."""

from __future__ import annotations

import difflib
import json
import sqlite3
from bisect import bisect_right
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import UsageError
from headrace.journal.database import FILE, at_work, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

_ITEMS = "select number, name, prompt, read_at, status, result, ended_at from item where name = ? order by number"
_FIELDS = (
    *("pool", "key", "request_id", "waited_s", "waited_for", "sent_at", "ended_at"),
    *("outcome", "kind", "status", "message", "cost_usd", "simulated"),
)
_CALLS = f"select {', '.join(_FIELDS)} from attempt where item = ? order by number"  # noqa: S608 - names of our own
_BY_NUMBER = "select distinct name from item where name not glob '*[^0-9]*' order by abs(cast(name as integer) - ?) limit 3"
_BY_LENGTH = "select distinct name from item order by abs(length(name) - ?) limit 5000"
_DIGITS = 18
"""Of a number that SQLite takes."""
_FIRST = 2
"""The version of a journal that knows what a call waited for."""


def trace(folder: str | Path, name: str) -> dict[str, Any]:
    """What became of every prompt of that id, the newest last, while a run is at work as well as after it.

    Each has ``runs`` (numbers of those that read it, called for it or ended it), its ``calls``, and ``result``: what its output line
    says besides, or None. Of a call ``paused_s`` are the seconds before it because the one before had failed, ``waited_s`` those until it
    was let in. Its ``outcome`` is ``paid``, ``spoilt`` (billed, and no picture could be used), ``unpaid``, ``unknown`` (its answer never
    came), ``in_doubt`` (its run ended meanwhile) or ``under_way``. Times are ISO 8601 in UTC, amounts USD.

    Raises:
        UsageError: there is no journal, it cannot be read, or no prompt has that id.
    """
    path = Path(folder)
    if not (path / FILE).is_file():
        raise UsageError(f"{path} holds no journal; name the --out-dir of a run")
    running = at_work(path)
    try:
        with closing(reading(path)) as db:
            db.execute("begin")  # one moment's books
            if db.execute("pragma user_version").fetchone()[0] < _FIRST:
                raise UsageError(f"the journal in {path} is of an earlier headrace; it is brought up to date by the next run there")
            runs = db.execute("select number, started_at from run order by number").fetchall()
            items = [_item(db, row, runs, running=running) for row in db.execute(_ITEMS, (name,)).fetchall()]
            nearest = () if items else _nearest(db, name)
    except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"the journal in {path} cannot be read: {error}") from None
    if not items:
        hint = f"the nearest are {', '.join(nearest)}" if nearest else "'headrace status' says what there is"
        raise UsageError(f"no prompt in {path} has the id {name!r}; {hint}")
    return {"folder": str(path), "running": running, "id": name, "prompts": items}


def _item(db: sqlite3.Connection, row: Sequence[Any], runs: Sequence[tuple[int, float]], *, running: bool) -> dict[str, Any]:
    number, name, prompt, read_at, status, result, ended_at = row
    calls = db.execute(_CALLS, (number,)).fetchall()
    moments = [read_at, *(call[_FIELDS.index("sent_at")] for call in calls), ended_at]
    return {
        "id": name,
        "prompt": prompt,
        "read_at": _moment(read_at),
        "runs": sorted({_run(runs, at) for at in moments if at is not None} - {None}),
        "calls": [_call(call, before, runs, running=running) for before, call in pairwise((None, *calls))],
        "status": status,
        "ended_at": _moment(ended_at),
        "result": _result(result),
    }


def _call(row: Sequence[Any], before: Sequence[Any] | None, runs: Sequence[tuple[int, float]], *, running: bool) -> dict[str, Any]:
    call = dict(zip(_FIELDS, row, strict=True))
    sent_at, ended_at, waited_s = call["sent_at"], call["ended_at"], call["waited_s"]
    run = _run(runs, sent_at)
    previous = None if before is None else before[_FIELDS.index("ended_at")]
    paused_s = 0.0
    if previous is not None and _run(runs, previous) == run:
        paused_s = max(0.0, round(sent_at - previous - (waited_s or 0.0), 3))
    if call["outcome"] is None:
        call["outcome"] = "under_way" if running and run == _run(runs, float("inf")) else "in_doubt"
    latency_s = None if ended_at is None else round(ended_at - sent_at, 3)
    changed = {
        "waited_s": None if waited_s is None else round(waited_s, 3),
        "paused_s": paused_s,
        "sent_at": _moment(sent_at),
        "ended_at": _moment(ended_at),
        "latency_s": latency_s,
        "simulated": bool(call["simulated"]),
    }
    return {"run": run} | call | changed


def _run(runs: Sequence[tuple[int, float]], at: float) -> int | None:
    """The run that was at work then: one at a time is."""
    place = bisect_right(runs, at, key=lambda run: run[1])
    return runs[place - 1][0] if place else None


def _result(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _nearest(db: sqlite3.Connection, name: str) -> list[str]:
    if name.isascii() and name.isdigit() and len(name) <= _DIGITS and (found := db.execute(_BY_NUMBER, (int(name),)).fetchall()):
        return [each for (each,) in found]
    return difflib.get_close_matches(name, [each for (each,) in db.execute(_BY_LENGTH, (len(name),))])
