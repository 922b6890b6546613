"""The cache's one SQLite file: its tables, and how it is opened.

The sums and the list of loose files are kept by triggers: whoever deletes an entry, in whatever way, leaves books that agree.
Several processes may share one folder.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from headrace.files import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "answers.sqlite"
BUSY_S = 30.0
READ_S = 1.0
"""A reader waits for nobody but, for an instant, whoever sets the log up or starts it anew; to give up then would be to pay again."""
_VERSION = 2
_TABLES = (
    """create table if not exists entry (
        id integer primary key autoincrement,  -- never used twice: an index may still know an old one
        key text not null unique,              -- exact key
        scope text not null,                   -- hash of everything but the words
        canonical text not null,               -- canonical key
        namespace text not null,
        prompt text not null,
        request text not null,                 -- JSON of the parameters, for people
        origin text not null,                  -- id of the prompt that paid for it
        input_tokens integer,
        output_tokens integer,
        cost_usd real,
        created real not null,                 -- seconds since 1970
        used real not null,
        hits integer not null default 0
    ) strict""",
    "create index if not exists entry_canonical on entry (canonical)",
    "create index if not exists entry_scope on entry (scope)",
    "create index if not exists entry_created on entry (created)",
    "create index if not exists entry_used on entry (used)",
    """create table if not exists picture (
        entry integer not null references entry (id) on delete cascade,
        position integer not null,
        path text not null,                    -- below the folder; named by the content
        sha256 text not null,
        format text not null,
        width integer not null,
        height integer not null,
        bytes integer not null,
        primary key (entry, position)
    ) strict, without rowid""",
    "create index if not exists picture_path on picture (path)",
    """create table if not exists vector (
        entry integer not null references entry (id) on delete cascade,
        encoder text not null,                 -- fingerprint
        value blob not null,                   -- float32; with a rowid two fit a page, without one they overflow
        primary key (entry, encoder)
    ) strict""",
    # Files that are being placed, or that no entry points to any more: whoever sweeps removes those that still have none.
    "create table if not exists loose (path text primary key) strict, without rowid",
    "create table if not exists total (one integer primary key check (one = 1), entries integer not null, bytes integer not null) strict",
    "insert or ignore into total values (1, 0, 0)",
    """create trigger if not exists entry_added after insert on entry begin
        update total set entries = entries + 1;
    end""",
    """create trigger if not exists entry_removed after delete on entry begin
        update total set entries = entries - 1;
    end""",
    """create trigger if not exists picture_added after insert on picture begin
        update total set bytes = bytes + new.bytes where (select count(*) from picture where path = new.path) = 1;
    end""",
    """create trigger if not exists picture_removed after delete on picture
    when not exists (select 1 from picture where path = old.path) begin
        update total set bytes = bytes - old.bytes;
        insert or ignore into loose values (old.path);
    end""",
)


def connect(folder: Path, timeout_s: float) -> sqlite3.Connection:
    """One more connection; the caller's threads take turns in using it."""
    db = sqlite3.connect(folder / FILE, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    db.text_factory = lambda text: text.decode("utf-8", "replace")  # one row that a stranger spoilt must not hide the others
    db.execute("pragma foreign_keys=on")
    # A power cut may lose the last answers from the cache, never its integrity.
    db.execute("pragma synchronous=normal")
    return db


def prepare(folder: Path) -> sqlite3.Connection:
    """Make the folder and the tables where they are missing; the connection for writing.

    Raises:
        OSError: the folder cannot be made or written.
        sqlite3.Error: the file is no database.
        ValueError: it is one of another version.
    """
    private_folder(folder)
    with ExitStack() as opened, _alone(folder):
        db = opened.enter_context(closing(connect(folder, BUSY_S)))
        (folder / FILE).chmod(0o600)
        db.execute("pragma journal_mode=wal")
        with transaction(db):
            (version,) = db.execute("pragma user_version").fetchone()
            if version not in (0, _VERSION):
                raise ValueError(f"it has version {version}, and this headrace reads {_VERSION}")
            for statement in _TABLES:
                db.execute(statement)
            db.execute(f"pragma user_version={_VERSION}")
        opened.pop_all()
        return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; nobody else writes meanwhile, in any process."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        if db.in_transaction:  # SQLite ends some by itself
            db.execute("rollback")
        raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    # SQLite does not wait for its lock where two processes make the same new file a write-ahead log at once.
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
