from __future__ import annotations

import csv
import io
import os
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from headrace import tables as module
from headrace.columns import Columns
from headrace.errors import UsageError
from headrace.lines import Row
from headrace.prompts import PromptReader
from headrace.records import Result
from headrace.settings import RequestSettings
from headrace.tables import count_rows, table_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from headrace.columns import Layout

BOM = b"\xef\xbb\xbf"


def rows_of(path: Path, content: bytes, delimiter: str = ",", columns: Columns | None = None) -> tuple[Layout | None, list[Row]]:
    path.write_bytes(content)
    handle = os.open(path, os.O_RDONLY)

    async def main() -> tuple[Layout | None, list[Row]]:
        async with table_rows(handle, "in.csv", delimiter, columns or Columns()) as (layout, rows):
            return layout, [row async for row in rows]

    try:
        return trio.run(main)
    finally:
        os.close(handle)


def refusal(path: Path, content: bytes, columns: Columns | None = None) -> str:
    with pytest.raises(UsageError) as raised:
        rows_of(path / "in.csv", content, columns=columns)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_row_is_what_a_jsonl_line_of_the_same_content_would_be(mark: bytes, end: bytes, tmp_path: Path) -> None:
    content = (
        mark + end.join((b'id, prompt,n,size,price,""', b'007,"a ""red"" fox, at dawn",2,,1.50,', b"", b"b,plain,,1024x1024,,x")) + end
    )
    layout, rows = rows_of(tmp_path / "in.csv", content)
    assert rows == [
        Row(2, {"id": "007", "prompt": 'a "red" fox, at dawn', "n": 2, "metadata": {"price": "1.50", "": ""}}),
        Row(4, {"id": "b", "prompt": "plain", "size": "1024x1024", "metadata": {"price": "", "": "x"}}),
    ]
    assert layout is not None
    assert layout.told() == "columns: id, prompt, n, size; into metadata: price, ''"


def test_a_quoted_field_may_have_several_lines_and_rows_are_known_by_the_line_they_begin_in(tmp_path: Path) -> None:
    _, rows = rows_of(tmp_path / "in.csv", b'prompt\r\n"one\r\n\r\n""two""\r\n"\r\nnext\r\n')
    assert rows == [Row(2, {"prompt": 'one\n\n"two"\n'}), Row(6, {"prompt": "next"})]


def test_tabs_are_another_delimiter(tmp_path: Path) -> None:
    _, rows = rows_of(tmp_path / "in.tsv", b"prompt\tnote\na, b\tc\n", "\t")
    assert rows == [Row(2, {"prompt": "a, b", "metadata": {"note": "c"}})]


@pytest.mark.parametrize("content", [b"", BOM, b"\n\n", b"prompt\n", b"prompt,id\r\n,\r\n \r\n"])
def test_what_has_no_content_has_no_rows(content: bytes, tmp_path: Path) -> None:
    assert rows_of(tmp_path / "in.csv", content)[1] == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b"a,b,c", "it has 3 fields, the header has 2; a field with the delimiter in it has to be quoted"),
        (b"a", "it has 1 fields, the header has 2"),
        (b"a,\xff", "it is not UTF-8 (byte 3 of line 3); convert the file with iconv -t UTF-8"),
        (b'"x\n\xff",b', "it is not UTF-8 (byte 1 of line 4); convert the file with iconv -t UTF-8"),
        (b'"a" fox,b', "it cannot be read: ',' expected after '\"'; quotes in a quoted field are doubled"),
        (b"a\rb,c", "it has a carriage return outside of quotes; if the lines of the file end so, convert it with tr '\\r' '\\n'"),
    ],
)
def test_a_row_that_cannot_be_read_says_why_and_its_neighbours_survive(row: bytes, says: str, tmp_path: Path) -> None:
    _, rows = rows_of(tmp_path / "in.csv", b"prompt,id\nbefore,1\n" + row + b"\nafter,2\n")
    before, bad, after = rows
    assert (before.fields, after.fields) == ({"prompt": "before", "id": "1"}, {"prompt": "after", "id": "2"})
    assert (bad.number, bad.unit, bad.fields) == (3, "line", {})
    assert bad.problem is not None
    assert bad.problem.startswith(says)


