"""Results into a Parquet file. Only for where ``pyarrow`` is installed (``headrace[parquet]``).

Such a file has no half state: without its footer, which comes last, it is nothing. So it grows beside its name, gets it at the end, and is
written anew by each run: the journal has every result, and gives what earlier runs finished again.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import trio

from headrace.arrow import SCHEMA, batch
from headrace.errors import OutputError
from headrace.files import PART, is_at, open_alone, place
from headrace.output import write_all
from headrace.records import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.disk import Disk
    from headrace.records import Result

TOGETHER = 64
"""Results that become columns together."""
GROUP_ROWS = 8192
GROUP_BYTES = 8 * 2**20
"""What a row group holds at the most, and so what is kept in memory; with 30 KB for each that is written, for the end of the file."""


class ParquetWriter:
    """Writes results as rows; when that fails it says so once, and lets what is in flight come to its end.

    Args:
        path: the file.
        failed: called once when rows cannot be written any more.

    Raises:
        UsageError: another process writes it.
        OutputError: the file cannot be made.
    """

    def __init__(self, path: Path, failed: Callable[[], None]) -> None:
        self._name = str(path)
        self._failed = failed
        self.error: OutputError | None = None
        self.lines = 0
        # Of links that go in a circle, which Path.resolve() takes for a bug, it is one.
        final = Path(os.path.realpath(path))
        self._part = Part(final.with_name(f".{final.name}{PART}"), final)
        try:
            if final.is_symlink() or (final.exists() and not final.is_file()):
                raise OutputError(f"{path} cannot be written: it is no file, and Parquet can go into nothing else")
            self._handle = open_alone(self._part.path, self._name, os.O_NOFOLLOW)
            os.ftruncate(self._handle, 0)
            if final.exists():
                os.fchmod(self._handle, stat.S_IMODE(final.stat().st_mode))
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None
        self._sink = _Sink()
        self._file: pq.ParquetWriter | None = None
        self._held: list[Result] = []
        self._group: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        """Of the group."""
        self._disk: Disk | None = None

    def start(self, disk: Disk) -> None:
        """Begin; on a full disk rows wait for room. Without this the file that is there stays."""
        self._disk = disk
        self._file = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), SCHEMA)

    async def write(self, results: Sequence[Result]) -> None:
        """Take some results; after a failure, do nothing."""
        assert self._disk is not None  # noqa: S101 - a run starts it first
        if self.error is not None:
            return
        self._held += results
        if len(self._held) < TOGETHER:
            return
        # That takes less time than a thread, and each of those would have memory of its own for it.
        self._gather()
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            await trio.to_thread.run_sync(self._encode)
        try:
            if self._sink.left[0]:
                await self._disk.write(write_all, self._handle, self._sink.left)
        except OSError as error:
            self._give_up(error)
            self._failed()

    def close(self) -> None:
        """Write what is left, and give the file its name. Blocks; whether that worked is in ``error``."""
        try:
            if self._file is None or self.error is not None:
                self._part.path.unlink(missing_ok=True)
                return
            self._gather()
            self._encode()
            self._file.close()
            write_all(self._handle, self._sink.left)
            if is_at(self._handle, self._part.path):
                place((self._part,), durable=True)
            else:
                self.error = OutputError(f"{self._part.path} was removed while it was written; every result is in the journal")
        except OSError as error:
            self._give_up(error)
            with suppress(OSError):
                self._part.path.unlink()
        except OutputError as error:
            self.error = error
        finally:
            os.close(self._handle)

    def _gather(self) -> None:
        if self._held:
            gathered = batch(self._held)
            self._group.append(gathered)
            self._rows, self._bytes = self._rows + gathered.num_rows, self._bytes + gathered.nbytes
            self.lines += gathered.num_rows
            self._held = []

    def _encode(self) -> None:
        assert self._file is not None  # noqa: S101 - a run starts it first
        if self._group:
            self._file.write_table(pa.Table.from_batches(self._group), row_group_size=self._rows)
            self._group, self._rows, self._bytes = [], 0, 0
            # What was freed is given back: the threads that take turns here would each keep their own.
            pa.default_memory_pool().release_unused()

    def _give_up(self, error: OSError) -> None:
        self.error = OutputError(f"{self._name} cannot be written: {error.strerror}; every result is in the journal")


class _Sink:
    """Takes what pyarrow writes, until it goes to the disk: a write that waits for room must not be pyarrow's."""

    closed = False

    def __init__(self) -> None:
        self.left = [b""]

    def write(self, data: bytes) -> int:
        self.left[0] += bytes(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The descriptor is closed by who opened it."""
