from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, suppress
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from headrace.cache import store as module
from headrace.cache.database import FILE, transaction
from headrace.cache.inventory import problems
from headrace.cache.store import Store
from headrace.errors import UsageError
from headrace.records import Strategy, Usage, Vector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.cache.entry import Entry

    Make = Callable[..., Entry]

DAY_S = 86_400.0
NO_LIMIT = (None, None)


class Clock:
    """Stands for the wall clock of the store."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def stored(kept: Entry, store: Store) -> Entry:
    """The same with what the store adds to it."""
    found = store.get(kept.key)
    assert found is not None
    return attrs.evolve(kept, number=found.number, created=found.created, used=found.used)


def evict(store: Store, *limits: int | None) -> None:
    while store.evict(*(limits or NO_LIMIT)):
        pass


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob("images/*/*")}


def books_agree(store: Store) -> None:
    """The store agrees with its files, and its sums with its rows."""
    assert list(problems(store)) == []
    db = store._db
    entries, size = db.execute("select entries, bytes from total").fetchone()
    assert (entries,) == db.execute("select count(*) from entry").fetchone()
    assert (size,) == db.execute("select coalesce(sum(bytes), 0) from (select max(bytes) as bytes from picture group by path)").fetchone()
    shown = {path for (path,) in db.execute("select path from picture")}
    loose = {path for (path,) in db.execute("select path from loose")}
    assert shown <= files(store.folder) <= shown | loose


# What is kept


def test_an_answer_is_found_as_it_was_kept(store: Store, root: Path, entry: Make) -> None:
    kept = entry(root)
    assert store.get(kept.key) is None
    number = store.put(kept, root).number
    assert store.get(kept.key) == store.get_canonical(kept.canonical) == store.get_number(number) == stored(kept, store)
    assert store.get("other") is store.get_canonical("other") is store.get_number(number + 1) is None
    assert store.prompts(kept.scope, 5) == [kept.request.prompt]
    assert store.prompts("other", 5) == []
    assert list(store.entries()) == [store.get(kept.key)]


@pytest.mark.parametrize(
    "change",
    [
        {"usage": None},
        {"cost_usd": None},
        {"cost_usd": 0.0},
        {"origin": "日本 \0 🦊"},
        {"origin": ""},
        {"namespace": "a\0b"},
    ],
)
def test_what_an_answer_may_lack_comes_back_lacking(change: dict[str, Any], store: Store, root: Path, entry: Make) -> None:
    kept = attrs.evolve(entry(root), **change)
    store.put(kept, root)
    assert store.get(kept.key) == stored(kept, store)


def test_several_pictures_keep_their_order(store: Store, root: Path, entry: Make) -> None:
    kept = entry(root, "a fox", *(b"%d" % number for number in (5, 3, 11, 1)), b"5")
    store.put(kept, root)
    assert store.get(kept.key) == stored(kept, store)
    books_agree(store)


def test_an_answer_as_a_hit_says_whose_picture_it_is(root: Path, entry: Make) -> None:
    hit = entry(root, origin="fox").hit(Strategy.CACHE_VERIFIED, 0.97, "red -> blue")
    assert (hit.strategy, hit.cost_usd, hit.size) == (Strategy.CACHE_VERIFIED, 0.006, "1024x1024")
    assert (hit.match.of, hit.match.similarity, hit.match.difference) == ("fox", 0.97, "red -> blue")


def test_answers_survive_a_restart_and_a_second_put_replaces(folder: Path, root: Path, entry: Make) -> None:
    for content in (b"one", b"the other"):
        with closing(Store(folder, DAY_S)) as first:
            first.put(entry(root, "a fox", content), root)
        with closing(Store(folder, DAY_S)) as second:
            kept = entry(root, "a fox", content)
            assert second.get(kept.key) == stored(kept, second)
            evict(second)
            books_agree(second)
            assert len(files(folder)) == 1


def test_the_latest_answer_is_found_by_its_content(store: Store, root: Path, entry: Make, clock: Clock) -> None:
    for words in ("a fox", "A fox!", "the fox"):
        clock.now += 1
        store.put(entry(root, words, canonical="c"), root)
    found = store.get_canonical("c")
    assert found is not None
    assert found.request.prompt == "the fox"


def test_two_answers_with_one_picture_share_the_file_until_the_last_is_gone(store: Store, root: Path, folder: Path, entry: Make) -> None:
    one, other = (store.put(entry(root, words, b"same"), root) for words in ("a fox", "a wolf"))
    assert len(files(folder)) == 1
    store.drop(one.number)
    evict(store)
    assert len(files(folder)) == 1
    books_agree(store)
    store.drop(other.number)
    evict(store)
    assert files(folder) == set()
    books_agree(store)


def test_an_answer_whose_picture_is_gone_is_not_kept_and_leaves_nothing(store: Store, root: Path, folder: Path, entry: Make) -> None:
    kept = entry(root, "a fox", b"one", b"two")
    (root / kept.pictures[1].path).unlink()
    assert store.put(kept, root).number == 0
    assert store.get(kept.key) is None
    evict(store)
    assert files(folder) == set()
    books_agree(store)


def test_the_cache_is_the_users_alone_and_keeps_no_parts(store: Store, root: Path, folder: Path, entry: Make) -> None:
    kept = entry(root)
    (root / kept.pictures[0].path).chmod(0o600)
    store.put(kept, root)
    found = list(folder.rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (root / kept.pictures[0].path).samefile(folder / kept.pictures[0].path)


# What is evicted


def test_what_is_too_old_is_a_miss_and_goes(folder: Path, root: Path, entry: Make, clock: Clock) -> None:
    with closing(Store(folder, 10.0)) as store:
        old = store.put(entry(root, "old"), root)
        clock.now += 9
        young = store.put(entry(root, "young"), root)
        assert store.get(old.key) is not None
        clock.now += 1
        assert store.get(old.key) is store.get_canonical(old.canonical) is store.get_number(old.number) is None
        assert [found.key for found in store.entries()] == [young.key]
        evict(store)
        assert store._db.execute("select key from entry").fetchall() == [(young.key,)]
        books_agree(store)
        assert files(folder) == {young.pictures[0].path}


@pytest.mark.parametrize(("ttl_s", "found"), [(0.0, False), (1e-9, False), (1000.0, True), (float("inf"), True)])
def test_the_age_that_is_allowed_is_that_of_whoever_asks(ttl_s: float, found: bool, folder: Path, root: Path, entry: Make) -> None:
    with closing(Store(folder, DAY_S)) as young, closing(Store(folder, ttl_s)) as old:
        kept = young.put(entry(root), root)
        assert (old.get(kept.key) is not None) is found


def test_of_too_many_those_used_least_recently_go(store: Store, root: Path, entry: Make, clock: Clock) -> None:
    made = []
    for number in range(8):
        clock.now += 1
        made.append(store.put(entry(root, str(number)), root))
    clock.now += 1
    store.touch({made[0].number: 2, made[3].number: 1})
    evict(store, 4, None)
    assert {found.request.prompt for found in store.entries()} == {"0", "3", "6", "7"}
    assert [store.get_number(made[number].number).hits for number in (0, 3, 7)] == [2, 1, 0]  # type: ignore[union-attr]  # they are there
    books_agree(store)


@pytest.mark.parametrize(("most", "stay"), [(60, 6), (50, 5), (49, 4), (10, 1), (9, 0), (0, 0)])
def test_of_too_many_bytes_no_more_goes_than_has_to_and_the_least_recently_used_first(
    most: int, stay: int, store: Store, root: Path, entry: Make, clock: Clock
) -> None:
    for number in range(6):
        clock.now += 1
        store.put(entry(root, str(number), b"%010d" % number), root)
    evict(store, None, most)
    assert [found.request.prompt for found in store.entries()] == [str(number) for number in range(6)][6 - stay :]
    books_agree(store)


def test_more_than_one_step_of_evicting_leaves_exactly_what_may_stay(
    store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    for number in range(20):
        store.put(entry(root, str(number)), root)
    steps = 0
    while store.evict(2, None):
        steps += 1
    assert steps >= 6
    assert len(list(store.entries())) == 2
    assert len(files(store.folder)) == 2
    books_agree(store)


def test_hits_of_an_answer_that_is_gone_are_nobodys(store: Store) -> None:
    store.touch({17: 3, 0: 1})
    books_agree(store)


class Books(RuleBasedStateMachine):
    """Anything may happen to a store in any order: its sums are those of its rows, and its files those that rows point to."""

    def __init__(self, folder: Path, make: Make, clock: Clock) -> None:
        super().__init__()
        shutil.rmtree(folder, ignore_errors=True)
        self.make = make
        self.clock = clock
        self.root = folder / "out"
        self.stores = [Store(folder / "cache", 50.0) for _ in range(2)]

    @rule(which=st.integers(0, 1), words=st.integers(0, 5), pictures=st.lists(st.integers(0, 4), min_size=1, max_size=3))
    def put(self, which: int, words: int, pictures: list[int]) -> None:
        kept = self.make(self.root, str(words), *(b"x" * (number + 1) for number in pictures))
        assert self.stores[which].put(kept, self.root, Vector("e", b"1234")).number
        assert self.stores[1 - which].get(kept.key) == stored(kept, self.stores[which])

    @rule(which=st.integers(0, 1), number=st.integers(1, 20))
    def drop(self, which: int, number: int) -> None:
        self.stores[which].drop(number)
        assert self.stores[1 - which].get_number(number) is None

    @rule(which=st.integers(0, 1), limits=st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(0, 12)))
    def evict(self, which: int, limits: tuple[int | None, int | None]) -> None:
        evict(self.stores[which], *limits)
        entries, size = self.stores[which]._db.execute("select entries, bytes from total").fetchone()
        assert entries <= (limits[0] if limits[0] is not None else entries)
        assert size <= (limits[1] if limits[1] is not None else size)

    @rule(which=st.integers(0, 1), hits=st.dictionaries(st.integers(1, 20), st.integers(1, 3)))
    def touch(self, which: int, hits: dict[int, int]) -> None:
        self.stores[which].touch(hits)

    @rule(which=st.integers(0, 1))
    def sweep(self, which: int) -> None:
        self.stores[which].sweep()

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def agrees(self) -> None:
        books_agree(self.stores[0])

    def teardown(self) -> None:
        for store in self.stores:
            store.close()


def test_the_books_agree_whatever_happens(tmp_path: Path, entry: Make, clock: Clock) -> None:
    run_state_machine_as_test(
        lambda: Books(tmp_path / "books", entry, clock),  # type: ignore[arg-type]  # whatever makes one will do
        settings=settings(max_examples=25, stateful_step_count=20, deadline=None),
    )


# What goes wrong


class Breaking:
    """A connection that fails, or ends the process, at its n-th statement."""

    def __init__(self, db: sqlite3.Connection, after: int, error: BaseException) -> None:
        self._db = db
        self._left = after
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def _one(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise self._error

    def execute(self, *arguments: Any) -> Any:
        if arguments[0] != "rollback":
            self._one()
        return self._db.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        self._one()
        return self._db.executemany(*arguments)


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), KeyboardInterrupt()], ids=["io", "interrupt"])
@pytest.mark.parametrize("action", ["put", "replace", "drop", "evict", "sweep"])
def test_a_statement_that_fails_leaves_a_store_that_agrees_with_its_files(
    action: str, error: BaseException, store: Store, root: Path, entry: Make
) -> None:
    def act(number: int) -> None:
        if action in ("put", "replace"):
            store.put(entry(root, f"{action} {number if action == 'put' else 0}", b"%d" % number, b"shared"), root, Vector("e", b"1234"))
        elif action == "drop":
            store.drop(store.put(entry(root, "dropped", b"%d" % number), root).number)
        else:
            store.evict(1, None)
            store.sweep()

    db = store._db
    for after in range(1, 16):
        for number in range(3):
            store.put(entry(root, f"more {after} {number}"), root)
        store._db = Breaking(db, after, error)  # type: ignore[assignment]  # it has what a connection has
        with suppress(type(error)):
            act(after)
        store._db = db
        assert not db.in_transaction
        books_agree(store)
        evict(store, 3, None)
        books_agree(store)
        assert files(store.folder) == {picture.path for found in store.entries() for picture in found.pictures}


def test_a_sweep_of_another_process_in_the_middle_of_a_put_leaves_nothing_that_nobody_knows(
    store: Store, folder: Path, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = transaction

    def late(db: sqlite3.Connection) -> Any:
        if db is store._db:
            other.sweep()
        return begin(db)

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    with closing(Store(folder, DAY_S)) as other:
        monkeypatch.setattr(module, "transaction", late)
        monkeypatch.setattr(Store, "_insert", interrupted)
        with suppress(KeyboardInterrupt):
            store.put(entry(root), root)
        monkeypatch.undo()
        evict(other)
        books_agree(other)


CRASH = """
import sys, random
from pathlib import Path
from headrace.cache.store import Store
from headrace.cache.keys import canonical_key, exact_key, scope_key
from headrace.cache.entry import Entry
from headrace.records import Picture, Request, Vector
import hashlib
folder, root, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
random = random.Random(seed)
store = Store(folder, 1e6)
print("open", flush=True)
while True:
    prompt = str(random.randrange(40))
    pictures = []
    for _ in range(random.randrange(1, 4)):
        content = b"%d" % random.randrange(60) * 50
        digest = hashlib.sha256(content).hexdigest()
        path = root / f"images/{digest[:2]}/{digest}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            part = path.with_name(f"{seed}.part")
            part.write_bytes(content)
            part.replace(path)
        pictures.append(Picture(path=str(path.relative_to(root)), sha256=digest, format="png", width=1, height=1, bytes=len(content)))
    request = Request(prompt=prompt, model="m", size="1x1", quality="low")
    entry = Entry(key=exact_key("s", prompt), scope="s", canonical=canonical_key("s", prompt), namespace="", request=request, origin="0",
        pictures=tuple(pictures), usage=None, cost_usd=0.1)
    store.put(entry, root, Vector("e", b"1234"))
    if random.random() < 0.2:
        store.drop(random.randrange(1, 500))
    if random.random() < 0.3:
        store.evict(random.randrange(40), random.choice([None, 2000]))
