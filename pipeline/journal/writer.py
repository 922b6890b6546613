"""Group commit: what many prompts have to write goes to the disk together, with one fsync for all of them.

A commit takes a few milliseconds; what comes up meanwhile is the next one. In each, in this order: pictures are synced and get their final
names, output files are synced, and then the rows are committed that say so. What is put first is never committed later.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import attrs
import trio

from headrace.cache.database import transaction
from headrace.chaos import point
from headrace.errors import OutputError, UnsyncedError
from headrace.files import place, sync
from headrace.journal.database import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from headrace.disk import Disk
    from headrace.records import Part

GATHER_S = 0.01
"""Before a commit that somebody waits for: a call takes 10 s, and a commit for two costs what one for one does."""
LINGER_S = 1.0
"""What nobody waits for is committed after so long."""
MANY = 500
"""Statements that are committed though nobody waits for them: they are kept in memory till then."""


@attrs.define(eq=False)
class _Batch:
    statements: list[tuple[str, Sequence[Any]]] = attrs.field(factory=list)
    parts: list[Part] = attrs.field(factory=list)
    handles: dict[int, str] = attrs.field(factory=dict)
    afterwards: list[Callable[[], None]] = attrs.field(factory=list)
    begun: trio.Event = attrs.field(factory=trio.Event)
    urgent: trio.Event = attrs.field(factory=trio.Event)
    done: trio.Event = attrs.field(factory=trio.Event)


class Writer:
    """The only one that writes into a journal.

    Args:
        db: its connection.
        folder: where the file lies.
        disk: where blocking work goes, and waits for room.
    """

    def __init__(self, db: sqlite3.Connection, folder: Path, disk: Disk) -> None:
        self._db = db
        self._path = folder / FILE
        self._inode = self._path.stat().st_ino
        self._disk = disk
        self._next = _Batch()
        self._current: _Batch | None = None
        self._error: OutputError | None = None

    @property
    def pending(self) -> int:
        """Statements that are not committed yet."""
        return len(self._next.statements) + (len(self._current.statements) if self._current else 0)

    def put(self, statement: str, *values: Any, then: Callable[[], None] | None = None) -> None:
        """Have it committed with the next batch; ``then`` is called behind that."""
        self._next.statements.append((statement, values))
        if then is not None:
            self._next.afterwards.append(then)
        self._next.begun.set()
        if len(self._next.statements) >= MANY:
            self._next.urgent.set()

    def place(self, parts: Sequence[Part]) -> None:
        """Have files get their final names before the next batch is committed."""
        self._next.parts += parts

    def sync(self, handle: int, name: str) -> None:
        """Have what was written there synced before the next batch is committed."""
        self._next.handles[handle] = name

    async def durable(self) -> None:
        """Wait until everything that was put so far is on the disk.

        Raises:
            OutputError: it will never be.
        """
        batch = self._next if self._next.statements else self._current
        if self._error is None and batch is not None and not batch.done.is_set():
            batch.urgent.set()
            await batch.done.wait()
        if self._error is not None:
            raise OutputError(str(self._error))

    async def run(self) -> None:
        """Commit batch after batch until cancelled.

        Raises:
            OutputError: the disk cannot be trusted any more.
        """
        while True:
            await self._next.begun.wait()
            with trio.move_on_after(LINGER_S):
                await self._next.urgent.wait()
                await trio.sleep(GATHER_S)
            batch = self._current = self._next
            self._next = _Batch()
            try:
                await self._disk.write(self._commit, batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits has to be told
                self._error = error if isinstance(error, OutputError) else OutputError(f"{self._path} cannot be written: {error}")
                batch.done.set()
                raise self._error from None
            self._current = None
            _tell(batch)

    def close(self) -> None:
        """Commit what is left, where the disk can be trusted, and close the file. Blocks.

        Raises:
            OutputError: what is left cannot be written.
        """
        try:
            for batch in (self._current, self._next):
                if batch is not None and batch.statements and self._error is None:
                    self._commit(batch)
                    _tell(batch)
        except (sqlite3.Error, OSError) as error:
            raise OutputError(f"{self._path} cannot be written: {error}") from None
        finally:
            self._db.close()

    def _commit(self, batch: _Batch) -> None:
        place(batch.parts, durable=True)
        for handle, name in batch.handles.items():
            sync(handle, name)
        self._check()
        try:
            with transaction(self._db):
                for statement, values in batch.statements:
                    self._db.execute(statement, values)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").endswith("FSYNC"):
                raise UnsyncedError(f"{self._path} may be incomplete on the disk: fsync failed") from error
            raise
        point("finished")

    def _check(self) -> None:
        # SQLite would go on writing into a file that has no name any more.
        try:
            there = self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            there = False
        if not there:
            raise OutputError(f"{self._path} was removed or replaced during the run; what it held is lost, the pictures are not")


def _tell(batch: _Batch) -> None:
    batch.done.set()
    for then in batch.afterwards:
        then()
