"""Keys by the million: a set that lives in a temporary file, so that it takes a fixed part of memory whatever it holds."""

from __future__ import annotations

import sqlite3
import weakref
from typing import TYPE_CHECKING

from headrace.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_MEMORY_KB = 65_536
"""Of pages held; some 3 million keys fit, and only more of them are looked for on the disk."""


class Seen:
    """A set of keys of hex digits, of which the first 32 count: two of ten million are the same by accident once in 10**24 times."""

    def __init__(self) -> None:
        # An empty name is a file without one: whatever ends the process removes it.
        # Whoever drops it last may be another thread than the one that made it.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._db.close)
        for statement in (
            "pragma journal_mode=off",
            f"pragma cache_size=-{_MEMORY_KB}",
            "create table seen (key blob primary key) without rowid",
            "begin",
        ):
            self._db.execute(statement)

    def __contains__(self, key: str) -> bool:
        return self._db.execute("select 1 from seen where key = ?", (_short(key),)).fetchone() is not None

    def add(self, keys: Iterable[str]) -> None:
        """Add all of them.

        Raises:
            OutputError: there is no room for the file.
        """
        try:
            self._db.executemany("insert or ignore into seen values (?)", [(_short(key),) for key in keys])
        except sqlite3.OperationalError as error:
            raise OutputError(
                f"the temporary file of the keys that were seen cannot be written: {error}; set TMPDIR to a folder with room"
            ) from None


def _short(key: str) -> bytes:
    return bytes.fromhex(key[:32])