"""


def crash(folder: Path, root: Path, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CRASH, str(folder), str(root), str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_a_process_that_is_killed_at_any_moment_beside_another_leaves_a_cache_that_agrees_with_its_files(folder: Path, root: Path) -> None:
    random, tick = Random(7), threading.Event()
    for trial in range(5):
        processes = [crash(folder, root, 10 * trial + number) for number in range(2)]
        for process in processes:
            tick.wait(random.uniform(0.02, 0.2))
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            assert errors == ""
        with closing(Store(folder, 1e6)) as store:
            evict(store)
            books_agree(store)
            assert files(folder) == {picture.path for found in store.entries() for picture in found.pictures}
            assert all(store.pictures.whole(picture) for found in store.entries() for picture in found.pictures)
            db = store._db
            assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
            assert db.execute("pragma foreign_key_check").fetchall() == []


def test_two_stores_on_one_folder_see_each_other(folder: Path, root: Path, entry: Make) -> None:
    with closing(Store(folder, DAY_S)) as one, closing(Store(folder, DAY_S)) as other:
        a = one.put(entry(root, "a"), root)
        assert other.get(a.key) == one.get(a.key) is not None
        b = other.put(entry(root, "b"), root)
        assert one.get(b.key) == other.get(b.key) is not None
        one.drop(b.number)
        assert other.get(b.key) is None


def test_many_may_open_write_evict_and_sweep_one_new_folder_at_once(folder: Path, root: Path, entry: Make) -> None:
    kept = [entry(root, str(index), b"%d" % (index % 5)) for index in range(8)]
    failures: list[BaseException] = []
    start = threading.Barrier(8)

    def use(index: int) -> None:
        start.wait()
        try:
            with closing(Store(folder, DAY_S)) as store:
                for _ in range(10):
                    number = store.put(kept[index], root).number
                    assert number
                    found = store.get(kept[index].key)
                    # Whatever the others evict meanwhile: what is there is whole.
                    assert found is None or found.number != number or all(map(store.pictures.whole, found.pictures)) or gone(store, number)
                    store.evict(6, 4)
                    store.sweep()
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    def gone(store: Store, number: int) -> bool:
        return store.get_number(number) is None

    threads = [threading.Thread(target=use, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with closing(Store(folder, DAY_S)) as store:
        evict(store, 6, 4)
        books_agree(store)


def one_line(folder: Path | str) -> str:
    with pytest.raises(UsageError) as raised:
        Store(folder, DAY_S)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"\x00" * 4096])
def test_a_file_that_is_no_database_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert "--cache off" in one_line(tmp_path)


@pytest.mark.parametrize("table", ["create table entry (x)", "create table something (x)", "create view total as select 1"])
def test_a_database_of_something_else_is_refused_or_works(table: str, tmp_path: Path, root: Path, entry: Make) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute(table)
        db.commit()
    with ExitStack() as stack:
        try:
            store = stack.enter_context(closing(Store(tmp_path, DAY_S)))
        except UsageError:
            return
        kept = store.put(entry(root), root)
        assert (store.get(kept.key) is not None) is bool(kept.number)


def test_a_cache_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute("pragma user_version=99")
    assert "version 99" in one_line(tmp_path)


@pytest.mark.parametrize("folder", ["file", "file/below", "a\0b"])
def test_a_folder_that_cannot_be_is_refused_in_one_line(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one_line(f"{tmp_path}/{folder}")


def test_the_home_folder_of_nobody_is_refused_in_one_line() -> None:
    one_line("~headrace-nobody/cache")


def test_the_users_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Store("~/.cache/headrace", DAY_S).close()
    assert (tmp_path / ".cache" / "headrace" / FILE).is_file()


def test_a_torn_database_costs_a_warning_and_not_the_run(store: Store, root: Path, entry: Make, caplog: pytest.LogCaptureFixture) -> None:
    kept = store.put(entry(root), root)
    store._db.execute("drop table picture")
    assert store.get(kept.key) is store.get_canonical(kept.canonical) is store.get_number(1) is None
    assert store.put(entry(root, "a wolf"), root).number == 0
    store.drop(1)
    store.evict(0, 0)
    assert "cache_unreadable" in caplog.text
    assert "cache_unwritable" in caplog.text


def test_a_cache_that_may_not_be_written_costs_a_warning_and_what_is_there_is_still_found(
    store: Store, root: Path, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store.put(entry(root), root)
    store._db.execute("pragma query_only=on")
    lost = entry(root, "a wolf")
    assert store.put(lost, root) == lost
    store.touch({kept.number: 1})
    store.drop(kept.number)
    assert store.evict(0, 0) is False
    assert store.get(kept.key) is not None
    assert caplog.text.count("cache_unwritable") == 1, "the next million would say the same"


ROW = "insert into entry values (null, 'key', 'scope', 'canonical', '', 'a fox', ?, '7', 1, 1, 0.1, 1e12, 1e12, 0)"


@pytest.mark.parametrize("request_", ["", "null", "{", "[1]", '{"later": 1}', '{"prompt": "x"}', "[" * 5000, "\udcff"])
def test_a_row_that_a_stranger_wrote_is_a_miss_and_hides_no_others(
    request_: str, store: Store, root: Path, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    value: object = request_ if request_ != "\udcff" else b"\xff"
    store._db.execute(ROW.replace("?", "cast(? as text)"), (value,))
    store._db.execute("insert into picture values (1, 0, 'x', 'x', 'png', 1, 1, 1)")
    kept = store.put(entry(root), root)
    assert store.get("key") is store.get_canonical("canonical") is store.get_number(1) is None
    assert "cache_unreadable" in caplog.text
    assert [found.number for found in store.entries()] == [kept.number]


@pytest.mark.parametrize(
    "path", ["../mine/file", "{outside}/mine/file", "images/../../mine", "../mine", "..", "", ".", "images", "answers.sqlite"]
)
def test_a_row_that_a_stranger_wrote_removes_nothing_but_pictures(
    path: str, store: Store, root: Path, folder: Path, tmp_path: Path, entry: Make
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(b"mine")
    other, kept = store.put(entry(root, "other"), root), store.put(entry(root), root)
    store._db.execute("update picture set path = ? where entry = ?", (path.format(outside=tmp_path), kept.number))
    store.drop(kept.number)
    evict(store)
    with suppress(OSError, ValueError):
        store.sweep()
    assert (tmp_path / "mine" / "file").read_bytes() == b"mine"
    assert (folder / FILE).is_file()
    assert store.pictures.whole(other.pictures[0])
    assert store._db.execute("select count(*) from loose").fetchone() == (0,), "nor is it tried again and again"


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "\ud800"},
        {"usage": Usage(input_tokens=10**20, output_tokens=1)},
        {"cost_usd": 10**400},
        {"cost_usd": float("nan")},
        {"hits": 2**64},
        {"created": float("nan")},
    ],
    ids=["half of a surrogate pair", "a bill beyond 64 bits", "a cost beyond floats", "no number", "hits beyond 64 bits", "no time"],
)
def test_an_answer_that_the_database_cannot_hold_costs_no_more_than_itself(
    change: dict[str, Any], store: Store, root: Path, entry: Make
) -> None:
    store.put(attrs.evolve(entry(root), **change), root)
    books_agree(store)
    kept = store.put(entry(root, "a wolf"), root)
    assert store.get(kept.key) is not None


def test_an_answer_from_the_future_is_not_kept_longer_than_others(store: Store, root: Path, entry: Make, clock: Clock) -> None:
    store.put(entry(root, "later", created=1e300, used=1e300), root)
    clock.now += 1
    store.put(entry(root, "now"), root)
    evict(store, 1, None)
    assert [found.request.prompt for found in store.entries()] == ["now"]


@pytest.mark.parametrize("how", ["link", "link and copy"])
def test_a_full_disk_costs_a_warning_and_never_the_answer(
    how: str, store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    if how == "link and copy":
        monkeypatch.setattr(shutil, "copyfile", full)
    kept = store.put(entry(root), root)
    monkeypatch.undo()
    assert bool(kept.number) is (how == "link")
    assert ("cache_unwritable" in caplog.text) is (how != "link")
    assert (root / kept.pictures[0].path).is_file()
    evict(store)
    books_agree(store)


def test_a_cache_folder_that_is_in_the_way_of_itself_costs_a_warning_and_not_the_run(
    store: Store, root: Path, folder: Path, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "images").write_text("in the way", "utf-8")
    kept = store.put(entry(root), root)
    assert kept.number == 0
    assert "cache_unwritable" in caplog.text
    assert (root / kept.pictures[0].path).is_file()


@pytest.mark.parametrize("how", ["a folder", "a link to a folder"])
def test_a_file_that_cannot_be_removed_keeps_no_others_from_being_swept(
    how: str, store: Store, root: Path, folder: Path, tmp_path: Path, entry: Make
) -> None:
    kept = [store.put(entry(root, str(number)), root) for number in range(4)]
    there = folder / min(each.pictures[0].path for each in kept)
    there.unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    if how == "a folder":
        (there / "inside").mkdir(parents=True)
    else:
        there.symlink_to(tmp_path / "mine")
    for each in kept:
        store.drop(each.number)
    evict(store)
    assert files(folder) <= {there.relative_to(folder).as_posix()}
    assert (tmp_path / "mine" / "file").exists()
    with suppress(OSError):
        store.sweep()
    assert not store._db.in_transaction
    assert store.put(entry(root, "another"), root).number


def test_what_has_no_entry_is_removed_and_what_has_one_stays(store: Store, root: Path, folder: Path, entry: Make) -> None:
    kept = store.put(entry(root), root)
    stray = folder / "images" / "zz" / "stray.png"
    stray.parent.mkdir()
    stray.write_bytes(b"x")
    assert list(problems(store)) == ["images/zz/stray.png belongs to no entry"]
    assert store.remove_strays() == 1
    assert not stray.exists()
    assert files(folder) == {kept.pictures[0].path}
    books_agree(store)
