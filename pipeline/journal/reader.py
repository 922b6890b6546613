"""A journal as of one moment, for whoever only looks at it: what it holds may be damaged, and is then one line or one unknown value."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace.errors import UsageError
from headrace.journal.database import APPLICATION, FILE, VERSION, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LAST = 1e11
"""Seconds since 1970 that no clock shows before the year 5138."""


@contextmanager
def opened(folder: Path, since: int = VERSION) -> Iterator[sqlite3.Connection]:
    """The journal of an output folder, while a run is at work as well as after it.

    Args:
        folder: the output folder.
        since: the first version that has what is asked for.

    Raises:
        UsageError: there is none, it is none, it is of an earlier or of a later headrace, or it is damaged.
    """
    try:
        if not (folder / FILE).is_file():
            raise _none(folder)
        with closing(reading(folder)) as db:
            # What SQLite was given is ours, what a damaged page holds may be anything.
            db.text_factory = lambda raw: raw.decode("utf-8", "replace")
            db.execute("begin")  # one moment's books
            _check(db, folder, since)
            yield db
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        # UnicodeDecodeError: SQLite's message quotes what it could not read.
        raise UsageError(f"the journal in {folder} cannot be read: {error}") from None


def _check(db: sqlite3.Connection, folder: Path, since: int) -> None:
    (application,), (version,) = (db.execute(f"pragma {name}").fetchone() for name in ("application_id", "user_version"))
    if application == 0 and not db.execute("select 1 from sqlite_schema").fetchone():
        raise _none(folder)  # a run was ended before it had made one
    if application != APPLICATION:
        raise UsageError(f"{folder / FILE} is no journal; name the --out-dir of a run")
    if version < since:
        raise UsageError(f"the journal in {folder} is of an earlier headrace; it is brought up to date by the next run there")
    if version > VERSION:
        raise UsageError(f"the journal in {folder} is of a later headrace; look at it with that one")


def _none(folder: Path) -> UsageError:
    return UsageError(f"{folder} holds no journal; name the --out-dir of a run")


def finite(value: float | None) -> float | None:
    """A number that sums survive."""
    return value if value is not None and math.isfinite(value) else None


def moment(value: float | None) -> float | None:
    """Seconds since 1970 that a clock may have shown."""
    return value if value is not None and 0 <= value < _LAST else None


def utc(value: float | None, timespec: str = "auto") -> str | None:
    """That moment in ISO 8601; None where it is none."""
    at = moment(value)
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec=timespec)
