from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from reliability import bad_lines, bad_settings, broken_journal, inputs
from reliability.bad_answers import bad_answers, bad_body, document, dumped
from reliability.mutations import one_line_of_text, tried

from headrace.journal.database import FILE
from headrace.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_no_input_costs_another_one_its_result_or_ends_in_a_traceback() -> None:
    found = {outcome.name: outcome for outcome in inputs.outcomes(short=True)}
    assert {name: outcome.failures for name, outcome in found.items() if outcome.failures} == {}
    assert min(outcome.trials for outcome in found.values()) >= 8


def test_what_breaks_is_told_with_the_smallest_example() -> None:
    (failure,) = tried("numbers", 100, st.integers(0, 1_000), lambda number: ["too large"] if number > 10 else []).failures
    assert "too large" in failure
    assert "example=11" in failure


def test_a_good_answer_is_taken_and_the_checks_know_a_bad_one(tmp_path: Path) -> None:
    assert bad_body(dumped(document())) == []
    assert bad_answers([((200, [], dumped(document())), 1)]) == []
    # A refusal is that prompt's own; one that is about the key stops the others, and is seen.
    assert bad_answers([((400, [], b"{}"), 1)]) == []
    assert "no key can work" in str(bad_answers([((401, [], b"{}"), 1)]))
    assert list(tmp_path.iterdir()) == []


def test_a_lost_good_line_is_seen() -> None:
    assert bad_lines.bad_lines(([b"{}"], False, 1)) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.lines.LONGEST", 10)
        assert "not ok" in str(bad_lines.bad_lines(([b"{}"], False, 1)))


@pytest.mark.parametrize("piped", [True, False])
def test_lines_are_read_as_they_are_from_a_file_and_from_a_pipe(piped: bool) -> None:
    assert [line.text for line in bad_lines.read(b"a\n\r\n\xff", piped=piped)] == [b"a", b"", b"\xff"]


def test_the_template_of_the_configuration_is_tried_with_all_that_it_shows(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text(bad_settings.TEMPLATE)
    settings = Settings.load(tmp_path / "headrace.toml")
    assert settings.fallback.alternative is not None
    assert settings.run.max_cost_usd is not None
    assert bad_settings.bad_settings(bad_settings.TEMPLATE.encode()) == []


def test_a_whole_journal_goes_well_and_a_broken_one_is_told() -> None:
    whole = broken_journal._whole(closed=True)
    assert broken_journal.damaged((whole, "hold")) == []
    journal = whole[FILE]
    cut = whole | {FILE: journal[: len(journal) // 2]}
    assert broken_journal.damaged((cut, "retry")) == []


@pytest.mark.parametrize("text", ["", "a\nb", "a\x1b[2J", "\u202eb", "\ud800"])
def test_a_text_that_no_terminal_shows_as_one_line_is_seen(text: str) -> None:
    assert not one_line_of_text(text)
    assert one_line_of_text(json.dumps(text))
