from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import trio
from trio.testing import MockClock

from headrace import parquet_output as module
from headrace.arrow import SCHEMA
from headrace.disk import Disk
from headrace.errors import OutputError
from headrace.offload import inline
from headrace.parquet_output import TOGETHER, ParquetWriter
from headrace.records import Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Write = Callable[..., ParquetWriter]


def results(count: int, first: int = 0) -> list[Result]:
    return [Result(seq=seq, id=str(seq), prompt=f"cat {seq}", status=Status.OK, metadata={"n": seq}) for seq in range(first, first + count)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def written(path: Path, *batches: Sequence[Result], before_close: Callable[[], None] = lambda: None) -> ParquetWriter:
    """A writer that was given so many results at a time, and was closed."""

    async def main() -> ParquetWriter:
        writer = ParquetWriter(path, lambda: failures.append(None))
        writer.start(Disk(inline))
        for batch in batches:
            await writer.write(batch)
        before_close()
        writer.close()
        return writer

    failures: list[None] = []
    writer = trio.run(main)
    assert len(failures) <= 1
    return writer


def test_rows_are_results_in_their_order_and_groups_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 2 * TOGETHER)
    path = tmp_path / "out.parquet"
    writer = written(path, results(1), results(5 * TOGETHER, 1), results(3, 1 + 5 * TOGETHER))
    assert (writer.error, writer.lines) == (None, 4 + 5 * TOGETHER)
    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    assert table["seq"].to_pylist() == list(range(4 + 5 * TOGETHER))
    assert table["metadata"][2].as_py() == '{"n": 2}'
    assert names(tmp_path) == ["out.parquet"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_more_than_a_group_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", 1)
    path, sizes = tmp_path / "out.parquet", []
    part = tmp_path / ".out.parquet.part"

    async def main() -> None:
        writer = ParquetWriter(path, lambda: None)
        writer.start(Disk(inline))
        for first in range(0, 4 * TOGETHER, TOGETHER):
            await writer.write(results(TOGETHER, first))
            sizes.append(part.stat().st_size)
        writer.close()

    trio.run(main)
    assert sizes == sorted(set(sizes))
    assert pq.read_metadata(path).num_row_groups == 4


def test_a_group_is_as_large_as_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 2 * TOGETHER)
    written(tmp_path / "out.parquet", *(results(TOGETHER, first) for first in range(0, 5 * TOGETHER, TOGETHER)))
    about = pq.read_metadata(tmp_path / "out.parquet")
    assert [about.row_group(n).num_rows for n in range(about.num_row_groups)] == [2 * TOGETHER, 2 * TOGETHER, TOGETHER]


def test_a_run_without_results_makes_a_table_without_rows(tmp_path: Path) -> None:
    written(tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_the_file_of_an_earlier_run_stays_until_the_new_one_is_whole_and_its_mode_after_that(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    written(path, results(3))
    path.chmod(0o644)
    (tmp_path / "link.parquet").symlink_to(path)
    # What a killed run left is written over.
    (tmp_path / ".out.parquet.part").write_bytes(b"PAR1 half a file" * 1000)
    seen: list[int] = []
    written(tmp_path / "link.parquet", results(5), before_close=lambda: seen.append(pq.read_table(path).num_rows))
    assert (seen, pq.read_table(path).num_rows) == ([3], 5)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert names(tmp_path) == ["link.parquet", "out.parquet"]


def test_a_writer_that_never_began_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    path.write_text("old")
    ParquetWriter(path, lambda: None).close()
    assert names(tmp_path) == ["out.parquet"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("begun_anew", [False, True])
def test_what_somebody_removed_meanwhile_is_told_of_and_nothing_else_gets_the_name(tmp_path: Path, *, begun_anew: bool) -> None:
    path, part = tmp_path / "out.parquet", tmp_path / ".out.parquet.part"
    written(path, results(3))

    def remove() -> None:
        part.unlink()
        if begun_anew:
            part.write_bytes(b"PAR1 half a file of another run")

    writer = written(path, results(5), before_close=remove)
    assert str(writer.error) == f"{part} was removed while it was written; every result is in the journal"
    assert pq.read_table(path).num_rows == 3
    assert part.exists() is begun_anew


def test_a_folder_that_is_gone_is_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def replace() -> None:
        folder.rename(tmp_path / "elsewhere")
        folder.write_text("a file")

    writer = written(folder / "out.parquet", results(5), before_close=replace)
    assert str(writer.error) == f"{folder}/out.parquet cannot be written: Not a directory; every result is in the journal"


def fail_at(number: int, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th write to the disk fails, after half of it got there."""
    calls = iter(range(1, 1000))
    real = os.write

    def write(handle: int, data: bytes) -> int:
        if (call := next(calls)) == number:
            raise error
        return real(handle, data[:100] if call == number - 1 else data)

    monkeypatch.setattr("headrace.output.os.write", write)


def test_a_full_disk_is_waited_for_and_the_file_is_whole_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", TOGETHER)
    monkeypatch.setattr("trio.run", _in_virtual_time(trio.run))
    fail_at(2, OSError(errno.ENOSPC, "No space left on device"), monkeypatch)
    writer = written(tmp_path / "out.parquet", results(TOGETHER), results(TOGETHER, TOGETHER))
    assert writer.error is None
    assert pq.read_table(tmp_path / "out.parquet")["seq"].to_pylist() == list(range(2 * TOGETHER))


def _in_virtual_time(run: Callable[..., Any]) -> Callable[..., Any]:
    return lambda main: run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("call", [1, 2])
def test_a_write_that_fails_is_told_once_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", TOGETHER)
    path = tmp_path / "out.parquet"
    written(path, results(1))
    fail_at(call, OSError(errno.EFBIG, "File too large"), monkeypatch)
    writer = written(path, results(TOGETHER), results(TOGETHER, TOGETHER))
    assert str(writer.error) == f"{path} cannot be written: File too large; every result is in the journal"
    assert pq.read_table(path).num_rows == 1
    assert names(tmp_path) == ["out.parquet"]


@pytest.mark.parametrize("name", ["missing/out.parquet", "folder.parquet", "fifo.parquet", "circle.parquet", "x" * 255 + ".parquet"])
def test_what_cannot_become_a_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.parquet").mkdir()
    os.mkfifo(tmp_path / "fifo.parquet")
    (tmp_path / "circle.parquet").symlink_to("circle.parquet")
    with pytest.raises(OutputError) as raised:
        ParquetWriter(tmp_path / name, lambda: None)
    assert str(raised.value).startswith(f"{tmp_path / name} cannot be written: ")
