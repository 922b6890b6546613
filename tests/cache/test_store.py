from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from headrace.cache.store import Entry, Store
from headrace.errors import HeadraceError, OutputError, UsageError
from headrace.records import Picture, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Entry]

DAY_S = 86_400.0


def _entry(root: Path, content: bytes = b"a picture", origin: str = "7") -> Entry:
    digest = hashlib.sha256(content).hexdigest()
    path = root / f"images/{digest[:2]}/{digest}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    picture = Picture(path=f"images/{digest[:2]}/{digest}.png", sha256=digest, format="png", width=8, height=8, bytes=len(content))
    return Entry(origin=origin, pictures=(picture,), usage=Usage(input_tokens=10, output_tokens=196), cost_usd=0.006)


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """``entry(root, content, origin)`` is an answer whose picture file lies below ``root``."""
    return _entry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "cache", DAY_S)
    yield made
    made.close()


def test_an_answer_is_found_as_it_was_kept(store: Store, root: Path, entry: Make) -> None:
    kept = entry(root)
    assert store.get("key", root) is None
    store.put("key", kept, root)
    assert store.get("key", root) == kept
    assert store.get("other", root) is None


@pytest.mark.parametrize(
    "change", [{"usage": None}, {"cost_usd": None}, {"cost_usd": 0.0}, {"origin": "日本 \0 🦊"}, {"origin": ""}, {"pictures": ()}]
)
def test_what_an_answer_may_lack_comes_back_lacking(change: dict[str, Any], store: Store, root: Path, entry: Make) -> None:
    kept = attrs.evolve(entry(root), **change)
    store.put("key", kept, root)
    assert store.get("key", root) == kept


def test_answers_survive_a_restart_and_a_second_put_replaces(tmp_path: Path, root: Path, entry: Make) -> None:
    for content in (b"one", b"the other"):
        first = Store(tmp_path / "cache", DAY_S)
        first.put("key", entry(root, content), root)
        first.close()
        second = Store(tmp_path / "cache", DAY_S)
        assert second.get("key", root) == entry(root, content)
        second.close()


def test_a_picture_is_placed_below_another_root(store: Store, root: Path, tmp_path: Path, entry: Make) -> None:
    kept = entry(root)
    store.put("key", kept, root)
    shutil.rmtree(root)
    elsewhere = tmp_path / "elsewhere"
    assert store.get("key", elsewhere) == kept
    assert (elsewhere / kept.pictures[0].path).read_bytes() == b"a picture"


def test_what_is_too_old_is_a_miss(tmp_path: Path, root: Path, entry: Make) -> None:
    young = Store(tmp_path / "cache", DAY_S)
    young.put("key", entry(root), root)
    for ttl_s, found in ((0.0, False), (1e-9, False), (1000.0, True), (float("inf"), True)):
        old = Store(tmp_path / "cache", ttl_s)
        assert (old.get("key", root) is not None) is found
        old.close()
    young.close()


def spoil(path: Path, how: str) -> None:
    path.unlink()  # the copy below the root is the same file
    if how == "truncated":
        path.write_bytes(b"a pic")
    elif how == "a folder":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("nowhere")


@pytest.mark.parametrize("how", ["missing", "truncated", "dangling"])
def test_a_picture_that_is_lost_is_a_miss_and_the_next_put_mends_it(
    how: str, store: Store, root: Path, tmp_path: Path, entry: Make
) -> None:
    kept = entry(root)
    store.put("key", kept, root)
    spoil(tmp_path / "cache" / kept.pictures[0].path, how)
    assert store.get("key", tmp_path / "elsewhere") is None
    store.put("key", kept, root)
    assert store.get("key", tmp_path / "elsewhere") == kept
    assert (tmp_path / "elsewhere" / kept.pictures[0].path).read_bytes() == b"a picture"


