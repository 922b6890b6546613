"""CSV and TSV, read as the line has room for them: RFC 4180 with a header, in UTF-8."""

from __future__ import annotations

import csv
import os
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.errors import UsageError
from headrace.lines import CHUNK, LONGEST, Row, read_lines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from headrace.columns import Columns, Layout
    from headrace.lines import Line

DELIMITERS = {"csv": ",", "tsv": "\t"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@attrs.frozen
class Record:
    """Fields between two ends of a row, and the number of the line it begins in."""

    number: int
    fields: list[str]
    problem: str | None = None


@asynccontextmanager
async def table_rows(handle: int, name: str, delimiter: str, columns: Columns) -> AsyncIterator[tuple[Layout | None, AsyncIterator[Row]]]:
    """What the columns are, and the rows as they come; rows without any content are passed over. An empty input has neither.

    Raises:
        UsageError: it cannot be read, or its first row does not name the columns that are wanted.
    """
    async with aclosing(_records(handle, delimiter)) as records:
        header = await anext(records, None)
        layout = None if header is None else columns.layout(_names(header, name), name)
        async with aclosing(_rows(records, layout)) as rows:
            yield layout, rows


def count_rows(handle: int, begins: int) -> int | None:
    """About how many rows are behind ``begins``, without moving where it is read; None where it cannot be read.

    To be called in a thread of trio's.
    """
    count, quoted, filled = -1, False, False
    try:
        while chunk := os.pread(handle, CHUNK, begins):
            trio.from_thread.check_cancelled()
            begins += len(chunk)
            for piece in chunk.splitlines(keepends=True):
                quoted ^= piece.count(b'"') % 2 == 1
                filled |= bool(piece.strip())
                if filled and not quoted and piece.endswith(b"\n"):
                    count, filled = count + 1, False
    except OSError:
        return None
    return max(0, count + filled)


def _names(header: Record, name: str) -> list[str]:
    if header.problem is not None:
        raise UsageError(f"{name}, line {header.number}, which has to name the columns: {header.problem}")
    return [field.strip() for field in header.fields]


async def _rows(records: AsyncIterator[Record], layout: Layout | None) -> AsyncGenerator[Row, None]:
    if layout is None:
        return
    width = len(layout.names)
    async for record in records:
        problem = record.problem
        if problem is None and len(record.fields) != width:
            hint = "; a field with the delimiter in it has to be quoted" if len(record.fields) > width else ""
            problem = f"it has {len(record.fields)} fields, the header has {width}{hint}"
        yield Row(record.number, {} if problem else layout.fields(record.fields), problem)


async def _records(handle: int, delimiter: str) -> AsyncGenerator[Record, None]:
    parser = _Parser(delimiter)
    async with aclosing(read_lines(handle)) as lines:
        async for line in lines:
            if line.number == 1 and line.text.startswith(_UTF_16):
                raise UsageError("the input is UTF-16; convert it with iconv -f UTF-16 -t UTF-8")
            if (record := parser.take(line)) is not None:
                yield record
    if (record := parser.end()) is not None:
        yield record


class _Parser:
    """Lines into records: a quoted field may have several lines, and the csv module says whether a record wants another one."""

    def __init__(self, delimiter: str) -> None:
        # For the whole process, as the module has it; a prompt has at most 128 KB, a column of metadata may have more.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
        self._delimiter = delimiter
        self._lines: list[str] = []
        self._begins = self._last = self._size = 0
        self._spoilt: str | None = None

    def take(self, line: Line) -> Record | None:
        """The record that ends with this line, if one does and has any content."""
        if not self._lines:
            self._begins, self._size, self._spoilt = line.number, 0, None
        self._last = line.number
        try:
            text = line.text.decode()
        except UnicodeDecodeError as error:
            self._spoilt = f"it is not UTF-8 (byte {error.start + 1} of line {line.number}); convert the file with iconv -t UTF-8"
            text = line.text.decode("utf-8", "replace")
        first, self._size = not self._lines, self._size + len(line.text)
        self._lines.append(f"{text}\n")
        if line.too_long or self._size > LONGEST:
            return self._refused("it is longer than 4 MiB" if first else f"it is longer than 4 MiB: {self._unclosed()}")
        # A line in a quoted field is looked at alone: all of them at each would take hours for a field of 4 MiB.
        if not first and ('"' not in text or self._fields([f'"{text}\n']) is None):
            return None
        fields = self._fields(self._lines)
        if fields is None:
            return None
        self._lines = []
        if isinstance(fields, csv.Error):
            return Record(self._begins, [], self._spoilt or self._unreadable(fields))
        return Record(self._begins, fields, self._spoilt) if any(map(str.strip, fields)) else None

    def end(self) -> Record | None:
        """What is left behind the last line."""
        return self._refused(self._unclosed()) if self._lines else None

    def _fields(self, texts: list[str]) -> list[str] | csv.Error | None:
        """What these lines hold, or why they cannot be read; None where the record goes on behind them."""
        lines = _Lines(texts)
        try:
            fields = next(csv.reader(lines, delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            return None if lines.wanting else error
        return None if lines.wanting else fields

    def _unreadable(self, error: csv.Error) -> str:
        # The module's own words are about how Python opened the file.
        if "new-line" in str(error):
            return "it has a carriage return outside of quotes; if the lines of the file end so, convert it with tr '\\r' '\\n'"
        where = "" if self._last == self._begins else f" up to line {self._last}, where a quote that it opens is closed"
        return f"it cannot be read{where}: {error}; quotes in a quoted field are doubled"

    def _unclosed(self) -> str:
        return f"a quote that it opens is not closed up to line {self._last}"

    def _refused(self, problem: str) -> Record:
        self._lines = []
        return Record(self._begins, [], problem)


class _Lines:
    """Gives the lines that are there, and remembers whether there should have been more."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = iter(lines)
        self.wanting = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            self.wanting = True
            raise
