"""Vectors in the store, as the index needs them: scope by scope, in the order in which they came.

Everything here blocks. It has a connection of its own, because it works in another thread than whoever keeps answers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from headrace.cache.database import BUSY_S, connect, transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@attrs.frozen
class Row:
    """One entry of a scope."""

    id: int
    prompt: str
    vector: bytes | None
    """Float32; None where this encoder has not seen it yet."""


class Vectors:
    """The vectors of one encoder below one folder.

    Args:
        folder: the cache's; its store has been opened before.
        encoder: the fingerprint; vectors of others are not seen.
        ttl_s: seconds after which an entry is none any more.

    Raises:
        sqlite3.Error: from every method, where the file cannot be read or written.
    """

    def __init__(self, folder: Path, encoder: str, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._db = connect(folder, BUSY_S)
        self._encoder = encoder

    def after(self, scope: str, number: int, limit: int) -> list[Row]:
        """Entries of a scope that were kept after entry ``number``, by anybody, the oldest first."""
        rows = self._db.execute(
            "select e.id, case when v.value is null then e.prompt end, v.value from entry e"
            " left join vector v on v.entry = e.id and v.encoder = ? where e.scope = ? and e.id > ? order by e.id limit ?",
            (self._encoder, scope, number, limit),
        )
        return [Row(*row) for row in rows]

    def scopes(self) -> list[str]:
        """All scopes that have entries."""
        return [scope for (scope,) in self._db.execute("select distinct scope from entry")]

    def count(self, scope: str) -> int:
        """Entries of a scope."""
        (count,) = self._db.execute("select count(*) from entry where scope = ?", (scope,)).fetchone()
        return int(count)

    def sample(self, scope: str, every: int) -> list[Row]:
        """About every so-manieth entry of a scope that has a vector, whatever pattern its numbers have (Knuth's multiplicative hash)."""
        rows = self._db.execute(
            "select e.id, '', v.value from entry e join vector v on v.entry = e.id and v.encoder = ? where e.scope = ? "
            " and e.id * 2654435761 % 4294967296 / 65536 % ? = 0",
            (self._encoder, scope, every),
        )
        return [Row(*row) for row in rows]

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """These entries, as far as they are still there and young."""
        marks = ", ".join("?" * len(numbers))
        rows = self._db.execute(
            "select e.id, e.prompt, v.value from entry e join vector v on v.entry = e.id and v.encoder = ?"  # noqa: S608 - only marks
            f" where e.id in ({marks}) and e.created > ?",
            (self._encoder, *numbers, time.time() - self._ttl_s),
        )
        return [Row(*row) for row in rows]

    def add(self, vectors: Iterable[tuple[int, bytes]]) -> None:
        """Keep the vectors of entries that had none."""
        with transaction(self._db):
            self._db.executemany(
                "insert or ignore into vector select id, ?, ? from entry where id = ?",
                [(self._encoder, value, number) for number, value in vectors],
            )

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
