"""The journal's one SQLite file: its tables, how it is opened, and that one process at a time works with it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cache.database import transaction
from headrace.errors import OutputError, UnsyncedError, UsageError
from headrace.files import locked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE = "journal.sqlite"
LOCK = "journal.lock"
_BUSY_S = 30.0
_PATIENCE_S = 0.1
_OUTSIDE = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""What says nothing about the file itself."""
APPLICATION = 0x68656164  # "head"
VERSION = 3
_RUNS = (
    """create table run (
        number integer primary key,
        started_at real not null,              -- seconds since 1970
        seen_at real not null,                 -- when it was last known to be at work
        settings text not null,                -- JSON of what it was asked to do
        books text not null                    -- JSON of every pool's books as they were then
    ) strict""",
    """create table limit_seen (
        run integer not null,
        at real not null,                      -- seconds since 1970: from then on
        pool text not null,
        books text not null                    -- JSON of its state and of what was known of its limits
    ) strict""",
)
"""What a report tells of how the runs went."""
_FROM_2 = ("alter table attempt add column strategy text",)
_FROM_1 = (
    *(f"alter table item add column {name}" for name in ("prompt text", "read_at real", "ended_at real")),
    *(
        f"alter table attempt add column {name}"
        for name in ("pool text", "waited_s real", "waited_for text", "ended_at real", "kind text", "status integer", "message text")
    ),
    *_RUNS,
    *_FROM_2,
)
_EARLIER = {1: _FROM_1, 2: _FROM_2}
"""What a journal of an earlier version lacks."""
_TABLES = (
    """create table item (
        number integer primary key,
        identity blob not null,                -- SHA-256 of what was asked for and of the id that was given
        line integer not null,                 -- the run of a line that met it last
        name text not null,                    -- its id
        status text,                           -- ok, failed, skipped; null: no result yet
        final integer not null default 0,      -- whether the result stands in later runs
        pictures integer not null default 0,
        result text,                           -- JSON of the output line, without what a later run says anew
        output integer,                        -- the output file that has its line
        prompt text,                           -- its words
        read_at real,                          -- seconds since 1970
        ended_at real                          -- when it got its result
    ) strict""",
    "create index item_identity on item (identity, line desc)",
    """create table attempt (
        number integer primary key,
        item integer not null,
        request_id text not null,              -- X-Client-Request-Id of the call
        key text not null,                     -- name of the API key
        sent_at real not null,                 -- seconds since 1970
        outcome text,                          -- paid, spoilt, unpaid, unknown; null: was under way
        simulated integer not null,            -- whether its money is play money
        cost_usd real,                         -- estimated until it is paid
        strategy text,                         -- primary, or the rung of the ladder that made it
        pool text,
        waited_s real,                         -- before it was let in
        waited_for text,                       -- what kept it waiting (admission/ledger.py)
        ended_at real,                         -- seconds since 1970
        kind text,                             -- why it got no picture
        status integer,                        -- of the HTTP answer
        message text                           -- what the answer said, in part
    ) strict""",
    "create index attempt_item on attempt (item)",
    "create index attempt_open on attempt (outcome) where outcome is null or outcome = 'unknown'",
    # Calls up to that number belong to jobs that came to the end of their input.
    "create table job (one integer primary key check (one = 1), since integer not null) strict",
    "insert into job values (1, 0)",
    """create table output (
        number integer primary key,
        path text not null unique,
        source text not null,                  -- what the prompts were read from
        device integer not null,
        inode integer not null,
        offset integer not null default 0,     -- bytes of lines that are in it for sure
        lines integer not null default 0,      -- so many of them
        complete integer not null default 0
    ) strict""",
    *_RUNS,
)


