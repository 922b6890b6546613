from __future__ import annotations

import pytest
from reliability.outcome import Outcome
from reliability.table import Section, as_page, as_text, bound


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome("a kill", 300), "< 1.00%"),
        (Outcome("a kill", 300, ("one was lost",)), "broken"),
        (Outcome("a kill", 0, note="skipped: mounting needs root"), "-"),
    ],
)
def test_no_loss_in_n_trials_says_fewer_than_three_in_n(outcome: Outcome, said: str) -> None:
    assert bound(outcome) == said


def test_a_loss_is_shown_and_the_page_counts_it() -> None:
    section = Section("Cuts", "The power is cut.", (Outcome("rows | lost", 1_200, ("row 7", "row 8"), "at 60 cuts"), Outcome("torn", 60)))
    text, page = as_text([section], shown=1), as_page([section], ["Cuts"])
    assert "row 7" in text
    assert "row 8" not in text
    assert "and 1 more" in text
    assert "| rows \\| lost | 1,200 | 2 | broken | at 60 cuts |\n| torn | 60 | 0 | < 5.00% |  |" in page
    assert "## Cuts\n\nThe power is cut.\n" in page


def test_a_part_that_is_tried_again_alone_leaves_the_others_as_they_were() -> None:
    first, second = Section("A", "What is done.", (Outcome("a", 1),)), Section("B", "What else.", (Outcome("b", 2),))
    page = as_page([second, first], ["A", "B"])
    assert page.index("## A") < page.index("## B") < page.index("## How to repeat it")
    again = as_page([Section("B", "What else.", (Outcome("b", 300),))], ["A", "B"], page)
    assert again == page.replace("| b | 2 | 0 | < 100.00% |  |", "| b | 300 | 0 | < 1.00% |  |")
