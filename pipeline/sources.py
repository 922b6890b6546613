"""Where prompts come from and how they are read: lines, or rows of a table, by what was said or by the name of the file."""

from __future__ import annotations

import os
import stat
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from headrace.columns import Columns
from headrace.errors import UsageError
from headrace.lines import read_lines
from headrace.tables import DELIMITERS, count_rows, table_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headrace.columns import Layout
    from headrace.lines import Line, Row

NEEDS_PYARROW = "Parquet is read and written by pyarrow; pip install 'headrace[parquet]'"
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}


def kind_of(name: str) -> str:
    """What the ending of a file's name says is in it; ``auto`` where it says nothing."""
    return _SUFFIXES.get(Path(name).suffix.lower(), "auto")


@attrs.frozen
class Reading:
    """An input whose beginning has been read."""

    items: AsyncIterator[Line | Row]
    layout: Layout | None = None
    """What its columns are, where it is a table."""
    count: Callable[[], int | None] | None = None
    """About how many rows there are; None where lines are prompts. To be called in a thread of trio's."""


@attrs.frozen
class Source:
    """An input by its name: a path, or ``-`` for stdin."""

    name: str
    format: str = "auto"
    columns: Columns = attrs.field(factory=Columns)

    @property
    def kind(self) -> str:
        """How it is read; ``auto`` is text or JSONL, which its first line decides."""
        return kind_of(self.name) if self.format == "auto" else self.format

    @asynccontextmanager
    async def reading(self, handle: int) -> AsyncIterator[Reading]:
        """Read what is behind a descriptor; a table's columns are known when this is entered.

        Raises:
            UsageError: it cannot be read so, or has not the columns that are wanted.
        """
        name = "stdin" if self.name == "-" else self.name
        if self.kind in DELIMITERS:
            begins = os.lseek(handle, 0, os.SEEK_CUR) if stat.S_ISREG(os.fstat(handle).st_mode) else None
            async with table_rows(handle, name, DELIMITERS[self.kind], self.columns) as (layout, rows):
                yield Reading(rows, layout, None if begins is None else partial(count_rows, handle, begins))
        elif self.kind == "parquet":
            async with _parquet().parquet_rows(handle, name, self.columns) as (layout, rows, count):
                yield Reading(rows, layout, lambda: count)
        elif self.columns.asked is not None:
            raise UsageError(f"{self.columns.asked} is for tables, and {name} is read line by line; say --format csv, tsv or parquet")
        else:
            async with aclosing(read_lines(handle)) as lines:
                yield Reading(lines)


def _parquet() -> Any:
    try:
        from headrace import parquet  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError(NEEDS_PYARROW) from None
    return parquet
