"""What an output folder holds, as its journal says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.journal.database import at_work
from headrace.journal.reader import finite, opened, utc

if TYPE_CHECKING:
    import sqlite3

_ITEMS = "select coalesce(status, 'unfinished'), count(*), total(pictures) from item group by 1"
_ATTEMPTS = "select coalesce(outcome, 'open'), count(*), total(cost_usd) filter (where not simulated) from attempt group by 1"
_DOUBTS = """select i.name, a.request_id, a.sent_at from attempt a join item i on i.number = a.item
    where a.outcome is ? order by a.number"""
_SINCE = 1
"""The version of a journal that knows what is asked for here."""


def status(folder: str | Path) -> dict[str, Any]:
    """The books of an output folder, while a run is at work as well as after it.

    Amounts are USD, without those of simulated calls; ``in_doubt`` names the calls that were under way when a run was killed,
    ``perhaps_paid`` those whose answer never came or that were asked again, each with the id of its prompt, the X-Client-Request-Id that
    it carried, and when it was sent, which is None where that cannot be read.

    Raises:
        UsageError: as in :func:`headrace.journal.reader.opened`.
    """
    path = Path(folder)
    running = at_work(path)
    with opened(path, _SINCE) as db:
        items = {name: (count, pictures) for name, count, pictures in db.execute(_ITEMS)}
        attempts = {name: (count, finite(usd) or 0.0) for name, count, usd in db.execute(_ATTEMPTS)}
        # What is under way right now is not in doubt.
        in_doubt = [] if running else _calls(db, None)
        perhaps_paid = _calls(db, "unknown")
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


def _calls(db: sqlite3.Connection, outcome: str | None) -> list[dict[str, str | None]]:
    rows = db.execute(_DOUBTS, (outcome,))
    return [{"id": name, "request_id": request, "sent_at": utc(at)} for name, request, at in rows]
