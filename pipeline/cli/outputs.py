"""Where the results of one run go: pictures to other places first, then the lines that name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import trio

from headrace.errors import UsageError
from headrace.journal.outputs import output_file
from headrace.mirror import AT_ONCE, Mirror
from headrace.offload import Threads
from headrace.output import LineWriter
from headrace.shards import ShardWriter
from headrace.sources import NEEDS_PYARROW, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.disk import Disk
    from headrace.errors import OutputError
    from headrace.journal.outputs import OutputFile
    from headrace.parquet_output import ParquetWriter
    from headrace.race import Race
    from headrace.records import Result


class Outputs:
    """All outputs of one run but for the output folder.

    Args:
        root: the output folder.
        failed: called once by each output that cannot be written any more.
    """

    def __init__(self, root: Path, failed: Callable[[], None]) -> None:
        self._root = root
        self._failed = failed
        self._mirror: Mirror | None = None
        self._shards: ShardWriter | None = None
        self._lines: LineWriter | ParquetWriter | None = None

    @property
    def error(self) -> OutputError | None:
        """Why some results have no line."""
        each = (self._mirror, self._shards, self._lines)
        return next((output.error for output in each if output is not None and output.error is not None), None)

    async def copy_to(self, url: str) -> None:
        """Have pictures copied below a URL.

        Raises:
            UsageError: there is no fsspec, or nothing that can write there.
            OutputError: nothing can be written there.
        """
        offload = Threads(AT_ONCE, abandon=True)
        # Some stores are called as soon as they are opened.
        self._mirror = await offload(Mirror, url, self._root, offload, self._failed)
        await self._mirror.check()

    def pack_into(self, pattern: str) -> None:
        """Have pictures packed into shards.

        Raises:
            UsageError: the pattern cannot be used, or another process writes there.
            OutputError: nothing can be written there.
        """
        self._shards = ShardWriter(Path(pattern), self._root, self._failed)

    async def open(self, output: str, race: Race, source: str | None) -> OutputFile | None:
        """Open what lines go to, and begin everywhere; the file as the journal knows it, where it does.

        Args:
            output: a path, or ``-`` for stdout.
            race: whose journal that is.
            source: changes whenever lines of an earlier run may not be those of this one.

        Raises:
            UsageError: there is no pyarrow, or another process writes the file.
            OutputError: the file cannot be written, or the shards of an earlier run cannot be removed.
        """
        path = None if output == "-" else Path(output)
        if path is not None and kind_of(output) == "parquet":
            try:
                from headrace.parquet_output import ParquetWriter  # noqa: PLC0415 - an extra
            except ImportError:
                raise UsageError(NEEDS_PYARROW) from None
            self._lines = table = ParquetWriter(path, self._failed)
            self._start_shards(race.disk)
            table.start(race.disk)
            return None
        # To open a named pipe is to wait for its reader.
        self._lines = lines = await trio.to_thread.run_sync(LineWriter, path, self._failed, abandon_on_cancel=True)
        file = None
        if race.journal is not None and path is not None:
            file = output_file(race.journal, path, lines.handle, source)
        self._start_shards(race.disk)
        lines.start(file, race.disk)
        return file

    def _start_shards(self, disk: Disk) -> None:
        # They are gone then: first all that may be a mistake, then this.
        if self._shards is not None:
            self._shards.start(disk)

    async def ready(self, results: Sequence[Result]) -> bool:
        """Have the pictures of some results where they are to be, before they have lines; False where they cannot be there."""
        copied = self._mirror is None or await self._mirror.copy(results)
        return copied and (self._shards is None or await self._shards.write(results))

    async def write(self, results: Sequence[Result]) -> None:
        """Write the lines of some results."""
        assert self._lines is not None  # noqa: S101 - it was opened before there is anything to write
        await self._lines.write(results)

    def close(self) -> None:
        """Write what is left and close everything. Blocks; whether that worked is in ``error``."""
        for output in (self._shards, self._lines):
            if output is not None:
                output.close()
