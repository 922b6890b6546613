from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import pytest

from headrace.journal.line import journal_line
from headrace.journal.outputs import output_file
from headrace.records import Kind, Picture, Problem, Prompt, Request, Result, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from headrace.journal.journal import Journal
    from headrace.journal.outputs import OutputFile

    Run = Callable[[Callable[[], Awaitable[None]]], None]
    Opened = Callable[..., AbstractAsyncContextManager[Journal]]

LINE = b"a line\n"


@contextmanager
def output(journal: Journal, path: Path, source: str | None = "in") -> Iterator[OutputFile]:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        file = output_file(journal, path, handle, source)
        assert file is not None
        os.ftruncate(handle, file.offset)
        os.lseek(handle, 0, os.SEEK_END)
        yield file
    finally:
        os.close(handle)


PICTURE = Picture(path="images/ab/abcd.png", sha256="abcd", format="png", width=1, height=1, bytes=4)


def drawn(folder: Path) -> None:
    (folder / PICTURE.path).parent.mkdir(parents=True)
    (folder / PICTURE.path).write_bytes(b"1234")


async def emit(journal: Journal, file: OutputFile, seq: int, *, again: bool = False) -> None:
    """One prompt comes to its end and its line is written."""
    async with journal_line(journal, "url", file.number) as line:
        request = Request(prompt=f"cat {seq}", model="m", size="s", quality="q")
        record = await line.recall(Prompt(seq=seq, id=str(seq), request=request))
        problem = Problem(kind=Kind.SERVER_ERROR, message="no", retryable=True) if again else None
        result = Result(seq=seq, id="0", prompt="", status=Status.FAILED if again else Status.OK, item=record.item, error=problem)
        result = attrs.evolve(result, images=() if again else (PICTURE,))
        await line.ended(result)
        os.write(file.handle, LINE)
        file.emitted([result], os.lseek(file.handle, 0, os.SEEK_CUR))
        await journal.writer.durable()


def test_a_file_is_gone_on_with_behind_the_last_line_that_is_in_it_for_sure(run: Run, opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    drawn(tmp_path)

    async def main() -> None:
        async with opened() as journal:
            with output(journal, path) as file:
                assert file.offset == 0
                await emit(journal, file, 0)
                os.write(file.handle, b"half a li")
        async with opened() as journal:
            with output(journal, path) as file:
                assert file.offset == len(LINE)
                async with journal_line(journal, "url", file.number) as line:
                    request = Request(prompt="cat 0", model="m", size="s", quality="q")
                    result = await line.recall(Prompt(seq=0, id="0", request=request))
                    assert isinstance(result, Result)
                    assert result.written
                await emit(journal, file, 1)
        assert path.read_bytes() == 2 * LINE

    run(main)


@pytest.mark.parametrize(
    "what",
    ["changed", "shorter", "another", "complete", "other source", "to be tried again", "other path", "no picture", "in another file"],
)
def test_a_file_is_written_anew_where_it_is_not_what_the_journal_knows(run: Run, opened: Opened, tmp_path: Path, what: str) -> None:
    path = tmp_path / "out.jsonl"
    drawn(tmp_path)

    async def main() -> None:
        async with opened() as journal:
            with output(journal, path) as file:
                await emit(journal, file, 0)
                await emit(journal, file, 1, again=what == "to be tried again")
                first = file.number
                if what == "complete":
                    file.complete()
        if what == "changed":
            path.write_bytes(b"no lines of ours" * 9)
        elif what == "shorter":
            os.truncate(path, 3)
        elif what == "no picture":
            (tmp_path / PICTURE.path).unlink()
        elif what == "in another file":
            async with opened() as journal:
                with output(journal, tmp_path / "third.jsonl") as file:
                    await emit(journal, file, 0)
        elif what == "another":
            (tmp_path / "copy").write_bytes(path.read_bytes())
            (tmp_path / "copy").rename(path)
        async with opened() as journal:
            there = tmp_path / "other.jsonl" if what == "other path" else path
            with output(journal, there, "other" if what == "other source" else "in") as file:
                assert file.offset == 0
                assert file.number > first
                # The number of a file that is written anew is nobody's: no line is taken for written.
                async with journal_line(journal, "url", file.number) as line:
                    request = Request(prompt="cat 0", model="m", size="s", quality="q")
                    result = await line.recall(Prompt(seq=0, id="0", request=request))
                    assert isinstance(result, Prompt if what == "no picture" else Result)
                    assert not getattr(result, "written", False)

    run(main)


def test_what_comes_from_a_pipe_may_be_anything_and_the_file_is_written_anew(run: Run, opened: Opened, tmp_path: Path) -> None:
    drawn(tmp_path)

    async def main() -> None:
        for _ in range(2):
            async with opened() as journal:
                with output(journal, tmp_path / "out.jsonl", None) as file:
                    assert file.offset == 0
                    await emit(journal, file, 0)

    run(main)


def test_what_is_no_file_is_nothing_that_can_be_gone_on_with(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as journal:
            handle = os.open(os.devnull, os.O_WRONLY)
            try:
                assert output_file(journal, tmp_path / "x", handle, "in") is None
            finally:
                os.close(handle)

    run(main)
