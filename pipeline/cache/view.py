"""The vectors of the store as an index that is searched: one index a scope, kept up with what anybody adds to the store.

Everything here blocks, and is called by one thread at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs
import numpy as np

from headrace.cache.index import Index, sample_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from headrace.cache.vectors import Row, Vectors

_AT_ONCE = 10_000
_ROUNDING = 0.02
"""What it may take from a square of length 1."""
_SCOPES = 64
"""Scopes whose index is held; one that is wanted again is made again."""


@attrs.frozen
class Neighbour:
    """An entry whose words are near."""

    id: int
    prompt: str
    cosine: float


@attrs.define
class _Scope:
    index: Index
    last: int = 0
    """The latest entry that was read."""
    unseen: list[Row] = attrs.field(factory=list)
    """Entries without a vector of this encoder."""


class View:
    """Neighbours in the store.

    Raises:
        sqlite3.Error: from every method, where the store cannot be read or written.
    """

    def __init__(self, vectors: Vectors, dimensions: int) -> None:
        self._vectors = vectors
        self._dimensions = dimensions
        self._scopes: OrderedDict[str, _Scope] = OrderedDict()

    def refresh(self, scope: str) -> int:
        """Read what has been added to a scope, by anybody; how many of its entries have no vector yet."""
        held = self._scopes.get(scope)
        if held is None or len(held.index) >= held.index.capacity:
            held = self._scopes[scope] = self._empty(scope)
            if len(self._scopes) > _SCOPES:
                self._scopes.popitem(last=False)
        self._scopes.move_to_end(scope)
        while rows := self._vectors.after(scope, held.last, _AT_ONCE):
            held.last = rows[-1].id
            held.unseen += [row for row in rows if row.vector is None]
            seen, vectors = self._sound(rows)
            if seen:
                held.index.add([row.id for row in seen], vectors)
        return len(held.unseen)

    def near(self, scope: str, asked: NDArray[np.float32], count: int, floor: float) -> list[list[Neighbour]]:
        """For each vector of ``asked``, shape (n, dimensions), its nearest ``count`` entries with a cosine of at least ``floor``.

        The scope has been refreshed before.
        """
        index = self._scopes[scope].index
        while True:
            found = index.search(asked, count, floor)
            wanted = {number for numbers in found for number in numbers}
            sound = zip(*self._sound(self._vectors.rows(sorted(wanted))), strict=True)
            rows = {row.id: (row, vector) for row, vector in sound}
            if not (gone := wanted - rows.keys()):
                break
            # What is gone has kept others out of the nearest.
            index.remove(sorted(gone))
        return [_ranked(vector, [rows[number] for number in numbers], floor) for vector, numbers in zip(asked, found, strict=True)]

    def unseen(self) -> str | None:
        """A scope in which entries have no vector yet, if there is one."""
        return next((scope for scope, held in self._scopes.items() if held.unseen), None)

    def prompts(self, scope: str, limit: int) -> list[str]:
        """The words of the first entries of a scope that have no vector yet."""
        return [row.prompt for row in self._scopes[scope].unseen[:limit]]

    def see(self, scope: str, vectors: NDArray[np.float32]) -> None:
        """Take in the vectors, of shape (n, dimensions), of what :meth:`prompts` told."""
        held = self._scopes[scope]
        rows, held.unseen = held.unseen[: len(vectors)], held.unseen[len(vectors) :]
        held.index.add([row.id for row in rows], vectors)
        self._vectors.add((row.id, vector.tobytes()) for row, vector in zip(rows, vectors, strict=True))

    def _empty(self, scope: str) -> _Scope:
        expected = self._vectors.count(scope)
        wanted = sample_size(expected)
        _, sample = self._sound(self._vectors.sample(scope, max(1, expected // wanted)) if wanted else [])
        return _Scope(Index(self._dimensions, expected, sample))

    def _sound(self, rows: Sequence[Row]) -> tuple[list[Row], NDArray[np.float32]]:
        # A file may rot, and strangers may write into it.
        right = [row for row in rows if row.vector is not None and len(row.vector) == self._dimensions * 4]
        vectors = np.frombuffer(b"".join(row.vector or b"" for row in right), dtype=np.float32).reshape(-1, self._dimensions)
        unit = np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1) < _ROUNDING
        return ([row for row, keep in zip(right, unit, strict=True) if keep], vectors[unit]) if not unit.all() else (right, vectors)


def _ranked(asked: NDArray[np.float32], rows: Sequence[tuple[Row, NDArray[np.float32]]], floor: float) -> list[Neighbour]:
    cosines = [(float(vector @ asked), row) for row, vector in rows]
    near = [Neighbour(row.id, row.prompt, cosine) for cosine, row in cosines if cosine >= floor]
    return sorted(near, key=lambda each: -each.cosine)
