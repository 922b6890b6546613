from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.difference import LONGEST, difference


@pytest.mark.parametrize(
    ("asked", "known", "said"),
    [
        ("a red cat", "a blue cat", "red -> blue"),
        ("a cat", "a cat with a hat", "+ with hat"),
        ("a cat and a dog", "a cat", "- and dog"),
        ("a cat on a dog", "a dog on a cat", "order"),
        ("a cat in a park at night", "a cat at night in a park", "order"),
        ("a red cat in a park at night", "a blue cat at night in a park", "red -> blue; order"),
        ("a cat", "Please draw a cat.", ""),
    ],
)
def test_a_person_can_read_what_differs(asked: str, known: str, said: str) -> None:
    assert difference(asked, known) == said


@given(st.text(), st.text())
def test_it_fits_a_line(asked: str, known: str) -> None:
    said = difference(asked, known)
    assert len(said) <= LONGEST
    assert "\n" not in said


def test_the_longest_prompts_take_no_time_to_speak_of() -> None:
    start = time.perf_counter()
    difference("red cat " * 4_000, "cat blue " * 3_500)
    assert time.perf_counter() - start < 2
