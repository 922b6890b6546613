from __future__ import annotations

import hashlib
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import fsspec
import pytest
import trio
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from trio.testing import MockClock

from headrace.cli.outputs import Outputs
from headrace.errors import OutputError, UsageError
from headrace.mirror import KNOWN, PATIENCE_S, Mirror
from headrace.offload import inline
from headrace.records import Match, Picture, Result, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Store(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """In memory; the next calls fail with these errors."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012 - the base class has it so
    pseudo_dirs = [""]  # noqa: RUF012 - this too
    errors: list[Exception] = []  # noqa: RUF012
    puts: list[str] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.replace("flaky://", "memory://"))
        return stripped

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.puts.append(rpath)
        if self.errors:
            raise self.errors.pop(0)
        super().put_file(lpath, rpath, **options)


class Sulky(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Cannot be opened."""

    protocol = "sulky"

    def __init__(self, **_: Any) -> None:
        raise ValueError("it wants an account\nand more")


@pytest.fixture
def store() -> Iterator[type[Store]]:
    fsspec.register_implementation("flaky", Store, clobber=True)
    for each in (Store.store, Store.errors, Store.puts):
        each.clear()
    yield Store
    Store.store.clear()


def picture(root: Path, data: bytes) -> Picture:
    name = hashlib.sha256(data).hexdigest()
    path = root / "images" / name[:2] / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Picture(path=str(path.relative_to(root)), sha256=name, format="png", width=1, height=1, bytes=len(data))


def result(*pictures: Picture, **more: Any) -> Result:
    return Result(seq=0, id="0", prompt="p", status=Status.OK, images=pictures, **more)


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def mirror_of(url: str, root: Path, failures: list[None] | None = None) -> Mirror:
    return Mirror(url, root, inline, lambda: (failures if failures is not None else []).append(None))


def test_pictures_are_there_under_their_names_when_it_says_so(store: type[Store], tmp_path: Path) -> None:
    first, second = picture(tmp_path, b"one"), picture(tmp_path, b"two")

    async def main() -> None:
        mirror = mirror_of("flaky://bucket/run/", tmp_path)
        await mirror.check()
        assert await mirror.copy([result(first, second), result(first)])
        assert await mirror.copy([result(second)])

    run(main)
    files = store()
    assert {path: files.cat_file(path) for path in files.find("/bucket")} == {
        f"/bucket/run/{first.path}": b"one",
        f"/bucket/run/{second.path}": b"two",
    }
    assert len(store.puts) == 2


@pytest.mark.parametrize("older", [{"recalled": True}, {"match": Match(of="1", similarity=1.0)}])
def test_what_earlier_runs_copied_is_not_copied_again_unless_it_is_not_whole(
    store: type[Store], tmp_path: Path, older: dict[str, Any]
) -> None:
    there, torn, absent, written = (picture(tmp_path, data) for data in (b"one", b"two", b"three", b"four"))
    store().pipe_file(f"/bucket/{there.path}", b"one")
    store().pipe_file(f"/bucket/{torn.path}", b"t")

    async def main() -> None:
        results = [*(result(each, **older) for each in (there, torn, absent)), result(written, written=True)]
        assert await mirror_of("flaky://bucket", tmp_path).copy(results)

    run(main)
    assert sorted(store.puts) == sorted(f"/bucket/{each.path}" for each in (torn, absent))
    assert store().cat_file(f"/bucket/{torn.path}") == b"two"


def test_a_copy_that_fails_is_tried_again(store: type[Store], tmp_path: Path) -> None:
    one = picture(tmp_path, b"one")
    store.errors += [ConnectionError("gone"), TimeoutError(), RuntimeError("the store's own")]

    async def main() -> None:
        failures: list[None] = []
        assert await mirror_of("flaky://bucket", tmp_path, failures).copy([result(one)])
        assert (trio.current_time(), failures) == (7.0, [])

    run(main)
    assert store().cat_file(f"/bucket/{one.path}") == b"one"


def test_after_five_minutes_it_is_given_up_once_and_nothing_is_copied_any_more(store: type[Store], tmp_path: Path) -> None:
    pictures = [picture(tmp_path, bytes([n])) for n in range(3)]
    store.errors += [PermissionError("Access Denied\nand more")] * 1000

    async def main() -> None:
        failures: list[None] = []
        mirror = mirror_of("flaky://bucket", tmp_path, failures)
        assert not await mirror.copy([result(each) for each in pictures])
        assert PATIENCE_S - 40 < trio.current_time() <= PATIENCE_S
        assert str(mirror.error) == f"flaky://bucket cannot be written: Access Denied; the pictures are in {tmp_path}"
        tried = len(store.puts)
        assert not await mirror.copy([result(pictures[0])])
        assert (len(store.puts), failures) == (tried, [None])

    run(main)


def test_a_store_that_does_not_answer_is_given_up_as_well(store: type[Store], tmp_path: Path) -> None:
    async def hangs(function: Callable[[*Ts], T], *args: *Ts) -> T:
        await trio.sleep_forever()
        return function(*args)

    assert store.puts == []
    mirror = Mirror("flaky://bucket", tmp_path, hangs, lambda: None)

    async def main() -> None:
        with pytest.raises(OutputError, match="it does not answer"):
            await mirror.check()
        began = trio.current_time()
        assert not await mirror.copy([result(picture(tmp_path, b"one"))])
        assert trio.current_time() - began == PATIENCE_S
        assert str(mirror.error) == f"flaky://bucket cannot be written: it does not answer; the pictures are in {tmp_path}"

    run(main)


def test_a_slow_store_is_given_time_for_each_picture(store: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.mirror.AT_ONCE", 1)

    async def slow(function: Callable[[*Ts], T], *args: *Ts) -> T:
        await trio.sleep(PATIENCE_S / 2)
        return function(*args)

    async def main() -> None:
        mirror = Mirror("flaky://bucket", tmp_path, slow, lambda: None)
        assert await mirror.copy([result(picture(tmp_path, bytes([n]))) for n in range(4)])
        assert trio.current_time() == 2 * PATIENCE_S

    run(main)
    assert len(store.puts) == 4


def test_a_store_that_hangs_does_not_hold_up_who_cancels(store: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(store, "put_file", lambda *_: answer.wait(20))

    async def main() -> None:
        outputs = Outputs(tmp_path, lambda: None)
        await outputs.copy_to("flaky://bucket")
        with trio.move_on_after(0.05) as scope:
            await outputs.ready([result(picture(tmp_path, b"one"))])
        assert scope.cancelled_caught
        assert not answer.is_set()

    try:
        trio.run(main)
    finally:
        answer.set()


def test_whoever_waits_for_a_store_can_be_cancelled(store: type[Store], tmp_path: Path) -> None:
    store.errors += [ConnectionError("gone")] * 1000

    async def main() -> None:
        with trio.move_on_after(60) as scope:
            await mirror_of("flaky://bucket", tmp_path).copy([result(picture(tmp_path, b"one"))])
        assert scope.cancelled_caught

    run(main)


def test_what_is_remembered_is_bounded(store: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.puts == []
    assert KNOWN >= 1000
    monkeypatch.setattr("headrace.mirror.KNOWN", 2)
    pictures = [picture(tmp_path, bytes([n])) for n in range(3)]

    async def main() -> None:
        mirror = mirror_of("flaky://bucket", tmp_path)
        for each in (*pictures, pictures[2], pictures[0]):
            await mirror.copy([result(each)])

    run(main)
    assert len(store.puts) == 4


def test_a_folder_by_its_url_has_whole_files_that_their_owner_can_read(tmp_path: Path) -> None:
    one = picture(tmp_path / "out", b"one")

    async def main() -> None:
        mirror = mirror_of(f"file://{tmp_path}/shared", tmp_path / "out")
        await mirror.check()
        assert await mirror.copy([result(one)])

    run(main)
    assert [path.name for path in (tmp_path / "shared").rglob("*") if path.is_file()] == [f"{one.sha256}.png"]
    assert (tmp_path / "shared" / one.path).read_bytes() == b"one"


def test_a_place_that_cannot_be_written_is_told_before_anything_is_paid_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/below cannot be written: "):
        run(mirror_of(f"file://{tmp_path}/file/below", tmp_path).check)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("bucket/prefix", "--pictures-to has to be a URL such as s3://bucket/prefix or file:///folder"),
        ("nope://bucket", "fsspec knows no nope://; it can be az, file, gs, s3, sftp and others"),
        ("s3://key:secret@bucket", "--pictures-to must not hold a user or a password, nor a query; give them by the environment"),
        ("s3://key:sec/ret@bucket", "--pictures-to must not hold a user or a password, nor a query; give them by the environment"),
        ("az://box/prefix?sig=secret", "--pictures-to must not hold a user or a password, nor a query; give them by the environment"),
        (
            "simplecache::s3://key:secret@bucket",
            "--pictures-to must not hold a user or a password, nor a query; give them by the environment",
        ),
        ("sulky://bucket", "sulky://bucket cannot be opened: it wants an account"),
        ("s3://bucket", "s3:// needs another package: Install s3fs to access S3"),
    ],
)
def test_a_url_that_is_none_is_refused_in_one_line(url: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # where another test has opened one
    fsspec.register_implementation("sulky", Sulky, clobber=True)
    with pytest.raises(UsageError) as raised:
        mirror_of(url, tmp_path)
    assert str(raised.value) == says
