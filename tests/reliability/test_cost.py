from __future__ import annotations

import re

from reliability import cost


def test_the_same_prompts_run_with_the_journal_and_without_and_are_timed() -> None:
    # So short a run is judged by nothing but that it works; `make reliability` judges.
    (outcome,) = cost.outcomes(short=True)
    assert (outcome.trials, outcome.failures) == (1, ())
    assert re.fullmatch(r"\d+/s against \d+/s: \d+\.\d\d", outcome.note)
