from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.disk import EVERY_S
from headrace.errors import OutputError, UnsyncedError
from headrace.files import write_part
from headrace.journal.database import FILE, reading
from headrace.journal.writer import LINGER_S, MANY
from headrace.offload import inline
from headrace.records import Part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from headrace.journal.journal import Journal

    Run = Callable[[Callable[[], Awaitable[None]]], None]
    Opened = Callable[..., AbstractAsyncContextManager[Journal]]

ENTER = "insert into item (identity, line, name) values (x'00', 1, ?)"


def names(folder: Path) -> list[str]:
    db = reading(folder)
    try:
        return [name for (name,) in db.execute("select name from item order by number")]
    finally:
        db.close()


class Counting:
    """Runs inline, and fails as long as it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    async def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.calls += 1
        if self.error is not None:
            raise self.error
        return function(*args)


def full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    return error


def test_what_many_wait_for_is_committed_at_once_and_in_its_order(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        offload = Counting()
        async with opened(offload) as journal, trio.open_nursery() as nursery:
            for name in "abcdef":
                journal.writer.put(ENTER, name)
                nursery.start_soon(journal.writer.durable)
        assert offload.calls == 1
        assert names(tmp_path) == list("abcdef")

    run(main)


def test_who_waits_has_everything_that_was_put_before_on_the_disk(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as journal:
            journal.writer.put(ENTER, "a")
            await journal.writer.durable()
            assert names(tmp_path) == ["a"]
            journal.writer.put(ENTER, "b")
            assert names(tmp_path) == ["a"]

    run(main)


def test_what_nobody_waits_for_is_committed_after_a_while_or_when_it_is_much(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as journal:
            journal.writer.put(ENTER, "a")
            await trio.sleep(LINGER_S / 2)
            assert names(tmp_path) == []
            await trio.sleep(LINGER_S)
            assert names(tmp_path) == ["a"]
            for _ in range(MANY):
                journal.writer.put(ENTER, "b")
            await trio.sleep(LINGER_S / 2)
            assert len(names(tmp_path)) == 1 + MANY
            assert journal.writer.pending == 0

    run(main)


def test_what_is_left_at_the_end_is_committed_also_when_the_run_is_cancelled(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            async with opened() as journal:
                journal.writer.put(ENTER, "a")
                scope.cancel()
                await trio.sleep_forever()
        assert names(tmp_path) == ["a"]

    run(main)


def test_a_picture_has_its_final_name_before_its_row_is_there(run: Run, opened: Opened, tmp_path: Path) -> None:
    final = tmp_path / "images" / "ab" / "abcd.png"

    async def main() -> None:
        async with opened() as journal:
            journal.writer.place([write_part(final, b"a picture")])
            journal.writer.put(ENTER, "a")
            assert not final.exists()
            await journal.writer.durable()
            assert final.read_bytes() == b"a picture"
            assert list(final.parent.iterdir()) == [final]

    run(main)


def test_a_full_disk_is_waited_for_and_nobody_is_told_before_it_took_all(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        offload, told = Counting(), trio.Event()
        async with opened(offload) as journal, trio.open_nursery() as nursery:

            async def wait() -> None:
                await journal.writer.durable()
                told.set()

            offload.error = full()
            journal.writer.put(ENTER, "a")
            nursery.start_soon(wait)
            await trio.sleep(4 * EVERY_S)
            journal.writer.put(ENTER, "b")
            assert offload.calls in (4, 5)
            assert not told.is_set()
            offload.error = None
            await trio.sleep(EVERY_S + LINGER_S + 1)
            assert told.is_set()
            assert names(tmp_path) == ["a", "b"]

    run(main)


def test_a_failed_fsync_ends_it_and_whoever_waits_is_told(
    run: Run, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = write_part(tmp_path / "images" / "ab" / "abcd.png", b"a picture")

    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    async def main() -> None:
        told = []

        async def wait(journal: Journal) -> None:
            with pytest.raises(OutputError) as error:
                await journal.writer.durable()
            told.append(error.value)

        with pytest.RaisesGroup(pytest.RaisesExc(UnsyncedError, match="may be incomplete on the disk"), flatten_subgroups=True):
            async with opened() as journal, trio.open_nursery() as nursery:
                monkeypatch.setattr(os, "fsync", failing)
                journal.writer.place([part])
                journal.writer.put(ENTER, "a")
                nursery.start_soon(wait, journal)
                await trio.sleep_forever()
        monkeypatch.undo()
        assert len(told) == 1
        # A second try might succeed and would mean nothing.
        assert names(tmp_path) == []
        assert not part.final.exists()

    run(main)


def test_a_journal_that_is_removed_during_the_run_ends_it(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(OutputError, match="was removed or replaced")):
            async with opened() as journal:
                (tmp_path / FILE).unlink()
                journal.writer.put(ENTER, "a")
                with pytest.raises(OutputError):
                    await journal.writer.durable()
                await trio.sleep_forever()

    run(main)


def test_a_commit_that_is_tried_again_places_no_picture_twice(run: Run, opened: Opened, tmp_path: Path) -> None:
    final = tmp_path / "images" / "ab" / "abcd.png"

    class Refusing:
        """A connection whose first transaction does not go through."""

        def __init__(self, db: sqlite3.Connection) -> None:
            self._db = db
            self._refused = False

        def execute(self, statement: str, values: Any = ()) -> Any:
            if statement == "commit" and not self._refused:
                self._refused = True
                raise full()
            return self._db.execute(statement, values)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._db, name)

    async def main() -> None:
        async with opened(inline) as journal:
            journal.writer._db = Refusing(journal.writer._db)  # type: ignore[assignment]  # fails once
            journal.writer.place([write_part(final, b"a picture")])
            journal.writer.put(ENTER, "a")
            await journal.writer.durable()
            assert final.read_bytes() == b"a picture"
            assert names(tmp_path) == ["a"]

    run(main)


def test_a_picture_that_somebody_removed_before_it_had_its_name_is_told(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(OutputError, match="was removed while it was written")):
            async with opened() as journal:
                journal.writer.place([Part(tmp_path / ".x.part", tmp_path / "x.png")])
                journal.writer.put(ENTER, "a")
                with pytest.raises(OutputError):
                    await journal.writer.durable()
                await trio.sleep_forever()

    run(main)