def test_a_quote_that_is_never_closed_is_told_with_the_lines_it_takes(tmp_path: Path) -> None:
    _, rows = rows_of(tmp_path / "in.csv", b'prompt\n"a\nb\nc\n')
    assert [(row.number, row.problem) for row in rows] == [(2, "a quote that it opens is not closed up to line 4")]
    _, rows = rows_of(tmp_path / "in.csv", b'prompt\n"a\nb,"c"\nd\n')
    assert [row.number for row in rows] == [2, 4]
    assert rows[0].problem is not None
    assert rows[0].problem.startswith("it cannot be read up to line 3, where a quote that it opens is closed: ")


def test_a_field_of_many_lines_with_quotes_is_not_read_anew_at_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    reader = csv.reader

    def counted(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            read.append(line)
            yield line

    monkeypatch.setattr(csv, "reader", lambda lines, **form: reader(counted(lines), **form))
    _, rows = rows_of(tmp_path / "in.csv", b'prompt\n"' + b'""\n' * 200 + b'"\nafter\n')
    assert [row.fields for row in rows] == [{"prompt": '"\n' * 200}, {"prompt": "after"}]
    assert len(read) < 3 * 200


def test_a_quoted_field_may_end_where_another_one_begins(tmp_path: Path) -> None:
    _, rows = rows_of(tmp_path / "in.csv", b'prompt,note\n"a\nb","c\nd"\n"e\n",5" nail\n')
    assert [row.fields for row in rows] == [
        {"prompt": "a\nb", "metadata": {"note": "c\nd"}},
        {"prompt": "e\n", "metadata": {"note": '5" nail'}},
    ]


def test_a_row_that_is_too_long_is_one_row_and_what_follows_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 64)
    _, rows = rows_of(tmp_path / "in.csv", b'prompt\n"' + b"x" * 40 + b"\n" + b"y" * 40 + b"\nafter\n")
    assert [(row.number, row.fields) for row in rows] == [(2, {}), (4, {"prompt": "after"})]
    assert rows[0].problem == "it is longer than 4 MiB: a quote that it opens is not closed up to line 3"


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        (b"a fox\na dog\n", None, "in.csv has the columns a fox, and no 'prompt'; name the column of the prompts with --prompt-column"),
        (b"Prompt,id\n", None, "(did you mean 'Prompt'?)"),
        (
            b"caption\n",
            Columns(prompt="captoin"),
            "in.csv has the columns caption, and no 'captoin' for --prompt-column (did you mean 'caption'?)",
        ),
        (b"prompt,sku\n", Columns(id="skv"), "no 'skv' for --id-column (did you mean 'sku'?)"),
        (b"prompt,a,a\n", None, "in.csv has the column 'a' twice; give each column a name of its own"),
        (b"prompt\n", Columns(prompt="prompt", id="prompt"), "'prompt' cannot be both --prompt-column and --id-column"),
        (b"pr\xffmpt\n", None, "in.csv, line 1, which has to name the columns: it is not UTF-8"),
        (b"prompt\rid\r", None, "in.csv, line 1, which has to name the columns: it has a carriage return outside of quotes"),
        ("prompt\n".encode("utf-16"), None, "the input is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"),
        (b",".join(b"c%d" % n for n in range(20)), None, "c11 and 8 more, and no 'prompt'"),
    ],
)
def test_a_header_that_does_not_name_what_is_wanted_is_refused_in_one_line(
    content: bytes, columns: Columns | None, says: str, tmp_path: Path
) -> None:
    assert says in refusal(tmp_path, content, columns)


