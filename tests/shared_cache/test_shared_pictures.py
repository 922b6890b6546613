"""Picture files on their way, in virtual time."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path  # noqa: TC003 - a field is made by it
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import MockClock

from headrace.disk import Disk
from headrace.errors import OutputError
from headrace.offload import inline
from headrace.places import Folder
from headrace.records import Picture
from headrace.shared_cache.pictures import AGAIN_S, PATIENCE_S, PlaceLostError, SharedPictures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


PIPE, HELD = b"a pipe", b"a pipe that somebody may yet write to"


@attrs.define
class Flaky(Folder):
    """A folder whose next calls fail with these errors."""

    _path: Path
    errors: list[Exception] = attrs.field(factory=list)
    tried: int = 0

    def put(self, source: Path, name: str) -> None:
        self.fail()
        super().put(source, name)

    def read(self, name: str, size: int) -> bytes:
        self.fail()
        return super().read(name, size)

    def fail(self) -> None:
        self.tried += 1
        if self.errors:
            raise self.errors.pop(0)


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def picture(root: Path, data: bytes = b"a picture") -> Picture:
    name = hashlib.sha256(data).hexdigest()
    path = root / "images" / name[:2] / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Picture(path=str(path.relative_to(root)), sha256=name, format="png", width=1, height=1, bytes=len(data))


@pytest.fixture
def place(tmp_path: Path) -> Flaky:
    return Flaky(tmp_path / "place")


@pytest.fixture
def worker(tmp_path: Path, place: Flaky) -> Callable[[str], tuple[SharedPictures, Path]]:
    """``worker(name)``: its way to the place, and its output folder."""

    def make(name: str) -> tuple[SharedPictures, Path]:
        (tmp_path / name).mkdir()
        return SharedPictures(place, "the place", tmp_path / name, inline, Disk(inline)), tmp_path / name

    return make


def test_what_one_puts_another_brings_whole(worker: Callable[[str], tuple[SharedPictures, Path]], place: Flaky, tmp_path: Path) -> None:
    (one, mine), (other, theirs) = worker("one"), worker("other")
    several = [picture(mine, data) for data in (b"first", b"second")]

    async def main() -> None:
        place.errors += [ConnectionError("gone"), TimeoutError()]
        assert await one.put(several)
        place.errors += [OSError("gone")]
        assert await other.bring(several)
        assert trio.current_time() == 4.0

    run(main)
    assert [(theirs / each.path).read_bytes() for each in several] == [b"first", b"second"]
    assert not [*tmp_path.rglob("*.part")]


@pytest.mark.parametrize("data", [None, b"a pictur", b"a picture and more", b"b picture", PIPE, HELD])
def test_what_is_not_what_its_hash_says_stays_there(
    worker: Callable[[str], tuple[SharedPictures, Path]], tmp_path: Path, data: bytes | None, request: pytest.FixtureRequest
) -> None:
    other, theirs = worker("other")
    wanted = picture(tmp_path / "place")
    (tmp_path / "place" / wanted.path).unlink()
    if data in (PIPE, HELD):
        os.mkfifo(tmp_path / "place" / wanted.path)
    if data == HELD:
        request.addfinalizer(partial(os.close, os.open(tmp_path / "place" / wanted.path, os.O_RDWR)))
    elif data not in (PIPE, None):
        (tmp_path / "place" / wanted.path).write_bytes(data)

    async def main() -> None:
        assert not await other.bring([wanted])
        assert not other.lost

    run(main)
    assert not [*theirs.rglob("*.png")]


def test_a_place_that_is_lost_is_told_once_and_tried_now_and_then(
    worker: Callable[[str], tuple[SharedPictures, Path]],
    place: Flaky,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, mine = worker("one")
    wanted = picture(mine)

    async def main() -> None:
        place.errors += [PermissionError("Access Denied\nand more")] * 1000
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(one.put, [wanted])
        assert one.lost
        assert PATIENCE_S - 10 < trio.current_time() < PATIENCE_S + 1
        tried = place.tried
        assert not await one.put([wanted])
        with pytest.raises(PlaceLostError):
            await one.bring([wanted])
        assert place.tried == tried, "nobody waits for it"
        await trio.sleep(AGAIN_S)
        assert not await one.put([wanted])
        assert not await one.put([wanted])
        assert place.tried == tried + 1
        place.errors.clear()
        await trio.sleep(AGAIN_S)
        assert await one.put([wanted])
        assert not one.lost

    run(main)
    assert caplog.text.count("shared_place_lost") == 1
    assert caplog.text.count("shared_place_back") == 1
    assert "and more" not in caplog.text


def test_a_place_that_hangs_is_lost_too_and_who_is_cancelled_leaves_it(tmp_path: Path, place: Flaky) -> None:
    async def hangs(*_: object) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        one = SharedPictures(place, "the place", tmp_path, hangs, Disk(inline))  # type: ignore[arg-type]  # it never returns
        with trio.move_on_after(1) as scope:
            await one.put([picture(tmp_path)])
        assert scope.cancelled_caught
        assert not one.lost
        assert not await one.put([picture(tmp_path)])
        assert one.lost
        assert trio.current_time() == 1 + PATIENCE_S

    run(main)


def test_what_is_gone_from_the_own_folder_is_not_shared_and_no_fault_of_the_place(
    worker: Callable[[str], tuple[SharedPictures, Path]], tmp_path: Path
) -> None:
    one, mine = worker("one")
    wanted = picture(mine)
    (mine / wanted.path).unlink()

    async def main() -> None:
        assert not await one.put([wanted])
        assert not one.lost

    run(main)
    assert not [*(tmp_path / "place").rglob("*.png")]


def test_a_file_that_cannot_have_its_name_leaves_nothing_behind(place: Flaky, tmp_path: Path) -> None:
    wanted = picture(tmp_path / "own")
    (tmp_path / "place" / wanted.path).mkdir(parents=True)
    with pytest.raises(OutputError):
        place.put(tmp_path / "own" / wanted.path, wanted.path)
    assert not [*tmp_path.rglob("*.part")]