def test_a_torn_file_in_the_output_folder_is_replaced_by_a_hit(store: Store, root: Path, entry: Make) -> None:
    kept = entry(root)
    store.put("key", kept, root)
    spoil(root / kept.pictures[0].path, "truncated")
    assert store.get("key", root) == kept
    assert (root / kept.pictures[0].path).read_bytes() == b"a picture"


def test_one_missing_picture_of_two_is_a_miss(store: Store, root: Path, tmp_path: Path, entry: Make) -> None:
    both = attrs.evolve(entry(root), pictures=(*entry(root).pictures, *entry(root, b"second").pictures))
    store.put("key", both, root)
    (tmp_path / "cache" / both.pictures[1].path).unlink()
    assert store.get("key", tmp_path / "elsewhere") is None


def test_an_answer_whose_picture_is_gone_is_not_kept(store: Store, root: Path, entry: Make) -> None:
    kept = entry(root)
    shutil.rmtree(root)
    store.put("key", kept, root)
    assert store.get("key", root) is None


def test_two_stores_on_one_folder_see_each_other(tmp_path: Path, root: Path, entry: Make) -> None:
    one, other = Store(tmp_path / "cache", DAY_S), Store(tmp_path / "cache", DAY_S)
    one.put("a", entry(root, b"a"), root)
    assert other.get("a", root) == entry(root, b"a")
    other.put("b", entry(root, b"b"), root)
    assert one.get("b", root) == entry(root, b"b")
    one.close()
    other.close()


def test_many_processes_may_open_and_write_one_new_folder_at_once(tmp_path: Path, root: Path, entry: Make) -> None:
    kept = [entry(root, b"%d" % index) for index in range(8)]
    failures: list[BaseException] = []
    start = threading.Barrier(8)

    def use(index: int) -> None:
        start.wait()
        try:
            store = Store(tmp_path / "cache", DAY_S)
            store.put(str(index), kept[index], root)
            store.put("all", kept[0], root)
            assert store.get(str(index), root) == kept[index]
            store.close()
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=use, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    store = Store(tmp_path / "cache", DAY_S)
    assert [store.get(str(index), root) for index in range(8)] == kept
    store.close()


def one_line(folder: Path | str) -> str:
    with pytest.raises(UsageError) as raised:
        Store(folder, DAY_S)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"\x00" * 4096])
def test_a_file_that_is_no_database_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(content)
    assert "--cache off" in one_line(tmp_path)


def test_a_database_of_something_else_is_refused_or_works(tmp_path: Path, root: Path, entry: Make) -> None:
    with sqlite3.connect(tmp_path / "answers.sqlite") as db:
        db.execute("create table answer (x)")
    db.close()
    try:
        store = Store(tmp_path, DAY_S)
    except UsageError:
        return
    store.put("key", entry(root), root)
    assert store.get("key", root) is None
    store.close()


def test_a_cache_of_another_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "answers.sqlite") as db:
        db.execute("pragma user_version=99")
    db.close()
    assert "version 99" in one_line(tmp_path)
    with sqlite3.connect(tmp_path / "answers.sqlite") as db:
        assert db.execute("pragma user_version").fetchone() == (99,)
        assert db.execute("select count(*) from sqlite_master").fetchone() == (0,)
    db.close()


