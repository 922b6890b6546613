"""What was accepted, asked, answered and emitted in one output folder, so that a run that was killed goes on where it stopped.

The order that nothing may change: the row of an attempt is on the disk before its POST; the picture is on the disk under its final name
before the row of the result; the row of the result before its line is written. So what is finished is never asked for again, and
what a crash leaves between a POST and its answer is an attempt without an outcome: in doubt, counted and named.
"""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import attrs

from headrace.chaos import point
from headrace.files import sweep_parts
from headrace.journal.database import alone, open_database, readable, reading
from headrace.journal.writer import Writer
from headrace.records import Strategy
from headrace.text import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.disk import Disk
    from headrace.records import Problem
_SPENT = "select total(cost_usd) from attempt where number > (select since from job) and simulated = ? and outcome is not 'unpaid'"
_INTEND = """insert into attempt (number, item, request_id, key, sent_at, simulated, cost_usd, strategy, pool, waited_s, waited_for)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_CLOSE = "update attempt set outcome = ?, ended_at = ?, kind = ?, status = ?, message = ? where number = ?"
_MESSAGE = 300
"""Characters of what the API said that are kept of a call."""


@attrs.frozen
class Intent:
    """A call that is about to be made."""

    number: int
    request_id: str
    """Travels as X-Client-Request-Id, for the vendor's support to find it."""
    again: int = 0
    """Calls for the same prompt that a run made that was killed, and that may have been paid."""


@attrs.frozen
class Wait:
    """What a call had to wait for before it was let in."""

    pool: str
    seconds: float
    cause: str | None
    """In the words of :mod:`headrace.admission.ledger`; None where nothing held it up."""


class Journal:
    """The journal of one output folder; one process at a time has it open (:func:`open_journal`)."""

    def __init__(self, writer: Writer, db: sqlite3.Connection, root: Path, *, hold: bool, simulated: bool) -> None:
        self.writer = writer
        self.root = root
        self._simulated = simulated
        self.hold = hold
        """Whether what is in doubt is left alone."""
        self.doubtful: dict[int, int] = {}
        """Items of the input that are in doubt, with their calls, until they are asked for again or have a result."""
        self.asked_again = 0
        """Calls of earlier runs that may have been paid, and whose prompts are asked again."""
        self.held = 0
        """Prompts that are left alone because an earlier run may have paid for them."""
        self.db = db
        """Reads what is committed."""
        self._token = secrets.token_hex(5)
        self.spent_usd = float(db.execute(_SPENT, (simulated,)).fetchone()[0])
        """What the job, if it was begun by earlier runs, has cost so far, and may have cost."""
        self._attempts = _last(db, "attempt")
        self._items = _last(db, "item")
        self._runs = _last(db, "run")
        self._lines = _last(db, "item", "line")
        self._outputs = max(_last(db, "output"), _last(db, "item", "output"))
        self._active: set[int] = set()
        self.claimed: set[int] = set()
        """Items of earlier lines that one of this process has taken, until that is committed."""

    @contextmanager
    def at_work(self) -> Iterator[int]:
        """The number of a new line, which is at work as long as the block."""
        self._lines += 1
        number = self._lines
        self._active.add(number)
        try:
            yield number
        finally:
            self._active.remove(number)

    def oldest_line(self) -> int:
        """Items that were met last before this line belong to nobody who is at work."""
        return min(self._active)

    def complete(self) -> None:
        """A line came to the end of its input: the job is done, and what is spent from here on belongs to another one."""
        if len(self._active) == 1:
            self.writer.put("update job set since = ?", self._attempts)

    def next_item(self) -> int:
        """The number of a new item."""
        self._items += 1
        return self._items

    def next_run(self) -> int:
        """The number of a new run."""
        self._runs += 1
        return self._runs

    def next_output(self) -> int:
        """The number of a new output file."""
        self._outputs += 1
        return self._outputs

    async def intend(
        self, item: int, key: str, cost_usd: float | None, wait: Wait | None = None, strategy: Strategy = Strategy.PRIMARY
    ) -> Intent:
        """Have it on the disk that a call is about to be made.

        Raises:
            OutputError: that cannot be had; the call must not be made.
        """
        self._attempts += 1
        if doubts := self.settle_doubts(item):
            self.asked_again += doubts
        intent = Intent(self._attempts, f"headrace-{self._token}-{self._attempts}", doubts)
        waited = (None, 0.0, None) if wait is None else (wait.pool, wait.seconds, wait.cause)
        asked = (intent.number, item, intent.request_id, key, time.time(), self._simulated, cost_usd, strategy.value)
        self.writer.put(_INTEND, *asked, *waited)
        try:
            await self.writer.durable()
        except BaseException:
            self._close(intent, "unpaid")  # it was not made
            raise
        point("intent_durable")
        return intent

    def settle_doubts(self, item: int) -> int:
        """Whatever came of the calls of an item that were in doubt, they are of the past; how many there were."""
        doubts = self.doubtful.pop(item, 0)
        if doubts:
            self.writer.put("update attempt set outcome = 'unknown' where item = ? and outcome is null", item)
        return doubts

    def failed(self, intent: Intent, problem: Problem) -> None:
        """A call got no picture; that one did is written when the picture is on the disk (:class:`headrace.journal.line.JournalLine`)."""
        outcome = "spoilt" if problem.billed else "unknown" if problem.uncertain else "unpaid"
        self._close(intent, outcome, problem.kind.value, problem.status, clean(problem.message, _MESSAGE))

    def _close(self, intent: Intent, outcome: str, kind: str | None = None, status: int | None = None, message: str | None = None) -> None:
        self.writer.put(_CLOSE, outcome, time.time(), kind, status, message, intent.number)


@contextmanager
def open_journal(root: Path, disk: Disk, *, fresh: bool, hold: bool, simulated: bool = False) -> Iterator[Journal]:
    """The journal in an output folder; what is left to be written is written at the end.

    Args:
        root: the output folder.
        disk: where it is written.
        fresh: forget what is there.
        hold: leave alone what is in doubt.
        simulated: calls cost nothing: what they would have cost is kept apart.

    Raises:
        UsageError: another process works in the folder, or what lies there is no journal.
        OutputError: the journal, or what is left for it at the end, cannot be written.
    """
    with ExitStack() as opened:
        with readable(root):
            opened.enter_context(alone(root))
            writer = Writer(open_database(root, fresh=fresh), root, disk)
            # Closed last: it leaves one whole file behind, without a log beside it.
            opened.enter_context(closing(writer))
            reader = opened.enter_context(closing(reading(root)))
            journal = Journal(writer, reader, root, hold=hold, simulated=simulated)
            in_doubt = reader.execute("select 1 from attempt where outcome is null limit 1").fetchone()
        if in_doubt or fresh:
            sweep_parts(root / "images")
        yield journal


def _last(db: sqlite3.Connection, table: str, column: str = "number") -> int:
    # A damaged row may hold anything in any column.
    last = f"select coalesce(max({column}), 0) from {table} where typeof({column}) = 'integer'"  # noqa: S608 - names of our own
    return int(db.execute(last).fetchone()[0])
