from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.cache import index as module
from headrace.cache.index import Index, sample_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMENSIONS = 16


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]  # it is an array


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((count, DIMENSIONS), dtype=np.float32))


def near(known: NDArray[np.float32], angle: float = 0.1, seed: int = 1) -> NDArray[np.float32]:
    """Vectors with a cosine of about cos(angle) to these."""
    other = np.random.default_rng(seed).standard_normal(known.shape, dtype=np.float32)
    other = unit(other - (other * known).sum(axis=1, keepdims=True) * known)
    return unit(np.cos(angle) * known + np.sin(angle) * other)


@pytest.fixture
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inverted lists from 200 vectors on."""
    monkeypatch.setattr(module, "_SIZES", ((200, 0), (2_000, 16), (2**62, 32)))


def test_an_empty_index_finds_nothing() -> None:
    assert Index(DIMENSIONS).search(vectors(3), 5, -1.0) == [[], [], []]


def test_the_nearest_are_found_in_their_order_above_the_floor() -> None:
    known = vectors(50)
    index = Index(DIMENSIONS, 50)
    index.add(range(100, 150), known)
    assert len(index) == 50
    for place, found in enumerate(index.search(known, 5, 0.3)):
        cosines = known @ known[place]
        assert found[0] == 100 + place
        got = [float(cosines[number - 100]) for number in found]
        assert got == pytest.approx(sorted(got, reverse=True), abs=0.005)
        clear = [cosine for cosine in sorted(cosines, reverse=True)[:5] if cosine >= 0.3]
        assert len(clear) <= len(found)
        assert got[: len(clear)] == pytest.approx(clear, abs=0.005)
        assert all(cosine >= 0.29 for cosine in got)


def test_fewer_than_asked_for_are_no_trouble() -> None:
    index = Index(DIMENSIONS)
    index.add([7], vectors(1))
    assert index.search(vectors(1), 5, -1.0) == [[7]]


def test_what_rounding_takes_from_a_cosine_loses_nobody() -> None:
    known = vectors(100)
    index = Index(DIMENSIONS, 100)
    index.add(range(100), known)
    asked = near(known, angle=np.arccos(0.8))
    cosines = (asked * known).sum(axis=1)
    for place, found in enumerate(index.search(asked, 100, 0.8 - 1e-6)):
        assert cosines[place] < 0.8 - 1e-6 or place in found


@pytest.mark.usefixtures("small_lists")
@pytest.mark.parametrize("expected", [100, 1_000, 5_000])
def test_near_duplicates_are_found_whatever_the_index_is_made_of(expected: int) -> None:
    known = vectors(expected)
    index = Index(DIMENSIONS, expected, known[: sample_size(expected)])
    index.add(range(expected), known)
    found = index.search(near(known), 5, 0.9)
    assert sum(place in numbers for place, numbers in enumerate(found)) >= 0.98 * expected


@pytest.mark.usefixtures("small_lists")
@pytest.mark.parametrize("expected", [100, 1_000])
def test_what_was_removed_is_not_found_and_the_others_are(expected: int) -> None:
    known = vectors(expected)
    index = Index(DIMENSIONS, expected, known[: sample_size(expected)])
    index.add(range(expected), known)
    index.remove(range(0, expected, 2))
    index.remove([0, 2, 10**12])
    index.remove([])
    assert len(index) == expected // 2
    found = index.search(known, 1, 0.99)
    assert all((numbers == [place]) is (place % 2 == 1) for place, numbers in enumerate(found))


@pytest.mark.usefixtures("small_lists")
@pytest.mark.parametrize("sample", [None, 0, 3])
def test_without_enough_to_learn_from_it_stays_flat_and_right(sample: int | None) -> None:
    known = vectors(1_000)
    index = Index(DIMENSIONS, 1_000, None if sample is None else known[:sample])
    index.add(range(1_000), known)
    assert [numbers for (numbers, *_) in index.search(known, 1, 0.99)] == list(range(1_000))


@pytest.mark.usefixtures("small_lists")
def test_it_says_how_much_it_is_made_for_and_what_it_learns_from() -> None:
    assert [sample_size(expected) for expected in (0, 199, 200, 1_999, 2_000)] == [0, 0, 640, 640, 1280]
    assert [Index(DIMENSIONS, expected).capacity for expected in (0, 199, 200)] == [200, 200, 2_000]


def test_the_sizes_that_ship_grow_with_what_is_expected() -> None:
    assert sample_size(8_191) == 0
    assert 0 < sample_size(8_192) <= 8_192
    assert all(sample_size(expected) <= expected for expected in (8_192, 65_536, 524_288, 10**7))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 30), min_size=1, max_size=8)), max_size=12))
def test_it_holds_what_was_added_and_not_removed(steps: list[tuple[bool, set[int]]]) -> None:
    known = vectors(31)
    index, held = Index(DIMENSIONS), set[int]()
    for adding, numbers in steps:
        if adding:
            new = sorted(numbers - held)
            index.add(new, known[new])
            held |= numbers
        else:
            index.remove(sorted(numbers))
            held -= numbers
        assert len(index) == len(held)
        assert {number for (row,) in [index.search(known[:1], 40, -2.0)] for number in row} == held
