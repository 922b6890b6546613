"""Answers that outlive a run: SQLite is the truth, pictures are files named by their content.

Everything here blocks. Reading has a connection of its own: under a write-ahead log it waits for no writer, and a look-up takes 30 us,
a tenth of what a thread for it would cost. Several processes may share one folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from headrace.errors import OutputError, UsageError
from headrace.files import private_folder
from headrace.log import log
from headrace.records import Picture, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE = "answers.sqlite"
_SCHEMA_VERSION = 1
_BUSY_S = 30.0
_READ_S = 1.0
"""A reader waits for nobody but, for an instant, whoever sets the log up or starts it anew; to give up then would be to pay again."""
_SCHEMA = """
create table if not exists answer (
    key text primary key,
    created real not null,          -- seconds since 1970
    origin text not null,           -- id of the prompt that paid for it
    pictures text not null,         -- JSON list of headrace.records.Picture
    input_tokens integer,
    output_tokens integer,
    cost_usd real
) strict, without rowid
"""


@attrs.frozen(kw_only=True)
class Entry:
    """One answer that was paid for."""

    origin: str
    pictures: tuple[Picture, ...]
    usage: Usage | None
    cost_usd: float | None


class Store:
    """Answers by their exact key, below one folder.

    Raises:
        UsageError: the folder cannot hold a cache, or holds one of another version.
    """

    def __init__(self, folder: str | os.PathLike[str], ttl_s: float) -> None:
        self._ttl_s = ttl_s
        try:
            self._folder = Path(folder).expanduser()
            private_folder(self._folder)
            with ExitStack() as opened, _alone(self._folder):
                self._db = opened.enter_context(closing(self._connect(timeout=_BUSY_S)))
                (self._folder / _FILE).chmod(0o600)
                self._db.execute("pragma journal_mode=wal")
                self._reading = opened.enter_context(closing(self._connect(timeout=_READ_S)))
                self._prepare()
                self._opened = opened.pop_all()
        except (OSError, ValueError, RuntimeError, sqlite3.Error) as error:
            raise UsageError(f"the cache in {folder} cannot be used: {error}; choose another folder or --cache off") from None

    def get(self, key: str, root: Path) -> Entry | None:
        """The answer under ``key``, its picture files placed below ``root``; None where there is none that is young and whole."""
        try:
            row = self._reading.execute(
                "select origin, pictures, input_tokens, output_tokens, cost_usd from answer where key = ? and created > ?",
                (key, time.time() - self._ttl_s),
            ).fetchone()
        except sqlite3.Error as error:
            log.warning("cache_unreadable", error=str(error))
            return None
        if row is None:
            return None
        try:
            entry = _entry(*row)
        except (ValueError, TypeError, RecursionError) as error:
            log.warning("cache_unreadable", error=str(error))
            return None
        if all(self._place(self._folder, root, picture) for picture in entry.pictures):
            return entry
        log.warning("cache_picture_missing", key=key[:12])
        return None

    def put(self, key: str, entry: Entry, root: Path) -> None:
        """Keep an answer whose picture files lie below ``root``; a cache that cannot be written costs a warning, not the answer."""
        try:
            if not all(self._place(root, self._folder, picture) for picture in entry.pictures):
                return
            usage = (entry.usage.input_tokens, entry.usage.output_tokens) if entry.usage else (None, None)
            pictures = json.dumps([attrs.asdict(picture) for picture in entry.pictures])
            self._db.execute(
                "insert or replace into answer values (?, ?, ?, ?, ?, ?, ?)",
                (key, time.time(), entry.origin, pictures, *usage, entry.cost_usd),
            )
        except (sqlite3.Error, OutputError, ValueError, OverflowError) as error:
            log.warning("cache_unwritable", error=str(error))

    def close(self) -> None:
        """Close the database."""
        self._opened.close()

    def _connect(self, timeout: float) -> sqlite3.Connection:
        # Writing happens in whichever worker thread is free, one at a time.
        return sqlite3.connect(self._folder / _FILE, timeout=timeout, isolation_level=None, check_same_thread=False)

    def _prepare(self) -> None:
        # A power cut may lose the last answers from the cache, never its integrity.
        self._db.execute("pragma synchronous=normal")
        (version,) = self._db.execute("pragma user_version").fetchone()
        if version not in (0, _SCHEMA_VERSION):
            raise ValueError(f"it has version {version}, and this headrace reads {_SCHEMA_VERSION}")
        self._db.execute(_SCHEMA)
        self._db.execute(f"pragma user_version={_SCHEMA_VERSION}")

    def _place(self, source: Path, target: Path, picture: Picture) -> bool:
        # One file under two names where the file system can: a cache of pictures must not double the disk.
        wanted, there = target / picture.path, source / picture.path
        if Path(picture.path).is_absolute() or ".." in Path(picture.path).parts:
            return False  # a stranger wrote this row
        size = _size(wanted)
        if size == picture.bytes:
            return True
        if _size(there) != picture.bytes:
            return False
        try:
            private_folder(wanted.parent)
            wanted.unlink(missing_ok=True)
            _link(there, wanted)
        except OSError as error:
            raise OutputError(f"{wanted} cannot be written: {error.strerror}") from error
        return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    # SQLite does not wait for its lock where two processes make the same new file a write-ahead log at once.
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _entry(origin: str, pictures: str, tokens_in: int | None, tokens_out: int | None, cost_usd: float | None) -> Entry:
    usage = None if tokens_in is None or tokens_out is None else Usage(input_tokens=tokens_in, output_tokens=tokens_out)
    return Entry(origin=origin, pictures=tuple(Picture(**each) for each in json.loads(pictures)), usage=usage, cost_usd=cost_usd)


def _link(there: Path, wanted: Path) -> None:
    try:
        wanted.hardlink_to(there)
    except FileExistsError:
        return  # another process was faster, and content under one name is the same
    except OSError:
        temporary = wanted.with_name(f".{secrets.token_hex(8)}.part")
        try:
            shutil.copyfile(there, temporary)
            temporary.replace(wanted)
        finally:
            temporary.unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