def open_database(folder: Path, *, fresh: bool) -> sqlite3.Connection:
    """The journal of an output folder, made where it is missing; ``fresh`` forgets the one that is there.

    Raises:
        UsageError: it is no journal, or one of another version.
        OutputError: it cannot be written ahead.
        OSError: it cannot be made.
        sqlite3.Error: neither.
    """
    path = folder / FILE
    if fresh:
        for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
            (folder / name).unlink(missing_ok=True)
    with ExitStack() as opened:
        try:
            db = opened.enter_context(closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)))
            version = _version(db, path)
            path.chmod(0o600)
            if db.execute("pragma journal_mode=wal").fetchone() != ("wal",):
                # It says so in no other way, whether an fsync failed or the file system has no shared memory.
                raise OutputError(f"{path} cannot have a write-ahead log there; choose another --out-dir")
            # Without it a power cut takes back what was committed: 586 of 1,066 rows when it was tried.
            db.execute("pragma synchronous=full")
            if statements := _TABLES if version is None else _EARLIER.get(version, ()):
                _make(db, statements)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise UsageError(f"{path} is no journal: {error}; choose another --out-dir, or start over with --fresh") from None
        opened.pop_all()
        return db


def _version(db: sqlite3.Connection, path: Path) -> int | None:
    (application,), (version,) = (db.execute(f"pragma {name}").fetchone() for name in ("application_id", "user_version"))
    if (application, version) == (0, 0) and not db.execute("select 1 from sqlite_schema").fetchone():
        return None
    if application != APPLICATION or version not in (*_EARLIER, VERSION):
        raise UsageError(f"{path} is no journal that this headrace can read; choose another --out-dir, or start over with --fresh")
    return int(version)


def _make(db: sqlite3.Connection, statements: Iterable[str]) -> None:
    with transaction(db):
        for statement in statements:
            db.execute(statement)
        db.execute(f"pragma application_id={APPLICATION}")
        db.execute(f"pragma user_version={VERSION}")


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """What is wrong with a journal is one line; only where the file itself is damaged that line offers to forget it.

    Raises:
        UsageError: it is damaged.
        UnsyncedError: an fsync failed.
        OutputError: the disk or the folder does not let us.
    """
    try:
        yield
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        # UnicodeDecodeError: SQLite's message quotes what it could not read.
        if getattr(error, "sqlite_errorname", "").endswith("FSYNC"):
            raise UnsyncedError(f"the journal in {folder} may be incomplete on the disk: fsync failed") from None
        if isinstance(error, OSError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUTSIDE:
            why = getattr(error, "strerror", None) or error
            raise OutputError(f"the journal in {folder} cannot be used: {why}; make room or see to its rights, then run it again") from None
        raise UsageError(f"the journal in {folder} cannot be read: {error}; choose another --out-dir, or start over with --fresh") from None


def reading(folder: Path) -> sqlite3.Connection:
    """One more connection, which reads what is committed."""
    # A folder that cannot be written has no room for the index of a log; where there is no log it needs none.
    kind = "mode=ro" if os.access(folder, os.W_OK) or (folder / f"{FILE}-wal").exists() else "immutable=1"
    db = sqlite3.connect(f"{(folder / FILE).absolute().as_uri()}?{kind}", uri=True, timeout=_BUSY_S, check_same_thread=False)
    db.isolation_level = None
    return db


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time works in an output folder.

    Raises:
        UsageError: another one does.
        OSError: the folder cannot be locked.
    """
    with ExitStack() as held:
        try:
            # Somebody who only asks whether a process works here has the lock for an instant.
            handle = held.enter_context(locked(folder / LOCK, _PATIENCE_S))
        except BlockingIOError:
            who = (folder / LOCK).read_bytes()[:20].decode("ascii", "replace")
            raise UsageError(f"process {who} works in {folder}; wait for its end, or choose another --out-dir") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield


def at_work(folder: Path) -> bool:
    """Whether a process works in the folder right now."""
    try:
        handle = os.open(Path(folder) / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, and for an instant: a process that starts meanwhile tries again.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
