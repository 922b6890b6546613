"""Nearest neighbours among the vectors of one scope: a FAISS index that is a view of the store, made anew at every start.

Flat while it is small. From 8,192 vectors on inverted lists: a flat search over 100,000 takes 10 ms, more than to encode the words, one
over lists 0.3 ms; they grow without the stall of a reallocation (4 s for a million), and single vectors can be removed. Vectors are
held in half precision, which finds the same neighbours in half the memory; the cosine that decides is computed from the store's
own float32. (Measured with ``benchmarks/cache_speed.py``; removal and stalls: facebookresearch/faiss#3339, #1784.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SIZES = ((8_192, 0), (65_536, 128), (524_288, 256), (2**62, 512))
"""Up to so many vectors: so many inverted lists."""
_TRAINED_BY = 40
"""Vectors a list that its centroid is found from."""
_PROBES = 12
"""Lists that a search looks into."""
_HALF = 0.002
"""What half precision may take from a cosine."""


class Index:
    """Unit vectors by number; adding and searching take turns, which is up to the caller.

    Args:
        dimensions: of every vector.
        expected: how many vectors it will hold; a good deal more make it slow, and want a new one.
        sample: vectors that stand for those to come, of shape (n, dimensions), float32; at least :func:`sample_size` of them.
    """

    def __init__(self, dimensions: int, expected: int = 0, sample: NDArray[np.float32] | None = None) -> None:
        # A single search is 2 to 4 times slower with two threads, and the other core encodes.
        faiss.omp_set_num_threads(1)
        self.capacity, lists = next(size for size in _SIZES if expected < size[0])
        half, inner = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        self._index: Any
        if lists and sample is not None and len(sample) >= lists:
            self._centroids = faiss.IndexFlatIP(dimensions)  # FAISS does not keep it alive
            self._index = faiss.IndexIVFScalarQuantizer(self._centroids, dimensions, lists, half, inner)
            self._index.nprobe = _PROBES
            self._index.cp.niter = 5
            self._index.cp.min_points_per_centroid = 1
            self._index.train(sample)
        else:
            self._index = faiss.IndexIDMap2(faiss.IndexScalarQuantizer(dimensions, half, inner))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, numbers: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Add vectors, of shape (n, dimensions), float32, each of length 1, under numbers that are not there yet."""
        self._index.add_with_ids(vectors, np.asarray(numbers, dtype=np.int64))

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove those of the numbers that are there."""
        self._index.remove_ids(np.asarray(numbers, dtype=np.int64))

    def search(self, vectors: NDArray[np.float32], count: int, floor: float) -> list[list[int]]:
        """For each vector the numbers of its ``count`` nearest, the nearest first, those whose cosine is not clearly below ``floor``."""
        if not len(self):
            return [[] for _ in vectors]
        cosines, numbers = self._index.search(vectors, count)
        near = (cosines >= floor - _HALF) & (numbers >= 0)
        return [row[keep].tolist() for row, keep in zip(numbers, near, strict=True)]


def sample_size(expected: int) -> int:
    """How many vectors an index for so many wants to be trained on; 0 where it needs none."""
    return next(lists for size, lists in _SIZES if expected < size) * _TRAINED_BY
