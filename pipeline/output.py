"""Result lines into a file or into stdout."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from typing import TYPE_CHECKING

import trio

from headrace.chaos import point
from headrace.errors import OutputError
from headrace.files import open_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from headrace.disk import Disk
    from headrace.journal.outputs import OutputFile
    from headrace.records import Result

_STDOUT = 1
_COMMANDS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What terminals or editors obey: C1 controls, separators of lines, changes of direction; JSON escapes the others itself."""


class LineWriter:
    """Writes results as JSON lines; when that fails it says so once, and lets what is in flight come to its end.

    Args:
        path: a file; None for stdout.
        failed: called once when lines cannot be written any more.

    Raises:
        UsageError: another process writes it.
        OutputError: the file cannot be opened.
    """

    def __init__(self, path: Path | None, failed: Callable[[], None]) -> None:
        self._name = "stdout" if path is None else str(path)
        self._failed = failed
        self._disk: Disk | None = None
        self._file: OutputFile | None = None
        self.error: OutputError | None = None
        self.lines = 0
        if path is None and sys.stdout is None:
            raise OutputError("stdout cannot be written: it is closed; name a file with -o")
        try:
            self.handle = _STDOUT if path is None else open_alone(path, self._name)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None

    def start(self, file: OutputFile | None, disk: Disk) -> None:
        """Begin: behind what the journal knows to be in the file, or with an empty one; on a full disk its lines wait for room.

        Raises:
            OutputError: the file cannot be cut off there.
        """
        self._file, self._disk = file, disk
        if self.handle == _STDOUT or not stat.S_ISREG(os.fstat(self.handle).st_mode):
            return
        try:
            os.ftruncate(self.handle, 0 if file is None else file.offset)
            os.lseek(self.handle, 0, os.SEEK_END)
        except OSError as error:
            raise OutputError(f"{self._name} cannot be written: {error.strerror}") from None

    async def write(self, results: Sequence[Result]) -> None:
        """Write the lines of some results, but for those that are written already; after a failure, do nothing."""
        results = [result for result in results if not result.written]
        if self.error is not None or not results:
            return
        left = [b"".join(map(line, results))]
        try:
            if self._file is not None and self._disk is not None:
                await self._disk.write(write_all, self.handle, left)
                point("line_written")
                self._file.emitted(results, os.lseek(self.handle, 0, os.SEEK_CUR))
            else:
                # A reader that is slow or gone must not stop the event loop.
                await trio.to_thread.run_sync(write_all, self.handle, left, abandon_on_cancel=True)
        except OSError as error:
            why = "its reader has gone" if isinstance(error, BrokenPipeError) else error.strerror
            self.error = OutputError(f"{self._name} cannot be written after {self.lines} lines: {why}")
            self._failed()
        else:
            self.lines += len(results)

    def close(self) -> None:
        """Close the file; stdout stays open."""
        if self.handle != _STDOUT:
            os.close(self.handle)


def line(result: Result) -> bytes:
    """The JSON line of a result, in UTF-8, without anything that a terminal would take for a command."""
    record = result.as_dict()
    text = _COMMANDS.sub(_escaped, json.dumps(record, ensure_ascii=False))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def write_all(handle: int, left: list[bytes]) -> None:
    """Write ``left[0]``, until nothing of it is left."""
    # What is left stays in the list: who tries again after a failure goes on in the middle of a line.
    while left[0]:
        written = os.write(handle, left[0])
        left[0] = left[0][written:]
