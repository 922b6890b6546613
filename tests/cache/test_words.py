from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.words import Relation, read, word_of


def test_attributes_belong_to_their_nouns() -> None:
    reading = read("a small brown dog next to a wooden table that is red")
    assert reading.attributes == {("little", "dog"), ("brown", "dog"), ("wooden", "table"), ("red", "table")}
    assert reading.things == ("dog", "table")


def test_black_and_white_belong_to_the_photo() -> None:
    assert read("a red and white boat").attributes == {("red", "boat"), ("white", "boat")}


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        ("a cat on a mat", Relation("cat", "on", "mat")),
        ("on a mat there is a cat", Relation("cat", "on", "mat")),
        ("a cup to the left of a spoon", Relation("cup", "left-of", "spoon")),
        ("a spoon to the right of a cup", Relation("cup", "left-of", "spoon")),
        ("a ball below a kite", Relation("kite", "above", "ball")),
        ("a cat behind a dog", Relation("dog", "front-of", "cat")),
        ("a dog chasing a cat", Relation("dog", "chase", "cat")),
        ("a cat chased by a dog", Relation("dog", "chase", "cat")),
        ("a cat is being chased by a dog", Relation("dog", "chase", "cat")),
        ("a dog that chases a cat", Relation("dog", "chase", "cat")),
        ("a lake near a forest", Relation("forest", "near", "lake")),
        ("a forest next to a lake", Relation("forest", "near", "lake")),
    ],
)
def test_who_does_what_to_whom(text: str, relation: Relation) -> None:
    assert relation in read(text).relations


def test_numbers_and_negations_know_what_they_speak_of() -> None:
    reading = read("two red dogs and one cat without a hat, no rain")
    assert reading.numbers == (("2", "dog"), ("1", "cat"))
    assert reading.negated == (("without", "hat"), ("no", "rain"))


def test_quoted_text_is_kept_to_the_letter() -> None:
    assert read('a sign "Do NOT enter" and a sign "Exit"').quoted == ("Do NOT enter", "Exit")


@pytest.mark.parametrize(
    ("form", "lemma", "kind"),
    [
        ("riding", "ride", "verb"),
        ("sits", "sit", "posture"),
        ("running", "run", "verb"),
        ("cats", "cat", "noun"),
        ("women", "woman", "person"),
        ("red", "red", "colour"),
        ("painting", "painting", "medium"),
        ("7", "7", "number"),
    ],
)
def test_words_are_known_in_all_their_forms(form: str, lemma: str, kind: str) -> None:
    assert word_of(form)[::2] == (lemma, kind)


def test_words_for_the_same_thing_have_one_sense() -> None:
    assert word_of("couch").sense == word_of("sofa").sense
    assert word_of("couch").lemma != word_of("sofa").lemma


def test_a_prompt_is_read_once() -> None:
    assert read("a cat that is read once") is read("a cat that is read once")


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert read(text).text == text


@pytest.mark.parametrize("piece", ["a cat on ", "cat ", ", ", "red and ", "no ", '"a" ', "a dog chased by ", "that is "])
def test_the_longest_prompt_takes_no_time_to_speak_of(piece: str) -> None:
    start = time.perf_counter()
    read((piece * 32_000)[:32_000])
    assert time.perf_counter() - start < 2
