from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from headrace.cache import index as index_module
from headrace.cache import view as module
from headrace.cache.store import Store
from headrace.cache.vectors import Vectors
from headrace.cache.view import View
from headrace.records import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.cache.encoder import Encoder
    from headrace.cache.entry import Entry

DAY_S = 86_400.0
DIMENSIONS = 64


@attrs.frozen
class Shop:
    """A store, a view of it, and somebody who keeps answers."""

    store: Store
    view: View
    encoder: Encoder
    root: Path
    make: Callable[..., Entry]

    def keep(self, prompt: str, *, seen: bool = True, **fields: Any) -> Entry:
        (values,) = self.encoder.encode([prompt])
        vector = Vector(self.encoder.fingerprint, values.tobytes()) if seen else None
        return self.store.put(self.make(self.root, prompt, b"one for all", **fields), self.root, vector)

    def near(self, prompt: str, scope: str, count: int = 5, floor: float = 0.5) -> list[str]:
        self.view.refresh(scope)
        (found,) = self.view.near(scope, self.encoder.encode([prompt]), count, floor)
        return [each.prompt for each in found]


@pytest.fixture
def shop(store: Store, root: Path, encoder: Encoder, entry: Callable[..., Entry]) -> Iterator[Shop]:
    with closing(Vectors(store.folder, encoder.fingerprint, DAY_S)) as vectors:
        yield Shop(store, View(vectors, DIMENSIONS), encoder, root, entry)


def test_in_an_empty_store_nothing_is_near(shop: Shop) -> None:
    assert shop.view.refresh("none") == 0
    assert shop.near("a fox", "none") == []
    assert shop.view.unseen() is None


def test_the_nearest_come_first_with_the_cosine_of_their_own_vectors(shop: Shop) -> None:
    scope = shop.keep("a red fox in snow").scope
    for words in ("a red fox in deep snow", "a red fox", "nothing like it"):
        shop.keep(words)
    shop.view.refresh(scope)
    asked = shop.encoder.encode(["a red fox in snow"])
    (found,) = shop.view.near(scope, asked, 5, 0.5)
    assert [each.prompt for each in found] == ["a red fox in snow", "a red fox in deep snow", "a red fox"]
    assert [each.cosine for each in found] == pytest.approx([float(shop.encoder.encode([each.prompt])[0] @ asked[0]) for each in found])


def test_what_anybody_adds_is_found_and_what_anybody_removes_is_not(shop: Shop, folder: Path) -> None:
    kept = shop.keep("a red fox")
    assert shop.near("a red fox", kept.scope) == ["a red fox"]
    with closing(Store(folder, DAY_S)) as other:
        attrs.evolve(shop, store=other).keep("a red fox indeed")
        assert sorted(shop.near("a red fox", kept.scope)) == ["a red fox", "a red fox indeed"]
        other.drop(kept.number)
    assert shop.near("a red fox", kept.scope) == ["a red fox indeed"]


def test_an_answer_that_was_replaced_is_found_once(shop: Shop) -> None:
    for _ in range(8):
        scope = shop.keep("a red fox").scope
        assert shop.near("a red fox", scope) == ["a red fox"]


def test_those_that_are_gone_take_nobodys_place(shop: Shop) -> None:
    gone = [shop.keep(f"a red fox in snow {number}") for number in range(30)]
    shop.keep("a red fox somewhere")
    scope = gone[0].scope
    assert len(shop.near("a red fox in snow 1", scope)) == 5
    for each in gone:
        shop.store.drop(each.number)
    assert shop.near("a red fox in snow 1", scope) == ["a red fox somewhere"]


def test_a_neighbour_in_another_scope_is_none(shop: Shop) -> None:
    scopes = [shop.keep("a red fox", namespace=str(number)).scope for number in range(200)]
    assert len(set(scopes)) == 200
    wolf = shop.keep("a grey wolf", namespace="7")
    for scope in (*scopes, *scopes[::50]):
        assert shop.near("a red fox", scope) == ["a red fox"]
        assert shop.near("a grey wolf", scope, floor=0.9) == (["a grey wolf"] if scope == wolf.scope else [])
    assert len(shop.view._scopes) <= 64


