from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.clauses import Relation
from headrace.cache.lexicon import word_of
from headrace.cache.words import read


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
        ("a plate with a fork on it", Relation("fork", "on", "plate")),
        ("a cat sleeps while a dog looks at it", Relation("dog", "look at", "cat")),
        ("a fox on a rock and a boy holding a bag", Relation("boy", "hold", "bag")),
        ("a girl next to a boy with a hat", Relation("boy", "with", "hat")),
        ("a person holding a cake covered in frosting", Relation("cake", "in", "frosting")),
        ("a man holding a plate of cake", Relation("plate", "of", "cake")),
        ("a bear behind of a tree", Relation("tree", "front-of", "bear")),
    ],
)
def test_who_does_what_to_whom(text: str, relation: Relation) -> None:
    assert relation in read(text).relations


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        ("a fox on a rock and a boy holding a bag", Relation("boy", "on", "rock")),
        ("a fox on a rock and a boy holding a bag", Relation("fox", "hold", "bag")),
        ("a girl next to a boy with a hat", Relation("girl", "with", "hat")),
        ("a person holding a cake covered in frosting", Relation("person", "in", "frosting")),
        ("a plate with a fork on it", Relation("plate", "on", "it")),
        ("a cat run over by a bus", Relation("bus", "near", "cat")),
    ],
)
def test_what_belongs_to_another_is_not_said_of_the_first(text: str, relation: Relation) -> None:
    assert relation not in read(text).relations


def test_what_falls_has_not_fallen() -> None:
    assert read("a falling tree").attributes != read("a fallen tree").attributes


def test_a_number_does_not_count_across_a_comma() -> None:
    assert read("poster 2049, men in coats").numbers == (("2049", ""),)


@pytest.mark.parametrize(("text", "sense"), [("lady gaga on stage", "woman"), ("a jet black cat", "airplane"), ("a sea lion", "ocean")])
def test_a_word_in_a_name_stands_for_no_other(text: str, sense: str) -> None:
    assert sense not in {word.sense for word in read(text).words}


def test_by_someone_is_not_beside_someone() -> None:
    assert "near" not in {word.sense for word in read("a sheep eaten by a wolf").words}
    assert "near" in {word.sense for word in read("a sheep by a lake").words}


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
        ("beds", "bed", "noun"),
        ("shorts", "shorts", "noun"),
    ],
)
def test_words_are_known_in_all_their_forms(form: str, lemma: str, kind: str) -> None:
    assert word_of(form)[::2] == (lemma, kind)


def test_woods_are_a_forest() -> None:
    assert word_of("woods").sense == word_of("forest").sense != word_of("wood").sense


def test_words_for_the_same_thing_have_one_sense() -> None:
    assert word_of("couch").sense == word_of("sofa").sense
    assert word_of("couch").lemma != word_of("sofa").lemma


def test_a_prompt_is_read_once() -> None:
    assert read("a cat that is read once") is read("a cat that is read once")


def test_the_longest_prompts_are_not_kept() -> None:
    text = "a cat that is read twice " * 100
    assert read(text) == read(text)
    assert read(text) is not read(text)


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert read(text).text == text


@pytest.mark.parametrize("piece", ["a cat on ", "cat ", ", ", "red and ", "no ", '"a" ', "a dog chased by ", "that is "])
def test_the_longest_prompt_takes_no_time_to_speak_of(piece: str) -> None:
    start = time.perf_counter()
    read((piece * 32_000)[:32_000])
    assert time.perf_counter() - start < 2
