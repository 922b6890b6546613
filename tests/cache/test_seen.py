from __future__ import annotations

import hashlib
import sqlite3
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.cache.seen import Seen
from headrace.errors import OutputError


def key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_what_was_added_is_there_and_nothing_else() -> None:
    seen = Seen()
    assert key("a") not in seen
    seen.add([key("a"), key("b")])
    seen.add([key("a")])
    assert [key(text) in seen for text in "abc"] == [True, True, False]


def test_a_full_disk_is_told_in_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, db: sqlite3.Connection) -> None:
            self.close = db.close

        def execute(self, *_: Any) -> None: ...

        def executemany(self, *_: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    connect = sqlite3.connect
    monkeypatch.setattr("headrace.cache.seen.sqlite3.connect", lambda *args, **options: Full(connect(*args, **options)))
    with pytest.raises(OutputError, match="is full; set TMPDIR"):
        Seen().add([key("a")])


def test_it_may_be_dropped_in_another_thread_than_it_was_made_in() -> None:
    with ThreadPoolExecutor(1) as elsewhere:
        made = elsewhere.submit(Seen).result()
    closed = weakref.finalize(made, int)
    del made  # a complaint of its finalizer would fail this test
    assert not closed.alive
