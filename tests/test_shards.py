from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from headrace import shards as module
from headrace.disk import Disk
from headrace.errors import UsageError
from headrace.offload import inline
from headrace.records import Kind, Picture, Problem, Result, Status
from headrace.shards import ShardWriter, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DATA = [bytes([n]) * (600 * n + 1) for n in range(6)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An output folder."""
    (tmp_path / "out").mkdir()
    (tmp_path / "set").mkdir()
    return tmp_path / "out"


def result(root: Path, seq: int, count: int = 1, name: str | None = None, *, written: bool = False) -> Result:
    pictures = []
    for data in DATA[seq : seq + count]:
        sha256 = hashlib.sha256(data).hexdigest()
        (root / f"{sha256}.png").write_bytes(data)
        pictures.append(Picture(path=f"{sha256}.png", sha256=sha256, format="png", width=1, height=1, bytes=len(data)))
    return Result(seq=seq, id=name or str(seq), prompt="p", status=Status.OK, images=tuple(pictures), written=written)


def written(root: Path, *batches: Sequence[Result]) -> tuple[ShardWriter, int]:
    """A closed writer that was given these results, and how often it said that it failed."""
    failures: list[None] = []

    async def main() -> ShardWriter:
        writer = ShardWriter(root.parent / "set" / "p-%03d.tar", root, lambda: failures.append(None))
        writer.start(Disk(inline))
        for batch in batches:
            await writer.write(batch)
        writer.close()
        return writer

    return trio.run(main, clock=MockClock(autojump_threshold=0)), len(failures)


def samples(root: Path) -> dict[str, list[str]]:
    """The members of each shard."""
    found = {}
    for path in sorted((root.parent / "set").iterdir()):
        with tarfile.open(path) as shard:
            found[path.name] = shard.getnames()
    return found


def test_a_sample_is_a_picture_and_its_line_under_one_key(root: Path) -> None:
    failure = Problem(kind=Kind.MODERATION_BLOCKED, message="no")
    failed = Result(seq=3, id="3", prompt="p", status=Status.FAILED, error=failure)
    writer, failures = written(root, [result(root, 0), failed], [result(root, 1, count=2, name="../sku 7.b/é", written=True)])
    assert (writer.error, failures) == (None, 0)
    assert samples(root) == {
        "p-000.tar": [
            "000000000.json",
            "000000000.png",
            "000000001-_sku_7_b_.json",
            "000000001-_sku_7_b_.0.png",
            "000000001-_sku_7_b_.1.png",
        ]
    }
    with tarfile.open(root.parent / "set" / "p-000.tar") as shard:
        contents = [file.read() for member in shard if (file := shard.extractfile(member)) is not None]
    assert [json.loads(contents[index])["seq"] for index in (0, 2)] == [0, 1]
    assert [contents[index] for index in (1, 3, 4)] == [DATA[0], DATA[1], DATA[2]]


def test_keys_are_unique_and_one_file_name_whatever_the_ids_are() -> None:
    ids = ["a/b", "a b", "a.b", "", "1" * 500, "\ud800", "0"]
    keys = [key_of(Result(seq=seq, id=name, prompt=None, status=Status.OK)) for seq, name in enumerate(ids)]
    assert len(set(keys)) == len(ids)
    assert all(key.isascii() and not set(key) & set("./ ") and len(key) <= 80 for key in keys)


def test_a_shard_that_is_full_is_followed_by_another(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLES", 2)
    written(root, [result(root, seq) for seq in range(5)])
    assert [len(names) for names in samples(root).values()] == [4, 4, 2]
    assert list(samples(root)) == ["p-000.tar", "p-001.tar", "p-002.tar"]
    monkeypatch.setattr(module, "BYTES", 1)
    written(root, [result(root, seq) for seq in range(5)])
    assert [len(names) for names in samples(root).values()] == [2] * 5


def test_a_set_is_written_anew_and_what_is_no_part_of_it_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLES", 1)
    written(root, [result(root, seq) for seq in range(3)])
    folder = root.parent / "set"
    (folder / ".p-003.tar.part").write_bytes(b"what a killed run left")
    other = io.BytesIO()
    tarfile.open(fileobj=other, mode="w").close()
    for name in ("q-000.tar", "p-000.tar.gz", "p-x.tar"):
        (folder / name).write_bytes(other.getvalue())
    written(root, [result(root, 0)])
    assert sorted(path.name for path in folder.iterdir()) == ["p-000.tar", "p-000.tar.gz", "p-x.tar", "q-000.tar"]


def test_without_pictures_there_are_no_shards(root: Path) -> None:
    written(root, [Result(seq=0, id="0", prompt="p", status=Status.SKIPPED)])
    assert samples(root) == {}


def fail_at(number: int, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th write to the disk fails, after a part of the one before got there."""
    calls, real = iter(range(1, 1000)), os.write

    def write(handle: int, data: bytes) -> int:
        if (call := next(calls)) == number:
            raise error
        return real(handle, data[:100] if call == number - 1 else data)

    monkeypatch.setattr("headrace.output.os.write", write)


def test_a_full_disk_is_waited_for_and_no_sample_is_torn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(3, OSError(errno.ENOSPC, "No space left on device"), monkeypatch)
    writer, failures = written(root, [result(root, seq) for seq in range(3)])
    assert (writer.error, failures) == (None, 0)
    assert [len(names) for names in samples(root).values()] == [6]


def test_a_run_that_is_cancelled_in_the_middle_of_a_sample_leaves_whole_ones(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        writer = ShardWriter(root.parent / "set" / "p-%03d.tar", root, lambda: None)
        writer.start(Disk(inline))
        await writer.write([result(root, 0)])
        with monkeypatch.context() as patch, trio.move_on_after(1):
            fail_at(2, OSError(errno.ENOSPC, "No space left on device"), patch)
            await writer.write([result(root, 1)])
        writer.close()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert samples(root) == {"p-000.tar": ["000000000.json", "000000000.png"]}


def test_a_write_that_fails_is_told_once_and_whole_shards_stay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLES", 1)
    fail_at(4, OSError(errno.EFBIG, "File too large"), monkeypatch)
    writer, failures = written(root, [result(root, seq) for seq in range(3)], [result(root, 4)])
    assert str(writer.error) == f"{root.parent}/set/p-%03d.tar cannot be written: File too large; the pictures are in {root}"
    assert failures == 1
    assert samples(root) == {"p-000.tar": ["000000000.json", "000000000.png"]}


def test_a_folder_that_is_gone_is_told_of(root: Path) -> None:
    folder = root.parent / "set"
    failures: list[None] = []

    async def main() -> ShardWriter:
        writer = ShardWriter(folder / "p-%03d.tar", root, lambda: failures.append(None))
        writer.start(Disk(inline))
        await writer.write([result(root, 0)])
        folder.rename(root.parent / "elsewhere")
        folder.write_text("a file")
        writer.close()
        return writer

    error = trio.run(main).error
    assert str(error).startswith(f"{folder}/p-%03d.tar cannot be written: {folder}/p-000.tar cannot be written: Not a directory")
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("set/p.tar", "--shards has to be a path such as set/pictures-%06d.tar: %06d is the number of the shard"),
        ("set/%02d-%02d.tar", "--shards has to be a path such as set/pictures-%06d.tar"),
        ("set/%06d.zip", "--shards has to be a path such as set/pictures-%06d.tar"),
        ("none/%06d.tar", "none of the shards is not there; make it first"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_in_one_line(pattern: str, says: str, root: Path) -> None:
    with pytest.raises(UsageError) as raised:
        ShardWriter(root.parent / pattern, root, lambda: None)
    assert says in str(raised.value)