@pytest.mark.parametrize("folder", ["file", "file/below", "a\0b"])
def test_a_folder_that_cannot_be_is_refused_in_one_line(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one_line(f"{tmp_path}/{folder}")


def test_the_home_folder_of_nobody_is_refused_in_one_line() -> None:
    one_line("~headrace-nobody/cache")


def test_the_users_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Store("~/.cache/headrace", DAY_S).close()
    assert (tmp_path / ".cache" / "headrace" / "answers.sqlite").is_file()


def test_a_torn_database_costs_a_warning_and_not_the_run(store: Store, root: Path, entry: Make, caplog: pytest.LogCaptureFixture) -> None:
    store.put("key", entry(root), root)
    store._db.execute("drop table answer")
    assert store.get("key", root) is None
    store.put("key", entry(root), root)
    assert "cache_unreadable" in caplog.text
    assert "cache_unwritable" in caplog.text


@pytest.mark.parametrize("pictures", ["", "null", "{", "[1]", '[{"path": "x"}]', '[{"later": 1}]', "[" * 5000])
def test_a_row_that_a_stranger_wrote_is_a_miss(pictures: str, store: Store, root: Path) -> None:
    store._db.execute("insert into answer values ('key', 1e12, '7', ?, 1, 1, 0.1)", (pictures,))
    assert store.get("key", root) is None


@pytest.mark.parametrize("path", ["../../escaped.png", "{outside}/escaped.png", "images/../../escaped.png"])
def test_a_row_that_a_stranger_wrote_places_nothing_outside_of_the_root(
    path: str, store: Store, root: Path, tmp_path: Path, entry: Make
) -> None:
    (tmp_path / "cache" / "images").mkdir(exist_ok=True)
    where = path.format(outside=tmp_path)
    source = tmp_path / "cache" / where
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(b"a picture")
    kept = entry(root)
    picture = attrs.evolve(kept.pictures[0], path=where)
    deep = tmp_path / "one" / "two" / "three"
    store.put("key", attrs.evolve(kept, pictures=(picture,)), tmp_path / "cache")
    before = {found for found in tmp_path.rglob("*") if found.is_file()}
    store.get("key", deep)
    made = {found for found in tmp_path.rglob("*") if found.is_file()} - before
    assert not [found for found in made if deep not in found.parents]


@pytest.mark.parametrize(
    "change",
    [{"origin": "\ud800"}, {"usage": Usage(input_tokens=10**20, output_tokens=1)}, {"cost_usd": 10**400}, {"cost_usd": float("nan")}],
    ids=["half of a surrogate pair", "a bill beyond 64 bits", "a cost beyond floats", "no number"],
)
def test_an_answer_that_the_database_cannot_hold_costs_no_more_than_itself(
    change: dict[str, Any], store: Store, root: Path, entry: Make
) -> None:
    store.put("key", attrs.evolve(entry(root), **change), root)
    store.get("key", root)


def test_where_links_are_impossible_the_file_is_copied(store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    kept = entry(root)
    store.put("key", kept, root)
    (root / kept.pictures[0].path).write_bytes(b"x")
    assert store.get("key", root) == kept
    assert (root / kept.pictures[0].path).read_bytes() == b"a picture"


def test_one_file_under_two_names_takes_the_disk_once(store: Store, root: Path, tmp_path: Path, entry: Make) -> None:
    kept = entry(root)
    store.put("key", kept, root)
    assert (root / kept.pictures[0].path).samefile(tmp_path / "cache" / kept.pictures[0].path)


def test_the_cache_is_the_users_alone_and_keeps_no_parts(store: Store, root: Path, tmp_path: Path, entry: Make) -> None:
    kept = entry(root)
    (root / kept.pictures[0].path).chmod(0o600)
    store.put("key", kept, root)
    found = list((tmp_path / "cache").rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert not [path for path in found if path.suffix == ".part"]


def test_an_output_folder_that_cannot_be_written_is_said(store: Store, root: Path, tmp_path: Path, entry: Make) -> None:
    kept = entry(root)
    store.put("key", kept, root)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written") as raised:
        store.get("key", tmp_path / "file")
    assert len(str(raised.value).splitlines()) == 1


def test_a_cache_folder_that_went_away_costs_a_warning_and_not_the_run(
    store: Store, root: Path, tmp_path: Path, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    kept = entry(root)
    (tmp_path / "cache" / "images").write_text("in the way", "utf-8")
    try:
        store.put("key", kept, root)
    except HeadraceError as error:
        pytest.fail(f"an answer was lost for the cache's sake: {error}")
    assert "cache_unwritable" in caplog.text
    assert (root / kept.pictures[0].path).read_bytes() == b"a picture"
