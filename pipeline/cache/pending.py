"""The prompts of one scope that are in flight, searched by their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Container

    from numpy.typing import NDArray

    from headrace.cache.in_flight import Flight


class Pending:
    """Prompts with unit vectors; a few thousand at most, so that one product with all of them takes a millisecond."""

    def __init__(self, dimensions: int) -> None:
        self._prompts: list[tuple[Flight, str]] = []
        self._vectors = np.zeros((16, dimensions), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._prompts)

    def add(self, flight: Flight, prompt: str, vector: NDArray[np.float32]) -> None:
        """Add a prompt with the flight that others may follow; ``vector`` is of shape (dimensions,)."""
        count = len(self._prompts)
        if count == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._vectors[count] = vector
        self._prompts.append((flight, prompt))

    def landed(self) -> frozenset[Flight]:
        """Flights that are over."""
        return frozenset(flight for flight, _ in self._prompts if flight.landed.is_set())

    def forget(self, flights: Container[Flight]) -> None:
        """Forget the prompts of these flights."""
        stay = [place for place, (flight, _) in enumerate(self._prompts) if flight not in flights]
        if len(stay) < len(self._prompts):
            self._prompts = [self._prompts[place] for place in stay]
            self._vectors[: len(stay)] = self._vectors[stay]

    def near(self, vector: NDArray[np.float32], count: int, floor: float) -> list[tuple[Flight, str, float]]:
        """Flight, prompt and cosine of the nearest ``count``, as far as that is at least ``floor``, the nearest first."""
        cosines = self._vectors[: len(self._prompts)] @ vector
        best = np.argsort(-cosines)[:count]
        return [(*self._prompts[place], float(cosines[place])) for place in best if cosines[place] >= floor]
