from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from headrace.cache import search as module
from headrace.cache.encoder import EncoderError
from headrace.cache.search import Search
from headrace.records import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace.cache.encoder import Encoder
    from headrace.cache.entry import Entry
    from headrace.cache.store import Store

    Make = Callable[..., Entry]

DAY_S = 86_400.0


@pytest.fixture
def search(store: Store, encoder: Encoder) -> Iterator[Search]:
    with closing(Search(store.folder, encoder, 0.5, DAY_S)) as opened:
        yield opened


def test_each_text_gets_its_vector_and_its_neighbours_in_its_own_scope(
    search: Search, store: Store, root: Path, encoder: Encoder, entry: Make
) -> None:
    here, there = (store.put(entry(root, "a red fox", namespace=name), root) for name in ("here", "there"))
    questions = [(there.scope, "a red fox"), (here.scope, "a grey wolf"), (here.scope, "a red fox indeed"), ("none", "a red fox")]
    found = search.look(questions)
    assert [[near.id for near in each.neighbours] for each in found] == [[there.number], [], [here.number], []]
    for each, (_, text) in zip(found, questions, strict=True):
        assert np.array_equal(each.values, encoder.encode([text])[0])
        assert each.vector == Vector(encoder.fingerprint, each.values.tobytes())


def test_what_was_kept_before_the_encoder_was_there_is_found_and_encoded_once(
    search: Search, store: Store, root: Path, encoder: Any, entry: Make
) -> None:
    kept = store.put(entry(root, "a red fox"), root)
    for _ in range(3):
        (found,) = search.look([(kept.scope, "red a fox")])
        assert [near.prompt for near in found.neighbours] == ["a red fox"]
    assert encoder.encoded.count("a red fox") == 1
    assert store._db.execute("select encoder, length(value) from vector").fetchall() == [(encoder.fingerprint, 256)]


def test_vectors_of_another_encoder_are_not_compared(search: Search, store: Store, root: Path, encoder: Encoder, entry: Make) -> None:
    (values,) = encoder.encode(["a red fox"])
    kept = store.put(entry(root, "nothing like it"), root, Vector("another:1", values.tobytes()))
    (found,) = search.look([(kept.scope, "a red fox")])
    assert found.neighbours == ()


def test_a_whole_cache_without_vectors_is_caught_up_with_piece_by_piece(
    search: Search, store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FEW", 3)
    monkeypatch.setattr(module, "BATCH", 4)
    kept = [store.put(entry(root, f"{number} {number} fox"), root) for number in range(10)]
    assert search.catch_up() is False, "nobody has asked for that scope"
    (found,) = search.look([(kept[0].scope, "9 9 fox")])
    assert found.neighbours == ()
    assert [search.catch_up() for _ in range(4)] == [True, True, True, False]
    (found,) = search.look([(kept[0].scope, "9 9 fox")])
    assert found.neighbours[0].prompt == "9 9 fox"


def test_everywhere_looks_into_all_scopes_and_at_what_has_no_vector(search: Search, store: Store, root: Path, entry: Make) -> None:
    for number in range(70):
        store.put(entry(root, f"a red fox {number}", namespace=str(number)), root)
    found = search.everywhere("a red fox 33", 3)
    assert len(found) == 3
    assert found[0].prompt == "a red fox 33"
    assert [near.cosine for near in found] == sorted((near.cosine for near in found), reverse=True)
    assert search.everywhere("a red fox", 1000)


@attrs.define
class Spoilt:
    """An encoder that gives good vectors for its first text, and then what it was told to."""

    give: Callable[[int], object]
    fingerprint: str = "spoilt"
    good: int = 1

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.good:
            self.good -= 1
            return np.eye(len(texts), 4, dtype=np.float32)
        return self.give(len(texts))  # type: ignore[return-value]  # that is what is tried


SPOILT: dict[str, Callable[[int], object]] = {
    "no number": lambda count: np.full((count, 4), np.nan, dtype=np.float32),
    "one number is none": lambda count: np.array([[np.nan, 1, 0, 0]] * count, dtype=np.float32),
    "infinite": lambda count: np.full((count, 4), np.inf, dtype=np.float32),
    "zero": lambda count: np.zeros((count, 4), dtype=np.float32),
    "not of length 1": lambda count: np.full((count, 4), 3, dtype=np.float32),
    "too few": lambda count: np.eye(count, 4, dtype=np.float32)[:-1],
    "too many": lambda count: np.eye(count + 1, 4, dtype=np.float32),
    "wider": lambda count: np.eye(count, 5, dtype=np.float32),
    "flat": lambda count: np.eye(1, 4 * count, dtype=np.float32)[0],
    "nothing": lambda _: None,
    "words": lambda count: [["x"]] * count,
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("good", [0, 1])
def test_what_is_no_unit_vector_a_text_is_refused_and_never_stored(how: str, good: int, store: Store, root: Path, entry: Make) -> None:
    kept = store.put(entry(root, "a red fox"), root)

    def use() -> None:
        with closing(Search(store.folder, Spoilt(SPOILT[how], good=good), 0.5, DAY_S)) as search:
            search.look([(kept.scope, "a red fox")])

    if how == "wider" and not good:
        use()  # there is nothing that it could be wider than
        return
    with pytest.raises((EncoderError, ValueError, TypeError)):
        use()
    assert store._db.execute("select count(*) from vector").fetchone() == (0,)


def test_vectors_that_are_not_float32_are_made_so(store: Store) -> None:
    double = Spoilt(lambda count: np.asfortranarray(np.eye(count, 4, dtype=np.float64)))
    with closing(Search(store.folder, double, 0.5, DAY_S)) as search:
        (found,) = search.look([("none", "a red fox")])
        assert found.values.dtype == np.float32
        assert len(found.vector.values) == 16


def test_a_store_that_cannot_be_read_costs_a_warning_and_texts_still_get_their_vectors(
    search: Search, store: Store, root: Path, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store.put(entry(root, "a red fox"), root)
    store._db.execute("alter table vector rename to other")
    (found,) = search.look([(kept.scope, "a red fox")])
    assert found.neighbours == ()
    assert len(found.values) == search.dimensions
    assert "cache_unreadable" in caplog.text


def test_where_vectors_cannot_be_written_they_are_not_made_for_ever(
    search: Search, store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_FEW", 0)
    kept = [store.put(entry(root, f"a red fox {number}"), root) for number in range(3)]

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(search._vectors, "add", full)
    search.look([(kept[0].scope, "a red fox 1")])
    steps = 0
    while search.catch_up():
        steps += 1
        assert steps < 10
    assert caplog.text.count("cache_unwritable") == 1
    seen = store.put(entry(root, "a red fox 1"), root, search.look([(kept[0].scope, "a red fox 1")])[0].vector)
    (found,) = search.look([(kept[0].scope, "a red fox 1")])
    assert [near.id for near in found.neighbours] == [seen.number]
