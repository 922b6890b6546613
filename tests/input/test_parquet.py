from __future__ import annotations

import datetime as dt
import json
import os
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio

from headrace.columns import Columns
from headrace.errors import UsageError
from headrace.lines import Row
from headrace.parquet import BATCH, parquet_rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "in.parquet"


async def collect(handle: int, columns: Columns) -> tuple[list[Row], int]:
    async with parquet_rows(handle, "in.parquet", columns) as (_, rows, count):
        return [row async for row in rows], count


def rows_of(file: Path, columns: Columns | None = None) -> list[Row]:
    handle = os.open(file, os.O_RDONLY)
    try:
        rows, count = trio.run(collect, handle, columns or Columns())
    finally:
        os.close(handle)
    assert len(rows) == count
    return rows


def values_of(file: Path, column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """What becomes of the values of a column in the metadata."""
    pq.write_table(pa.table({"prompt": ["p"] * len(column), "x": column}), file)
    rows = rows_of(file)
    assert all(row.problem is None for row in rows)
    return [row.fields["metadata"]["x"] for row in rows]


def test_columns_named_like_keys_are_taken_and_the_others_are_metadata(file: Path) -> None:
    table = {"caption": ["a fox", "a dog"], "id": [17, 18], "size": ["1024x1024", None], "shelf": ["x", None]}
    pq.write_table(pa.table(table), file)
    assert rows_of(file, Columns(prompt="caption")) == [
        Row(1, {"prompt": "a fox", "id": 17, "size": "1024x1024", "metadata": {"shelf": "x"}}, unit="row"),
        Row(2, {"prompt": "a dog", "id": 18, "metadata": {"shelf": None}}, unit="row"),
    ]


def test_whole_numbers_that_pandas_made_floats_because_of_gaps_are_whole_numbers(file: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a", "b"], "n": [2.0, None], "id": [1.0, 2.5]}), file)
    first, second = rows_of(file)
    assert json.dumps(first.fields) == '{"prompt": "a", "n": 2, "id": 1}'
    assert second.fields == {"prompt": "b", "id": 2.5}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([Decimal("1.10"), None]), ["1.10", None]),
        (pa.array([dt.date(2026, 1, 2)]), ["2026-01-02"]),
        (pa.array([1], pa.timestamp("ms")), ["1970-01-01T00:00:00.001000"]),
        (pa.array([1_000_000_123], pa.timestamp("ns", "UTC")), ["1970-01-01T00:00:01+00:00"]),
        (pa.array([dt.time(1, 2, 3)]), ["01:02:03"]),
        (pa.array([90_000_000_001], pa.duration("ns")), [90.0]),
        (pa.array([b"\xff\x00"]), ["/wA="]),
        (pa.array([1.5, float("nan"), float("-inf")]), [1.5, None, None]),
        (pa.array([2**63], pa.uint64()), [2**63]),
        (pa.array([True, None]), [True, None]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([[1, None], []]), [[1, None], []]),
        (pa.array([[1_001]], pa.list_(pa.timestamp("ns"))), [["1970-01-01T00:00:00.000001"]]),
        (pa.array([{"a": b"x", "b": {"c": Decimal("0.1")}}]), [{"a": "eA==", "b": {"c": "0.1"}}]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), [[["k", 1]]]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_every_value_becomes_one_that_json_has(file: Path, column: pa.Array, values: list[Any]) -> None:
    found = values_of(file, column)
    assert json.loads(json.dumps(found, allow_nan=False)) == values


@pytest.mark.parametrize(
    "bad",
    [
        pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")]),
        pa.array([0, 2**62, 0], pa.timestamp("us")),
    ],
)
def test_a_value_that_cannot_be_read_fails_its_row_alone(file: Path, bad: pa.Array) -> None:
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "x": bad}), file)
    first, second, third = rows_of(file)
    assert (first.problem, third.problem) == (None, None)
    assert (second.number, second.fields["prompt"]) == (2, "b")
    assert second.problem is not None
    assert second.problem.startswith("column 'x' cannot be read: ")


def test_bytes_that_are_text_are_a_prompt_and_others_are_none(file: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array(["a naïve fox".encode(), b"\xff\xd8\xff"]), "id": pa.array([b"1", b"2"])}), file)
    first, second = rows_of(file)
    assert first == Row(1, {"prompt": "a naïve fox", "id": "1"}, unit="row")
    assert second == Row(2, {"id": "2"}, "column 'prompt' cannot be read: it is bytes that are no UTF-8", "row")


def test_rows_are_numbered_through_batches_and_row_groups(file: Path) -> None:
    count = 3 * BATCH + 1
    pq.write_table(pa.table({"prompt": [f"p{n}" for n in range(1, count + 1)]}), file, row_group_size=BATCH + 7)
    assert [(row.number, row.fields["prompt"]) for row in rows_of(file)] == [(n, f"p{n}") for n in range(1, count + 1)]


def test_no_more_than_a_batch_is_read_ahead(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"prompt": ["p"] * 20 * BATCH}), file)
    made: list[int] = []

    def make(number: int, *arguments: Any, **named: Any) -> Row:
        made.append(number)
        return Row(number, *arguments, **named)

    monkeypatch.setattr("headrace.parquet.Row", make)

    async def main() -> None:
        handle = os.open(file, os.O_RDONLY)
        async with parquet_rows(handle, "in.parquet", Columns()) as (_, rows, _):
            await anext(rows)
        os.close(handle)

    trio.run(main)
    assert len(made) == BATCH


def test_a_table_without_rows_has_none(file: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), file)
    assert rows_of(file) == []


def test_a_file_that_is_none_or_damaged_is_refused_in_one_line(file: Path) -> None:
    pq.write_table(pa.table({"prompt": [f"{n} " * 50 for n in range(1000)]}), file, compression=None, use_dictionary=False)
    whole = file.read_bytes()
    for content in (b"", b"prompt\na fox\n", whole[: len(whole) // 2], whole[:4] + bytes(4000) + whole[4004:]):
        file.write_bytes(content)
        with pytest.raises(UsageError) as raised:
            rows_of(file)
        assert str(raised.value).startswith(
            ("in.parquet is no Parquet file that can be read: ", "in.parquet cannot be read behind row 0: ")
        )
        assert len(str(raised.value).splitlines()) == 1


def test_a_column_that_is_missing_is_refused_with_the_nearest(file: Path) -> None:
    pq.write_table(pa.table({"promt": ["a"]}), file)
    with pytest.raises(UsageError, match=r"no 'prompt'; name .* with --prompt-column \(did you mean 'promt'\?\)"):
        rows_of(file)


def test_a_pipe_is_refused() -> None:
    reader, writer = os.pipe()
    with pytest.raises(UsageError, match=r"in.parquet is a pipe, and Parquet is read from its end; name a file"):
        trio.run(partial(collect, reader, Columns()))
    os.close(reader)
    os.close(writer)