def test_entries_without_a_vector_wait_until_they_are_seen(shop: Shop) -> None:
    scope = shop.keep("a red fox", seen=False).scope
    shop.keep("a red fox indeed", seen=False)
    assert shop.view.refresh(scope) == 2
    assert shop.near("a red fox", scope) == []
    assert shop.view.unseen() == scope
    assert shop.view.prompts(scope, 1) == ["a red fox"]
    shop.view.see(scope, shop.encoder.encode(["a red fox"]))
    assert shop.near("a red fox", scope) == ["a red fox"]
    assert shop.view.prompts(scope, 9) == ["a red fox indeed"]
    shop.view.see(scope, shop.encoder.encode(["a red fox indeed"]))
    assert shop.view.unseen() is None
    assert len(shop.near("a red fox", scope)) == 2
    assert shop.store._db.execute("select count(*) from vector").fetchone() == (2,)


def test_an_entry_that_goes_before_it_is_seen_is_not_found(shop: Shop) -> None:
    kept = shop.keep("a red fox", seen=False)
    assert shop.view.refresh(kept.scope) == 1
    shop.store.drop(kept.number)
    shop.view.see(kept.scope, shop.encoder.encode(["a red fox"]))
    assert shop.near("a red fox", kept.scope) == []


@pytest.mark.parametrize("values", [b"", b"123", b"1234", bytes(4 * DIMENSIONS + 4)])
def test_a_vector_of_another_length_is_none(values: bytes, shop: Shop) -> None:
    kept = shop.store.put(shop.make(shop.root, "a red fox"), shop.root, Vector(shop.encoder.fingerprint, values))
    other = shop.keep("a red fox indeed")
    assert shop.near("a red fox", kept.scope) == ["a red fox indeed"]
    assert other.scope == kept.scope


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 100.0])
def test_a_vector_that_is_none_of_length_1_matches_nothing(value: float, shop: Shop) -> None:
    values = np.full(DIMENSIONS, value, dtype=np.float32).tobytes()
    kept = shop.store.put(shop.make(shop.root, "whatever"), shop.root, Vector(shop.encoder.fingerprint, values))
    for words in ("a red fox", "x", "y", "z"):
        assert shop.near(words, kept.scope) == []


@pytest.mark.parametrize("rot", [b"", b"123", bytes(4 * DIMENSIONS + 4)])
def test_a_vector_that_rots_after_it_was_read_harms_nobody(rot: bytes, shop: Shop) -> None:
    kept, other = shop.keep("a red fox"), shop.keep("a red fox indeed")
    assert len(shop.near("a red fox", kept.scope)) == 2
    shop.store._db.execute("update vector set value = ? where entry = ?", (rot, kept.number))
    assert shop.near("a red fox", kept.scope) == [other.request.prompt]


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_scope_that_outgrows_its_index_gets_another_one_and_loses_nobody(
    spoilt: bool, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_SIZES", ((20, 0), (200, 4), (2**62, 8)))
    monkeypatch.setattr(index_module, "_TRAINED_BY", 4)
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    if spoilt:
        shop.store.put(shop.make(shop.root, "rotten"), shop.root, Vector(shop.encoder.fingerprint, b"123"))
    scope = ""
    capacities = []
    for number in range(230):
        scope = shop.keep(f"{number} {number} and a fox").scope
        if number % 10 == 5:
            shop.view.refresh(scope)
            capacities.append(shop.view._scopes[scope].index.capacity)
    assert sorted(set(capacities)) == [20, 200, 2**62]
    missed = [number for number in range(230) if shop.near(f"{number} {number} and a fox", scope)[:1] != [f"{number} {number} and a fox"]]
    assert len(missed) <= 4


def test_an_index_is_read_anew_only_where_it_has_to_be(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = shop.keep("a red fox").scope
    shop.view.refresh(scope)
    held = shop.view._scopes[scope].index
    shop.keep("a red fox indeed")
    shop.view.refresh(scope)
    assert shop.view._scopes[scope].index is held
    monkeypatch.setattr(module, "_SCOPES", 1)
    shop.view.refresh(shop.keep("elsewhere", namespace="elsewhere").scope)
    assert list(shop.view._scopes) != [scope]
    assert len(shop.near("a red fox", scope)) == 2
