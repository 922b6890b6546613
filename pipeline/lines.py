"""Bytes in, lines out: a file or a pipe, read as the line has room for it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio

from headrace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

CHUNK = 2**16
_MARK = b"\xef\xbb\xbf"
LONGEST = 4 * 2**20
"""Bytes that a line may have: a prompt has at most 128 KB, the rest is the caller's metadata."""


@attrs.frozen
class Line:
    """One line without its end; ``text`` is only the start of it where it was too long."""

    number: int
    text: bytes
    too_long: bool = False


@attrs.frozen
class Row:
    """One row of a table, in the keys of the input contract."""

    number: int
    fields: dict[str, Any]
    problem: str | None = None
    """Why it cannot be read."""
    unit: str = "line"
    """What ``number`` counts: ``line`` of a text file, the one it begins in, or ``row``; both from 1."""


def open_input(path: Path) -> int:
    """A descriptor to read prompts from.

    Raises:
        UsageError: it cannot be read, or is a directory.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageError(f"{path} is a directory; give a file with one prompt a line, or - for stdin")
    return handle


async def read_lines(handle: int) -> AsyncGenerator[Line, None]:
    """The lines behind a descriptor, by LF or CRLF, from number 1; a byte order mark and a missing last end are fine."""
    number, pending, skipping, begun = 0, bytearray(), False, False
    while chunk := await _read(handle):
        pending += chunk
        if not begun:
            # A pipe may bring a byte order mark in pieces.
            if len(pending) < len(_MARK) and _MARK.startswith(pending):
                continue
            begun = True
            if pending.startswith(_MARK):
                del pending[: len(_MARK)]
        start = 0
        while (end := pending.find(b"\n", start)) >= 0:
            if not skipping:
                number += 1
                yield _line(number, pending[start:end])
            skipping, start = False, end + 1
        del pending[:start]
        if len(pending) > LONGEST:
            if not skipping:
                number += 1
                yield Line(number, bytes(pending[:CHUNK]), too_long=True)
            skipping = True
            pending.clear()
    if pending and not skipping and not (not begun and pending == _MARK):
        yield _line(number + 1, pending)


def _line(number: int, data: bytearray) -> Line:
    if len(data) > LONGEST:
        return Line(number, bytes(data[:CHUNK]), too_long=True)
    return Line(number, bytes(data).removesuffix(b"\r"))


async def _read(handle: int) -> bytes:
    # A thread that is stuck in a read would hold the interpreter up at its end: pipes and terminals are waited for. Files are not slow,
    # and kqueue would wait for more at their end.
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            with suppress(PermissionError):  # epoll's answer to /dev/null and its like, which are never waited for
                await trio.lowlevel.wait_readable(handle)
                return os.read(handle, CHUNK)
        return await trio.to_thread.run_sync(os.read, handle, CHUNK)
    except OSError as error:
        raise UsageError(f"the input cannot be read: {error.strerror}") from None
