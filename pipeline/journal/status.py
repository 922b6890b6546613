"""What an output folder holds, as its journal says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.errors import UsageError
from headrace.journal.database import FILE, at_work, reading

_ITEMS = "select coalesce(status, 'unfinished'), count(*), total(pictures) from item group by 1"
_ATTEMPTS = "select coalesce(outcome, 'open'), count(*), total(cost_usd) filter (where not simulated) from attempt group by 1"
_DOUBTS = """select i.name, a.request_id, a.sent_at from attempt a join item i on i.number = a.item
    where a.outcome is ? order by a.number"""


def status(folder: str | Path) -> dict[str, Any]:
    """The books of an output folder, while a run is at work as well as after it.

    Amounts are USD, without those of simulated calls; ``in_doubt`` names the calls that were under way when a run was killed,
    ``perhaps_paid`` those whose answer never came or that were asked again, each with the id of its prompt, the X-Client-Request-Id that
    it carried, and when it was sent.

    Raises:
        UsageError: there is no journal, or it cannot be read.
    """
    path = Path(folder)
    if not (path / FILE).is_file():
        raise UsageError(f"{path} holds no journal; name the --out-dir of a run")
    running = at_work(path)
    try:
        with closing(reading(path)) as db:
            db.execute("begin")  # one moment's books
            items = {name: (count, pictures) for name, count, pictures in db.execute(_ITEMS)}
            attempts = {name: (count, usd) for name, count, usd in db.execute(_ATTEMPTS)}
            # What is under way right now is not in doubt.
            in_doubt = [] if running else _calls(db, None)
            perhaps_paid = _calls(db, "unknown")
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the journal in {path} cannot be read: {error}") from None
    counts = {name: items.get(name, (0, 0))[0] for name in ("ok", "failed", "skipped", "unfinished")}
    usd = {name: attempts.get(name, (0, 0.0))[1] for name in ("paid", "spoilt", "unknown", "open")}
    return {
        "folder": str(path),
        "running": running,
        "prompts": sum(counts.values()),
        **counts,
        "pictures": int(sum(pictures for _, pictures in items.values())),
        "attempts": {name: attempts.get(name, (0, 0.0))[0] for name in ("paid", "spoilt", "unpaid", "unknown", "open")},
        "paid_usd": round(usd["paid"] + usd["spoilt"], 6),
        "perhaps_paid_usd": round(usd["unknown"] + usd["open"], 6),
        "in_doubt": in_doubt,
        "perhaps_paid": perhaps_paid,
    }


def _calls(db: sqlite3.Connection, outcome: str | None) -> list[dict[str, str]]:
    rows = db.execute(_DOUBTS, (outcome,))
    return [{"id": name, "request_id": request, "sent_at": datetime.fromtimestamp(at, UTC).isoformat()} for name, request, at in rows]
