from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.report.marks import marked

WORDS = st.lists(st.sampled_from(["a", "fox", "Fox", "red", "blue", ",", "夜", "<b>", "\u202e"]), max_size=9).map(" ".join)


def test_words_that_the_other_does_not_have_are_marked() -> None:
    one, other = marked("a red fox on ice", "A blue fox on ice, at night")
    assert one == ["a ", "red", " fox on ice"]
    assert other == ["A ", "blue", " fox on ice", ", at night"]


def test_the_same_words_have_no_mark() -> None:
    assert marked("a red fox", "A Red Fox") == (["a red fox"], ["A Red Fox"])


def test_two_texts_without_a_common_word_are_marked_whole() -> None:
    assert marked("fox", "heron") == (["", "fox"], ["", "heron"])


def test_a_long_prompt_is_marked_where_it_is_compared_and_kept_behind_that() -> None:
    one, other = marked("x " * 5_000 + "red", "x " * 5_000 + "blue")
    assert "".join(one) == "x " * 5_000 + "red"
    assert "".join(other) == "x " * 5_000 + "blue"


@given(WORDS, WORDS)
def test_nothing_is_lost_and_what_is_common_is_the_same_in_both(one: str, other: str) -> None:
    first, second = marked(one, other)
    assert ("".join(first), "".join(second)) == (one, other)
    assert "".join("".join(first[::2]).casefold().split()) == "".join("".join(second[::2]).casefold().split())


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_can_be_compared(one: str, other: str) -> None:
    first, second = marked(one, other)
    assert ("".join(first), "".join(second)) == (one, other)
