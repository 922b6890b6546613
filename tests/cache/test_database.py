from __future__ import annotations

import sqlite3
import stat
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from headrace.cache.database import FILE, connect, prepare, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def db(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(prepare(folder)) as opened:
        yield opened


def test_the_file_and_its_log_are_the_users_alone(db: sqlite3.Connection, folder: Path) -> None:
    db.execute("insert into loose values ('x')")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / FILE).is_file()


def test_a_reader_waits_for_no_writer(db: sqlite3.Connection, folder: Path) -> None:
    with closing(connect(folder, 0.0)) as reader, transaction(db):
        db.execute("insert into loose values ('x')")
        assert reader.execute("select count(*) from loose").fetchone() == (0,)


def test_a_transaction_is_done_whole_or_not_at_all(db: sqlite3.Connection) -> None:
    def spoilt() -> None:
        with transaction(db):
            db.execute("insert into loose values ('x')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spoilt()
    assert db.execute("select count(*) from loose").fetchone() == (0,)
    with transaction(db):
        db.execute("insert into loose values ('y')")
    assert db.execute("select path from loose").fetchall() == [("y",)]


def test_after_a_commit_that_failed_the_next_transaction_works(db: sqlite3.Connection) -> None:
    def unkept() -> None:
        with transaction(db):
            db.execute("pragma defer_foreign_keys=on")
            db.execute("insert into vector values (1, 'e', x'00')")

    with pytest.raises(sqlite3.IntegrityError):
        unkept()
    with transaction(db):
        db.execute("insert into loose values ('y')")
    assert db.execute("select path from loose").fetchall() == [("y",)]


def test_a_full_disk_is_told_as_such_and_the_next_transaction_works(db: sqlite3.Connection) -> None:
    (pages,) = db.execute("pragma page_count").fetchone()
    db.execute(f"pragma max_page_count={pages + 2}")

    def full() -> None:
        with transaction(db):
            for number in range(10_000):
                db.execute("insert into loose values (?)", (f"{number:0100}",))

    with pytest.raises(sqlite3.Error, match="full"):
        full()
    db.execute("pragma max_page_count=1000000")
    with transaction(db):
        db.execute("insert into loose values ('y')")
    assert db.execute("select path from loose").fetchall() == [("y",)]


def test_opening_again_changes_nothing(db: sqlite3.Connection, folder: Path) -> None:
    db.execute("insert into loose values ('x')")
    before = db.execute("select * from sqlite_master").fetchall()
    with closing(prepare(folder)) as again:
        assert again.execute("select * from sqlite_master").fetchall() == before
        assert again.execute("select path from loose").fetchall() == [("x",)]
        assert again.execute("select * from total").fetchall() == [(1, 0, 0)]


@pytest.mark.parametrize("version", [1, 99, -1])
def test_a_file_of_another_version_is_refused_and_left_as_it_is(version: int, folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / FILE)) as other:
        other.execute("create table something (x)")
        other.execute(f"pragma user_version={version}")
        other.commit()
    with pytest.raises(ValueError, match=f"it has version {version}, and this headrace reads"):
        prepare(folder)
    with closing(sqlite3.connect(folder / FILE)) as other:
        assert other.execute("pragma user_version").fetchone() == (version,)
        assert other.execute("select name from sqlite_master").fetchall() == [("something",)]


def test_a_failed_opening_leaves_no_lock(folder: Path) -> None:
    folder.mkdir()
    (folder / FILE).write_bytes(b"this is no database" * 100)
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError):
            prepare(folder)
    (folder / FILE).unlink()
    with suppress(FileNotFoundError):
        (folder / f"{FILE}-wal").unlink()
    prepare(folder).close()


def test_an_entry_that_goes_takes_its_vectors_and_pictures_along(db: sqlite3.Connection) -> None:
    for key in ("a", "b"):
        db.execute("insert into entry values (null, ?, 's', 'c', 'n', 'p', '{}', 'o', 1, 1, 0.1, 1.0, 1.0, 0)", (key,))
    for number in (1, 2):
        db.execute("insert into picture values (?, 0, 'one.png', 'x', 'png', 1, 1, 10)", (number,))
        db.execute("insert into vector values (?, 'e', x'00')", (number,))
    assert db.execute("select entries, bytes from total").fetchone() == (2, 10)
    db.execute("delete from entry where key = 'a'")
    assert db.execute("select entries, bytes from total").fetchone() == (1, 10)
    assert db.execute("select count(*) from loose").fetchone() == (0,), "the other still shows it"
    db.execute("delete from entry")
    assert db.execute("select entries, bytes from total").fetchone() == (0, 0)
    assert db.execute("select path from loose").fetchall() == [("one.png",)]
    assert db.execute("select (select count(*) from picture) + (select count(*) from vector)").fetchone() == (0,)


def test_a_number_is_never_used_twice(db: sqlite3.Connection) -> None:
    row = "insert into entry values (null, 'a', 's', 'c', 'n', 'p', '{}', 'o', 1, 1, 0.1, 1.0, 1.0, 0)"
    first = db.execute(row).lastrowid
    db.execute("delete from entry")
    assert (db.execute(row).lastrowid or 0) > (first or 0)
