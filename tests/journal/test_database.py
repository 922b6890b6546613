from __future__ import annotations

import os
import sqlite3
import stat
from typing import TYPE_CHECKING

import pytest

from headrace.errors import UsageError
from headrace.journal.database import FILE, LOCK, VERSION, alone, at_work, open_database
from headrace.journal.status import status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from headrace.journal.journal import Journal

    Run = Callable[[Callable[[], Awaitable[None]]], None]
    Opened = Callable[..., AbstractAsyncContextManager[Journal]]


def test_a_second_one_in_the_same_folder_is_refused_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    assert not at_work(tmp_path)
    with alone(tmp_path):
        assert at_work(tmp_path)
        with (
            pytest.raises(UsageError, match=f"process {os.getpid()} works in .*; wait for its end, or choose another --out-dir"),
            alone(tmp_path),
        ):
            pass
    assert not at_work(tmp_path)
    with alone(tmp_path):
        pass


def test_only_its_owner_can_read_it(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened():
            modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}  # noqa: PTH116, PTH208 - in a task
            assert modes == dict.fromkeys((FILE, f"{FILE}-wal", f"{FILE}-shm", LOCK), 0o600)

    run(main)


def test_what_is_committed_is_synced(tmp_path: Path) -> None:
    db = open_database(tmp_path, fresh=False)
    assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    assert db.execute("pragma synchronous").fetchone() == (2,)
    db.close()


def no_database(path: Path) -> None:
    path.write_bytes(b"these are my notes, please keep them" * 100)


def someone_elses(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("create table mine (x)")
    db.close()


def a_later_version(path: Path) -> None:
    open_database(path.parent, fresh=False).close()
    db = sqlite3.connect(path)
    db.execute("pragma user_version=99")
    db.close()


def columns(db: sqlite3.Connection) -> dict[str, list[tuple[str, str]]]:
    tables = [name for (name,) in db.execute("select name from sqlite_schema where type = 'table' order by name")]
    return {table: sorted((name, kind) for _, name, kind, *_ in db.execute(f"pragma table_info({table})")) for table in tables}


NEW_IN_3 = {"attempt": ("strategy",)}
NEW_IN_2 = {
    "item": ("prompt", "read_at", "ended_at"),
    "attempt": ("pool", "waited_s", "waited_for", "ended_at", "kind", "status", "message"),
    "run": (),
    "limit_seen": (),
}


@pytest.mark.parametrize(("version", "lacks"), [(2, (NEW_IN_3,)), (1, (NEW_IN_3, NEW_IN_2))])
def test_a_journal_of_a_version_before_gets_what_it_lacks_and_keeps_what_it_has(
    tmp_path: Path, version: int, lacks: tuple[dict[str, tuple[str, ...]], ...]
) -> None:
    db = open_database(tmp_path, fresh=False)
    now = columns(db)
    for table, names in (each for tables in lacks for each in tables.items()):
        for name in names:
            db.execute(f"alter table {table} drop column {name}")
        if not names:
            db.execute(f"drop table {table}")
    db.execute("insert into item (number, identity, line, name, status) values (1, x'00', 1, 'hero', 'ok')")
    db.execute(f"pragma user_version={version}")
    db.close()
    db = open_database(tmp_path, fresh=False)
    assert columns(db) == now
    assert db.execute("select name, status, prompt from item").fetchall() == [("hero", "ok", None)]
    assert db.execute("pragma user_version").fetchone() == (VERSION,)
    db.close()


@pytest.mark.parametrize("make", [no_database, someone_elses, a_later_version])
def test_what_is_no_journal_of_ours_is_refused_and_left_as_it_is(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / FILE)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UsageError, match="is no journal") as error:
        open_database(tmp_path, fresh=False)
    assert "--fresh" in str(error.value)
    assert (tmp_path / FILE).read_bytes() == before
    open_database(tmp_path, fresh=True).close()
    open_database(tmp_path, fresh=False).close()


def test_a_folder_without_a_journal_has_no_status(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no journal; name the --out-dir of a run"):
        status(tmp_path)


def test_a_status_can_be_asked_for_while_a_run_is_at_work(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as journal:
            await journal.intend(1, "k", 0.5)
            books = status(tmp_path)
            assert books["running"]
            assert books["attempts"]["open"] == 1
            assert books["in_doubt"] == []
        assert not status(tmp_path)["running"]

    run(main)
