from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from headrace.cache import vectors as module
from headrace.cache.store import Store
from headrace.cache.vectors import Vectors
from headrace.records import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.cache.entry import Entry

    Make = Callable[..., Entry]

DAY_S = 86_400.0


@pytest.fixture
def vectors(store: Store) -> Iterator[Vectors]:
    with closing(Vectors(store.folder, "mine", DAY_S)) as opened:
        yield opened


def test_entries_come_in_the_order_in_which_they_were_kept_by_anybody(
    store: Store, vectors: Vectors, root: Path, folder: Path, entry: Make
) -> None:
    first = store.put(entry(root, "one"), root, Vector("mine", b"1111"))
    with closing(Store(folder, DAY_S)) as other:
        second = other.put(entry(root, "two"), root, Vector("theirs", b"2222"))
        third = other.put(entry(root, "three"), root)
    elsewhere = store.put(entry(root, "one", namespace="elsewhere"), root, Vector("mine", b"4444"))
    found = vectors.after(first.scope, 0, 10)
    assert [(row.id, row.vector) for row in found] == [(first.number, b"1111"), (second.number, None), (third.number, None)]
    assert [row.prompt for row in found if row.vector is None] == ["two", "three"]
    assert [row.id for row in vectors.after(first.scope, first.number, 1)] == [second.number]
    assert vectors.after(first.scope, third.number, 10) == []
    assert sorted(vectors.scopes()) == sorted({first.scope, elsewhere.scope})
    assert (vectors.count(first.scope), vectors.count(elsewhere.scope), vectors.count("none")) == (3, 1, 0)


def test_rows_are_those_that_are_still_there_and_have_a_vector_of_this_encoder(
    store: Store, vectors: Vectors, root: Path, entry: Make
) -> None:
    made = [
        store.put(entry(root, str(number)), root, Vector(encoder, b"1111")) for number, encoder in enumerate(("mine", "mine", "theirs"))
    ]
    store.drop(made[0].number)
    assert [(row.id, row.prompt, row.vector) for row in vectors.rows([each.number for each in made])] == [(made[1].number, "1", b"1111")]
    assert vectors.rows([]) == []


def test_what_is_too_old_is_there_no_more(folder: Path, store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.put(entry(root), root, Vector("mine", b"1111"))

    class Later:
        def time(self) -> float:
            return (store.get_number(kept.number) or kept).created + 11

    with closing(Vectors(folder, "mine", 10.0)) as vectors:
        assert len(vectors.rows([kept.number])) == 1
        monkeypatch.setattr(module, "time", Later())
        assert vectors.rows([kept.number]) == []


def test_vectors_are_added_to_entries_that_are_still_there_and_have_none(store: Store, vectors: Vectors, root: Path, entry: Make) -> None:
    kept = store.put(entry(root, "one"), root)
    gone = store.put(entry(root, "two"), root)
    has = store.put(entry(root, "three"), root, Vector("mine", b"3333"))
    store.drop(gone.number)
    vectors.add([(kept.number, b"1111"), (gone.number, b"2222"), (has.number, b"xxxx"), (10**9, b"yyyy")])
    assert [row.vector for row in vectors.after(kept.scope, 0, 10)] == [b"1111", b"3333"]
    assert store._db.execute("select count(*) from vector").fetchone() == (2,)


def test_a_sample_is_a_share_of_those_that_have_a_vector(store: Store, vectors: Vectors, root: Path, entry: Make) -> None:
    for number in range(20):
        store.put(entry(root, str(number)), root, Vector("mine", b"1111") if number % 2 else None)
    scope = entry(root).scope
    assert len(vectors.sample(scope, 1)) == 10
    assert 2 <= len(vectors.sample(scope, 4)) <= 5
