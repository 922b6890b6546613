"""What the report tells of how a run went, written into the journal while it goes on: also a run that is killed can be looked at."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.admission.books import PoolStatistics
    from headrace.journal.journal import Journal
    from headrace.observe.watcher import Snapshot

EVERY_S = 10.0
_BEGIN = "insert into run (number, started_at, seen_at, settings, books) values (?, ?, ?, ?, ?)"
_GO_ON = "update run set seen_at = ?, books = ? where number = ?"
_LIMIT = "insert into limit_seen (run, at, pool, books) values (?, ?, ?, ?)"


class Recorder:
    """Keeps the books of the pools as they are now, and every change of their limits.

    Args:
        journal: where they are kept.
        settings: what the run was asked to do, as JSON can say it; no key is in it.
        snapshot: how things stand.
    """

    def __init__(self, journal: Journal, settings: Mapping[str, Any], snapshot: Callable[[], Snapshot]) -> None:
        self._journal = journal
        self._snapshot = snapshot
        self._number = journal.next_run()
        self._seen: dict[str, str] = {}
        # Before its first prompt is read: by their times the journal knows which run did what.
        now = time.time()
        journal.writer.put(_BEGIN, self._number, now, now, json.dumps(settings), "[]")

    async def run(self) -> None:
        """Write every ten seconds until cancelled; call :meth:`write` once more at the end."""
        while True:
            self.write()
            await trio.sleep(EVERY_S)

    def write(self) -> None:
        """Put what is known now."""
        now, pools = time.time(), self._snapshot().pools
        for pool in pools:
            limits = json.dumps(_limits(pool))
            if self._seen.get(pool.name) != limits:
                self._seen[pool.name] = limits
                self._journal.writer.put(_LIMIT, self._number, now, pool.name, limits)
        books = json.dumps([attrs.asdict(pool) for pool in pools])
        self._journal.writer.put(_GO_ON, now, books, self._number)


def _limits(pool: PoolStatistics) -> dict[str, Any]:
    known = [{"resource": each.resource, "limit": each.limit, "source": each.source, "scale": round(each.scale, 2)} for each in pool.known]
    return {"state": pool.state.partition(" ")[0], "known": known}
