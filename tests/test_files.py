from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import trio

from headrace.disk import Disk
from headrace.errors import UsageError
from headrace.files import open_alone
from headrace.offload import inline
from headrace.output import LineWriter
from headrace.parquet_output import ParquetWriter
from headrace.records import Result, Status
from headrace.shards import ShardWriter

if TYPE_CHECKING:
    from collections.abc import Callable

RESULT = Result(seq=0, id="0", prompt="a fox", status=Status.OK)
REFUSED = "another process writes {}; wait for its end, or choose another name"


def still_open(folder: Path) -> list[str]:
    """Files below the folder that this process has open."""
    found = []
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was this folder itself
            found.append(str(handle.readlink()))
    return sorted(path for path in found if path.startswith(str(folder)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "writer", "start"),
    [
        ("out.jsonl", LineWriter, (None,)),
        ("out.parquet", ParquetWriter, ()),
        ("p-%03d.tar", lambda path, failed: ShardWriter(path, path.parent, failed), ()),
    ],
)
def test_an_output_is_one_runs_at_a_time_and_the_second_changes_nothing(
    name: str, writer: Callable[..., Any], start: tuple[None, ...], tmp_path: Path
) -> None:
    path = tmp_path / name

    async def main() -> None:
        first = writer(path, lambda: None)
        first.start(*start, Disk(inline))
        await first.write([RESULT])
        before = contents(tmp_path), still_open(tmp_path)
        with pytest.raises(UsageError) as refused:
            writer(path, lambda: None)
        assert str(refused.value) == REFUSED.format(path)
        assert (contents(tmp_path), still_open(tmp_path)) == before
        await first.write([RESULT])
        first.close()
        assert first.error is None
        writer(path, lambda: None).close()
        assert still_open(tmp_path) == []

    trio.run(main)
    if name == "out.jsonl":
        assert path.read_text().count("\n") == 2
    elif name == "out.parquet":
        assert pq.read_table(path).num_rows == 2
    assert set(contents(tmp_path)) <= {name}


def test_shards_of_another_width_are_the_same_set(tmp_path: Path) -> None:
    first = ShardWriter(tmp_path / "p-%06d.tar", tmp_path, lambda: None)
    with pytest.raises(UsageError, match="another process writes"):
        ShardWriter(tmp_path / "p-%03d.tar", tmp_path, lambda: None)
    ShardWriter(tmp_path / "q-%03d.tar", tmp_path, lambda: None).close()
    first.close()


def test_what_another_run_finished_in_this_instant_is_not_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lock = tmp_path / ".out.part", fcntl.flock

    def late(handle: int, operation: int) -> None:
        path.rename(tmp_path / "out")
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(UsageError, match="another process writes out"):
        open_alone(path, "out")


def test_what_is_no_file_and_a_file_system_without_locks_are_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    opened = [open_alone(tmp_path / "pipe", "pipe") for _ in range(2)]
    monkeypatch.setattr(fcntl, "flock", without)
    opened += [open_alone(tmp_path / "out", "out") for _ in range(2)]
    for handle in (reader, *opened):
        os.close(handle)
