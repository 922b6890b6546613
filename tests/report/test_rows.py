from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import UsageError
from headrace.report.rows import journal_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def one_prompt(job: Any) -> None:
    await job.pay("a fox", job.picture())


def spoil(folder: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        db.execute(statement, values)
        db.commit()


def test_a_folder_without_a_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no journal; name the --out-dir of a run"), journal_rows(tmp_path):
        pass


def test_a_file_that_is_no_journal_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(UsageError, match="cannot be read"), journal_rows(tmp_path):
        pass


def test_a_journal_of_schema_2_has_all_that_a_report_tells(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(one_prompt)
    spoil(folder, "alter table attempt drop column strategy")
    spoil(folder, "pragma user_version = 2")
    with journal_rows(folder) as rows:
        assert [attempt.outcome for attempt in rows.attempts()] == ["paid"]


def test_a_journal_of_an_older_headrace_says_what_to_do(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(one_prompt)
    spoil(folder, "pragma user_version = 1")
    with pytest.raises(UsageError, match="of an earlier headrace; it is brought up to date by the next run there"), journal_rows(folder):
        pass


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"cost_usd": NaN}', '{"cost_usd": 1e999}', '{"strategy": "magic"}', '{"images": 3}', '"\\ud800"', "[" * 5_000]
)
def test_a_result_that_cannot_be_read_is_a_prompt_without_one(folder_of: Callable[..., Path], text: str) -> None:
    folder = folder_of(one_prompt)
    spoil(folder, "update item set result = ?", text)
    with journal_rows(folder) as rows:
        (item,) = rows.items()
        assert (item.status, item.prompt, item.result) == ("ok", "a fox", None)


def test_books_of_a_run_that_are_none_are_passed_over(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(one_prompt)
    spoil(folder, "update run set books = '[3, null', settings = '7'")
    spoil(folder, "insert into limit_seen values (1, 0.0, 'studio', '{\"known\": 3}'), (1, 0.0, 'studio', '[1]')")
    with journal_rows(folder) as rows:
        (run,) = rows.runs()
        assert (run.settings, run.pools) == ({}, ())
        assert [change.known for change in rows.limits()] == [(), ()]


def test_words_that_are_no_text_are_shown_as_far_as_they_are(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(one_prompt)
    spoil(folder, "update item set prompt = cast(x'61ff62' as text)")
    with journal_rows(folder) as rows:
        (item,) = rows.items()
        assert item.prompt == "a\ufffdb"


def test_all_rows_are_of_one_moment(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(one_prompt)
    with journal_rows(folder) as rows:
        assert len(list(rows.items())) == 1
        rest = "status, final, pictures, result, output, prompt, read_at, ended_at"
        spoil(folder, f"insert into item select 99, identity, line, name, {rest} from item")  # noqa: S608 - names of our own
        assert len(list(rows.items())) == 1
    with journal_rows(folder) as rows:
        assert len(list(rows.items())) == 2
