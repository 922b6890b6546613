from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from headrace.cache import answers as module
from headrace.cache.answers import Answers
from headrace.cache.store import Entry, Store
from headrace.offload import inline
from headrace.records import Picture

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def entry(root: Path) -> Entry:
    """An answer whose picture file lies below ``root``."""
    digest = hashlib.sha256(b"a picture").hexdigest()
    path = root / "images" / digest[:2] / f"{digest}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a picture")
    picture = Picture(path=str(path.relative_to(root)), sha256=digest, format="png", width=8, height=8, bytes=9)
    return Entry(origin="7", pictures=(picture,), usage=None, cost_usd=0.006)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out"


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))


def test_what_was_kept_is_found_now_and_in_the_next_run(tmp_path: Path, root: Path) -> None:
    async def test() -> None:
        store = Store(tmp_path / "cache", 1000)
        answers, kept = Answers(store, root, inline), entry(root)
        assert answers.find("key") is None
        await answers.keep("key", kept)
        assert answers.find("key") == kept
        assert Answers(store, root, inline).find("key") == kept
        store.close()

    in_virtual_time(test)


def test_what_was_found_is_below_the_root(tmp_path: Path, root: Path) -> None:
    store = Store(tmp_path / "cache", 1000)
    store.put("key", entry(root), root)
    answers = Answers(store, tmp_path / "elsewhere", inline)
    for _ in range(2):
        found = answers.find("key")
        assert found is not None
        assert (tmp_path / "elsewhere" / found.pictures[0].path).is_file()
    store.close()


def test_only_so_many_are_remembered_and_the_least_used_goes_first(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)

    async def test() -> None:
        store = Store(tmp_path / "cache", 1000)
        answers = Answers(store, root, inline)
        for key in ("a", "b"):
            await answers.keep(key, entry(root))
        answers.find("a")
        await answers.keep("c", entry(root))
        assert list(answers._recent) == ["a", "c"]
        assert answers.find("b") is not None
        store.close()

    in_virtual_time(test)