def test_a_column_that_was_asked_for_takes_the_place_of_the_one_with_the_name(tmp_path: Path) -> None:
    layout, rows = rows_of(tmp_path / "in.csv", b"prompt,caption,id,sku\np,c,i,s\n", columns=Columns(prompt="caption", id="sku"))
    assert rows == [Row(2, {"prompt": "c", "id": "s", "metadata": {"prompt": "p", "id": "i"}})]
    assert layout is not None
    assert layout.told() == "columns: prompt is 'caption', id is 'sku'; into metadata: prompt, id"


def test_a_file_of_an_edit_is_a_list_of_one(tmp_path: Path) -> None:
    _, rows = rows_of(tmp_path / "in.csv", b"prompt,images\np,a.png\nq,\n")
    assert [row.fields for row in rows] == [{"prompt": "p", "images": ["a.png"]}, {"prompt": "q"}]


def test_whole_numbers_with_a_point_are_whole_and_others_are_left_for_a_complaint(tmp_path: Path) -> None:
    content = b"prompt,n,output_compression,variation,id\np,2.0,80.00, 3.0 ,4.0\nq,1.5,1.,1e1,1.50\nr,,,,\n"
    _, rows = rows_of(tmp_path / "in.csv", content)
    assert [row.fields for row in rows] == [
        {"prompt": "p", "n": 2, "output_compression": 80, "variation": 3, "id": "4.0"},
        {"prompt": "q", "n": "1.5", "output_compression": "1.", "variation": "1e1", "id": "1.50"},
        {"prompt": "r"},
    ]
    (wrong,) = (PromptReader(RequestSettings()).read(row) for row in rows[1:2])
    assert isinstance(wrong, Result)
    assert wrong.error is not None
    assert wrong.error.message.startswith("line 3: n: '1.5' is not a whole number")


fields = st.text(st.sampled_from("ab\",\n \t'\u2028é\x00"), max_size=8)


@given(st.lists(st.lists(fields, min_size=2, max_size=2), max_size=6))
def test_whatever_the_csv_module_writes_is_read_back(rows: Sequence[Sequence[str]]) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerows([["prompt", "note"], *rows])
    found = trio.run(_of_pipe, file.getvalue().encode())
    kept = [row for row in rows if any(field.strip() for field in row)]
    assert [(row.fields, row.problem) for row in found] == [({"prompt": prompt, "metadata": {"note": note}}, None) for prompt, note in kept]


async def _of_pipe(content: bytes) -> list[Row]:
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    try:
        async with table_rows(reader, "stdin", ",", Columns()) as (_, rows):
            return [row async for row in rows]
    finally:
        os.close(reader)


def test_rows_of_a_pipe_come_as_soon_as_they_are_there() -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        os.write(writer, b'prompt\nfirst\n"sec')
        async with table_rows(reader, "stdin", ",", Columns()) as (_, rows):
            assert await anext(rows) == Row(2, {"prompt": "first"})
            os.write(writer, b'\nond"\n')
            assert await anext(rows) == Row(3, {"prompt": "sec\nond"})
            os.close(writer)
            assert await anext(rows, None) is None
        os.close(reader)

    trio.run(main)


def test_rows_are_counted_without_moving_where_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b'prompt,note\r\n"a\r\nb",c\r\n\r\nd,e\r\n"""f""",g')
    handle = os.open(path, os.O_RDONLY)
    count = trio.run(trio.to_thread.run_sync, count_rows, handle, 0)
    assert (count, os.lseek(handle, 0, os.SEEK_CUR)) == (3, 0)
    os.close(handle)


def test_a_line_without_an_end_is_counted_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2**10)
    path = tmp_path / "in.csv"
    path.write_bytes(b"prompt\r\n" + b"x" * 2**20 + b"\r\n\r\nafter")
    handle = os.open(path, os.O_RDONLY)
    tracemalloc.start()
    count = trio.run(trio.to_thread.run_sync, count_rows, handle, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    os.close(handle)
    assert count == 2
    assert peak < 2**19
