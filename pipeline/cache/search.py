"""Encoder and index together: texts in, their vectors and their neighbours in the store out. Everything here blocks, in one thread."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import attrs
import numpy as np

from headrace.cache.encoder import BATCH, EncoderError
from headrace.cache.judge import CANDIDATES
from headrace.cache.vectors import Vectors
from headrace.cache.view import View
from headrace.log import log
from headrace.records import Vector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace.cache.encoder import Encoder
    from headrace.cache.view import Neighbour

_FEW = 4 * BATCH
_MATRIX = 2
_LENGTH = 0.01
"""What rounding may take from a length."""


@attrs.frozen(eq=False)
class Found:
    """What is known of one text."""

    values: NDArray[np.float32]
    """Its vector, of shape (dimensions,)."""
    vector: Vector
    """The same, to be stored."""
    neighbours: tuple[Neighbour, ...]
    """In the store, the nearest first."""


class Search:
    """Looks for neighbours in the scopes of one cache folder.

    Args:
        folder: the cache's; its store has been opened before.
        encoder: whose vectors they are.
        floor: cosine from which on something is a neighbour.
        ttl_s: seconds after which an entry is none any more.
    """

    def __init__(self, folder: Path, encoder: Encoder, floor: float, ttl_s: float) -> None:
        self._encoder = encoder
        self._floor = floor
        self.dimensions = 0
        # The first text takes longer than others, and tells how many dimensions there are.
        self.dimensions = int(self._encode(["a first text"]).shape[1])
        self._vectors = Vectors(folder, encoder.fingerprint, ttl_s)
        self._view = View(self._vectors, self.dimensions)
        self._catching_up = True

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self._encoder.fingerprint

    def look(self, questions: Sequence[tuple[str, str]]) -> list[Found]:
        """What is known of each text in its scope; ``questions`` are pairs of scope and text.

        Raises:
            Exception: the encoder's own.
        """
        vectors = self._encode([text for _, text in questions])
        neighbours: list[Sequence[Neighbour]] = [()] * len(questions)
        for scope in {scope for scope, _ in questions}:
            places = [place for place, (asked, _) in enumerate(questions) if asked == scope]
            try:
                # Answers that came without a vector, in this run's first seconds, are wanted now; a whole cache of them is not.
                if 0 < self._view.refresh(scope) <= _FEW:
                    self._see(scope, _FEW)
                near = self._view.near(scope, vectors[places], CANDIDATES, self._floor)
            except sqlite3.Error as error:
                log.warning("cache_unreadable", error=str(error))
                continue
            for place, each in zip(places, near, strict=True):
                neighbours[place] = each
        return [
            Found(values, Vector(self.fingerprint, values.tobytes()), tuple(near)) for values, near in zip(vectors, neighbours, strict=True)
        ]

    def everywhere(self, text: str, count: int) -> list[Neighbour]:
        """The ``count`` entries of all scopes that are nearest to a text, the nearest first."""
        asked = self._encode([text])
        found: list[Neighbour] = []
        for scope in self._vectors.scopes():
            while self._view.refresh(scope):
                self._see(scope, BATCH)
            found += self._view.near(scope, asked, count, self._floor)[0]
        return sorted(found, key=lambda near: -near.cosine)[:count]

    def catch_up(self) -> bool:
        """Encode some stored entries that this encoder has not seen yet, of scopes that were asked for; whether there may be more."""
        scope = self._view.unseen() if self._catching_up else None
        if scope is not None:
            try:
                self._see(scope, BATCH)
            except sqlite3.Error as error:
                log.warning("cache_unwritable", error=str(error))
                self._catching_up = False
        return scope is not None

    def close(self) -> None:
        """Close the connection to the store."""
        self._vectors.close()

    def _see(self, scope: str, limit: int) -> None:
        prompts = self._view.prompts(scope, limit)
        self._view.see(scope, self._encode(prompts))

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.ascontiguousarray(self._encoder.encode(texts), dtype=np.float32)
        if vectors.ndim != _MATRIX or len(vectors) != len(texts) or vectors.shape[1] != (self.dimensions or vectors.shape[1]):
            raise EncoderError(f"the encoder {self.fingerprint} gave vectors of shape {vectors.shape} for {len(texts)} texts")
        if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=_LENGTH):
            raise EncoderError(f"the encoder {self.fingerprint} gave vectors that are not of length 1")
        return vectors
