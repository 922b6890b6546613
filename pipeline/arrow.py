"""Results as Arrow record batches: one schema for whatever takes Arrow. Only for where ``pyarrow`` is installed (``headrace[arrow]``).

Example:
    >>> import headrace
    >>> from headrace import arrow
    >>> settings = headrace.Settings.from_dict({"run": {"simulate": True}})
    >>> results = headrace.generate(["a lighthouse", "two foxes", "a red cube"], settings)
    >>> for batch in arrow.batches(results, rows=2):  # of batch.to_pandas() or polars.from_arrow(batch) a frame
    ...     print(batch.num_rows, batch["status"].to_pylist())
    2 ['ok', 'ok']
    1 ['ok']
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

try:
    import pyarrow as pa
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("headrace.arrow needs pyarrow: pip install 'headrace[arrow]'", name=error.name) from None

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headrace.records import Result

_PICTURE = pa.struct(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
_USAGE = pa.struct([pa.field("input_tokens", pa.int64(), nullable=False), pa.field("output_tokens", pa.int64(), nullable=False)])
_MATCH = pa.struct(
    [
        pa.field("of", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
        pa.field("difference", pa.string()),
        pa.field("prompt", pa.string()),
    ]
)
_ERROR = pa.struct(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("status", pa.int32()),
        pa.field("retryable", pa.bool_(), nullable=False),
    ]
)

SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("strategy", pa.string()),
        pa.field("images", pa.list_(pa.field("item", _PICTURE, nullable=False)), nullable=False),
        pa.field("model", pa.string()),
        pa.field("size", pa.string()),
        pa.field("quality", pa.string()),
        pa.field("key", pa.string()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("usage", _USAGE),
        pa.field("cost_usd", pa.float64()),
        pa.field("saved_usd", pa.float64()),
        pa.field("latency_s", pa.float64()),
        pa.field("waited_s", pa.float64(), nullable=False),
        pa.field("match", _MATCH),
        pa.field("error", _ERROR),
        pa.field("metadata", pa.string()),
    ]
)
"""The columns of a result: those of ``Result.as_dict()``, in its order. ``metadata`` is JSON, because its shape is the caller's own."""


def batch(results: Sequence[Result]) -> pa.RecordBatch:
    """These results, a row each."""
    try:
        return pa.RecordBatch.from_pylist([_row(result) for result in results], SCHEMA)
    except UnicodeEncodeError:
        # Half of a surrogate pair can be said in JSON, and in no Arrow text: escaped in metadata, a question mark elsewhere.
        rows = json.dumps([_row(result, escaped=True) for result in results], ensure_ascii=False)
        return pa.RecordBatch.from_pylist(json.loads(rows.encode("utf-8", "replace")), SCHEMA)


def batches(results: Iterable[Result], rows: int = 1000) -> Iterator[pa.RecordBatch]:
    """Results as they come, ``rows`` of them at a time, and what is left at the end; an empty input has no batch.

    ``results`` is read lazily: no more than one batch is ever held. A batch comes out when it is full, so ``rows`` is also how long a
    consumer waits for its first row.
    """
    coming = iter(results)
    while held := list(islice(coming, rows)):
        yield batch(held)


def _row(result: Result, *, escaped: bool = False) -> dict[str, Any]:
    row = result.as_dict()
    if row["metadata"] is not None:
        # Rows of a database hold dates and decimals, which JSON does not have.
        row["metadata"] = _text(row["metadata"], escaped=escaped)
    return row


def _text(metadata: Any, *, escaped: bool) -> str:
    try:
        return json.dumps(metadata, ensure_ascii=escaped, default=str)
    except (TypeError, ValueError, RecursionError):
        # Keys that are no texts, or what holds itself: one row of a program's own must not cost it the others.
        return json.dumps(str(metadata), ensure_ascii=escaped)
