"""Prompts from a Parquet file, read as the line has room for them. Only for where ``pyarrow`` is installed (``headrace[parquet]``)."""

from __future__ import annotations

import base64
import math
import os
import stat
from contextlib import aclosing, asynccontextmanager
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import trio

from headrace.errors import UsageError
from headrace.lines import Row

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from headrace.columns import Columns, Layout

BATCH = 128
"""Rows that are read at once."""
BUFFER = 2**16
"""Bytes of each column that are read at once, however large its row groups are."""
_FAILS = (OSError, ValueError, pa.ArrowException)
_VALUE_FAILS = (ValueError, OverflowError, KeyError, pa.ArrowException)


@asynccontextmanager
async def parquet_rows(handle: int, name: str, columns: Columns) -> AsyncIterator[tuple[Layout, AsyncIterator[Row], int]]:
    """What the columns are, the rows as they come, numbered from 1, and how many there are.

    Raises:
        UsageError: it is no whole Parquet file, or has not the columns that are wanted.
    """
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise UsageError(f"{name} is a pipe, and Parquet is read from its end; name a file")
    file = await trio.to_thread.run_sync(_opened, handle, name)
    try:
        layout = columns.layout(file.schema_arrow.names, name)
        async with aclosing(_read(_batches(file, layout, name))) as rows:
            yield layout, rows, file.metadata.num_rows
    finally:
        file.close(force=True)


def _opened(handle: int, name: str) -> pq.ParquetFile:
    opened = open(os.dup(handle), "rb", buffering=0)  # noqa: PTH123, SIM115 - a descriptor, closed with the file
    file = pa.PythonFile(opened, mode="r")
    try:
        # Without a buffer of that size a whole row group is read ahead, and pandas writes a million rows into one.
        return pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
    except _FAILS as error:
        file.close()
        raise UsageError(f"{name} is no Parquet file that can be read: {_first_line(error)}") from None


async def _read(batches: Iterator[list[Row]]) -> AsyncGenerator[Row, None]:
    while rows := await trio.to_thread.run_sync(next, batches, None):
        for row in rows:
            yield row


def _batches(file: pq.ParquetFile, layout: Layout, name: str) -> Iterator[list[Row]]:
    number = 0
    try:
        for batch in file.iter_batches(BATCH, use_threads=False):
            yield rows_of(batch, layout, number + 1)
            number += batch.num_rows
    except _FAILS as error:
        raise UsageError(f"{name} cannot be read behind row {number:,}: {_first_line(error)}") from None


def rows_of(batch: pa.RecordBatch | pa.Table, layout: Layout, number: int = 0) -> list[Row]:
    """The rows of a batch with the columns of the layout, numbered from there."""
    rows = zip(*map(_values, batch.columns, layout.keys), strict=True)
    return [_row(count, layout, values) for count, values in enumerate(rows, number)]


def _row(number: int, layout: Layout, values: tuple[Any, ...]) -> Row:
    for name, value in zip(layout.names, values, strict=True):
        if isinstance(value, _Unreadable):
            known = layout.fields([None if isinstance(value, _Unreadable) else value for value in values])
            return Row(number, known, f"column {name!r} cannot be read: {value.why}", "row")
    return Row(number, layout.fields(values), unit="row")


@attrs.frozen
class _Unreadable:
    why: str


def _values(column: pa.Array, key: str | None) -> list[Any]:
    coarse = _in_microseconds(column.type)
    if coarse != column.type:
        column = column.cast(coarse, safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except _VALUE_FAILS:
        values = [_value(scalar) for scalar in column]
    kind = column.type
    simple = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if simple:
        return values
    if key is not None:
        # Some writers do not say which bytes are text, and base64 is no prompt.
        values = [_text(value) if isinstance(value, bytes) else value for value in values]
    return list(map(plain, values))


def _text(value: bytes) -> str | _Unreadable:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _Unreadable("it is bytes that are no UTF-8")


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except _VALUE_FAILS as error:
        return _Unreadable(_first_line(error))


def plain(value: Any) -> Any:
    """A value of a column as JSON has it.

    Decimals are text, so that no digit is lost; dates and times are text of ISO 8601, to the microsecond; durations are seconds; bytes
    are base64; what is no finite number is null.
    """
    if value is None or isinstance(value, str | int | _Unreadable):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value)


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    # Python's own times have no nanoseconds.
    types = pa.types
    if types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_microseconds(kind.value_type)))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_in_microseconds(field.type)) for field in kind])
    return kind


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
