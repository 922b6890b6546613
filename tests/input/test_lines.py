from __future__ import annotations

import os
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from headrace import lines as module
from headrace.errors import UsageError
from headrace.lines import CHUNK, LONGEST, Line, open_input, read_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BOM = b"\xef\xbb\xbf"


async def collect(handle: int) -> list[Line]:
    return [line async for line in read_lines(handle)]


def of_file(path: Path, content: bytes) -> list[Line]:
    path.write_bytes(content)
    handle = open_input(path)
    try:
        return trio.run(collect, handle)
    finally:
        os.close(handle)


def of_pipe(pieces: Sequence[bytes]) -> list[Line]:
    """What is read from a pipe into which one piece after another is written, each when all before it was read."""

    async def write(handle: int) -> None:
        for piece in pieces:
            await trio.testing.wait_all_tasks_blocked()
            os.write(handle, piece)
        await trio.testing.wait_all_tasks_blocked()
        os.close(handle)

    async def main() -> list[Line]:
        reader, writer = os.pipe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, writer)
            found = await collect(reader)
        os.close(reader)
        return found

    return trio.run(main)


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\r", [b"a"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\n\na\n\n", [b"", b"", b"a", b""]),
        (BOM + b"a\n", [b"a"]),
        (BOM, []),
        (BOM + BOM + b"a", [BOM + b"a"]),
        (b"a\n" + BOM + b"b\n", [b"a", BOM + b"b"]),
        (b"\x00\n\xff\xfe\n", [b"\x00", b"\xff\xfe"]),
        ("a\u2028b\u0085c\x0bd\x0ce\n".encode(), ["a\u2028b\u0085c\x0bd\x0ce".encode()]),
    ],
)
def test_lines_end_with_lf_or_crlf_and_with_nothing_else(content: bytes, texts: list[bytes], tmp_path: Path) -> None:
    expected = [Line(number, text) for number, text in enumerate(texts, 1)]
    assert of_file(tmp_path / "in", content) == expected
    assert of_pipe([content[index : index + 1] for index in range(len(content))]) == expected


@pytest.mark.parametrize("around", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_end_on_the_border_of_two_reads_is_one_end(end: bytes, around: int, tmp_path: Path) -> None:
    first = b"x" * (CHUNK + around)
    assert of_file(tmp_path / "in", first + end + b"y") == [Line(1, first), Line(2, b"y")]


def test_a_line_that_is_too_long_is_one_line_and_its_neighbours_survive(tmp_path: Path) -> None:
    for end in (b"\n", b"\r\n"):
        found = of_file(tmp_path / "in", end.join((b"before", b"x" * (LONGEST + 3 * CHUNK), b"after", b"x" * 2 * LONGEST, b"last")))
        assert [(line.number, line.too_long) for line in found] == [(1, False), (2, True), (3, False), (4, True), (5, False)]
        assert [line.text for line in found if not line.too_long] == [b"before", b"after", b"last"]
        assert all(0 < len(line.text) <= CHUNK for line in found if line.too_long)


def test_the_longest_line_is_taken_whole(tmp_path: Path) -> None:
    assert of_file(tmp_path / "in", b"x" * LONGEST + b"\ny") == [Line(1, b"x" * LONGEST), Line(2, b"y")]


def test_how_long_is_too_long_does_not_depend_on_where_the_reads_fall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 16)
    monkeypatch.setattr(module, "CHUNK", 8)
    for length in range(14, 26):
        content = b"a\n" + b"x" * length + b"\nb\n"
        expected = [(1, False), (2, length > 16), (3, False)]
        assert [(line.number, line.too_long) for line in of_file(tmp_path / "in", content)] == expected, length
        assert [(line.number, line.too_long) for line in of_pipe([content[:5], content[5:]])] == expected, length


pieces = st.lists(
    st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\xef", b"\xbb", b"\xbf", b"\x00", b"xyz" * 5]) | st.binary(max_size=4), max_size=12
)


@given(pieces, st.lists(st.integers(0, 60), max_size=6))
def test_wherever_bytes_are_split_the_lines_are_the_same(parts: list[bytes], cuts: list[int]) -> None:
    content = b"".join(parts)
    borders = sorted({0, len(content), *(min(cut, len(content)) for cut in cuts)})
    split = [content[start:end] for start, end in pairwise(borders)]
    texts = content.removeprefix(BOM).split(b"\n")
    expected = [text.removesuffix(b"\r") for text in (texts if texts[-1] else texts[:-1])]
    assert [line.text for line in of_pipe(split)] == expected


def test_dev_null_is_empty() -> None:
    handle = os.open(os.devnull, os.O_RDONLY)
    assert trio.run(collect, handle) == []
    os.close(handle)


def test_a_reader_that_waits_for_a_pipe_can_be_cancelled() -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        found: list[Line] = []
        with trio.move_on_after(0.05):
            async for line in read_lines(reader):
                found.append(line)  # noqa: PERF401 - it never ends
        os.close(reader)
        os.close(writer)
        assert found == []

    trio.run(main)


def test_lines_come_as_soon_as_they_are_there() -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        found = read_lines(reader)
        os.write(writer, b"first\nsec")
        assert await anext(found) == Line(1, b"first")
        os.write(writer, b"ond\n")
        assert await anext(found) == Line(2, b"second")
        os.close(writer)
        with pytest.raises(StopAsyncIteration):
            await anext(found)
        os.close(reader)

    trio.run(main)


@pytest.mark.parametrize("name", ["missing", ".", "file/below"])
def test_an_input_that_cannot_be_read_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as raised:
        open_input(tmp_path / name)
    assert len(str(raised.value).splitlines()) == 1


def test_a_folder_on_stdin_is_refused_in_one_line(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(UsageError):
            trio.run(partial(collect, handle))
    finally:
        os.close(handle)
