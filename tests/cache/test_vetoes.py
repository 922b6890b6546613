from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.vetoes import gross_veto, veto
from headrace.cache.words import read

WORDS = st.lists(
    st.sampled_from(
        [
            "a",
            "the",
            "red",
            "blue",
            "cat",
            "dog",
            "two",
            "3",
            "on",
            "under",
            "with",
            "without",
            '"stop"',
            "and",
            "man",
            "holding",
            "held",
            "by",
            "is",
            "that",
            ",",
            ".",
            "smaller",
        ]
    ),
    max_size=12,
).map(" ".join)


@pytest.mark.parametrize(
    ("asked", "known", "rule"),
    [
        ('a sign that says "open"', 'a sign that says "closed"', "quoted_text"),
        ("two dogs on a lawn", "three dogs on a lawn", "count"),
        ("two dogs and three cats", "three dogs and two cats", "count"),
        ("a street with people", "a street without people", "negation"),
        ("a red cube", "a blue cube", "colour"),
        ("a red cube and a blue ball", "a blue cube and a red ball", "binding"),
        ("a dog chasing a cat", "a cat chasing a dog", "order"),
        ("a cat chased by a dog", "a dog chased by a cat", "order"),
        ("a cup to the left of a spoon", "a cup to the right of a spoon", "order"),
        ("a photo of a cat", "a painting of a cat", "medium"),
        ("a man on a bench", "a woman on a bench", "person"),
        ("a (red:1.3) hat", "a red:1.3 hat", "symbol"),
        ("一只猫在垫子上", "一只狗在垫子上", "script"),
        ("an open door", "a closed door", "opposite"),
        ("a small dog next to a big dog on grass", "a big dog next to a small dog on grass", "twins"),
        ("a child plays a game while kids look on", "kids play a game while a child looks on", "twins"),
        ("scene 0 with cat 0", "scene 0 with cat 1", "count"),
        ("some apples and three books", "three apples and three books", "count"),
        ("two dogs and two cats", "two dogs and cats", "count"),
        ("a falling tree", "a fallen tree", "tense"),
        ("a candle melting on a table", "a candle melted on a table", "tense"),
        ("a bag that is almost full", "a bag that is fully full", "scope"),
        ("only the dog wears a hat", "the dog wears only a hat", "scope"),
        ("a cup next to the sink", "a cup next to the sinks", "plural"),
        ("a phone in front of a phone", "phones in front of a phone", "plural"),
        ("a bowl of flowers next to a vase of fruit", "a bowl of fruit next to a vase of flowers", "belonging"),
        ("a shower with a lid next to a toilet", "a shower next to a toilet with a lid", "belonging"),
    ],
)
def test_what_is_always_another_picture_is_vetoed_both_ways(asked: str, known: str, rule: str) -> None:
    for one, other in ((asked, known), (known, asked)):
        found = veto(read(one), read(other))
        assert found is not None
        assert found.rule == rule
        assert 0 < len(found.detail) <= 120


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("a red cube on a blue ball", "on a blue ball there is a red cube"),
        ("a cup to the left of a spoon", "a spoon to the right of a cup"),
        ("a cat behind a dog", "a dog in front of a cat"),
        ("a lamp above a table", "a table below a lamp"),
        ("a dog chasing a cat", "a cat chased by a dog"),
        ("a car that is red", "a red car"),
        ("two dogs", "2 dogs"),
        ("a street without people", "a street with no people"),
        ("a man standing in a kitchen with a puppy", "a man with a puppy is standing in a kitchen"),
        ("a dog jumping over a fence", "a fence is being jumped over by a dog"),
        ("one dog on a lawn", "a dog on a lawn"),
        ("a man cutting a cake", "a man is cutting a cake"),
    ],
)
def test_the_same_picture_in_other_words_is_not_vetoed(asked: str, known: str) -> None:
    assert veto(read(asked), read(known)) is None


def test_the_detail_says_what_is_not_what() -> None:
    found = veto(read("a red cube"), read("a blue cube"))
    assert found is not None
    assert found.detail == "red is not blue"


def test_one_other_word_in_a_long_prompt_is_another_picture() -> None:
    tail = ", highly detailed, sharp focus, studio light, cinematic, intricate, elegant, trending on artstation, octane render, matte, fog"
    found = veto(read("portrait of an apollo astronaut" + tail), read("portrait of a warforged astronaut" + tail))
    assert found is not None
    assert found.rule == "length"


@pytest.mark.parametrize(
    ("asked", "known", "rule"),
    [
        ('a sign that says "open"', 'a sign that says "closed"', "quoted_text"),
        ("two dogs", "three dogs", "count"),
        ("a man without a hat", "a man with a hat", "negation"),
        ("a red cube", "a blue cube", None),
        ("a dog chasing a cat", "a cat chasing a dog", None),
    ],
)
def test_a_similar_picture_is_only_held_back_for_texts_counts_and_negations(asked: str, known: str, rule: str | None) -> None:
    found = gross_veto(read(asked), read(known))
    assert (found.rule if found is not None else None) == rule


@given(WORDS | st.text(), WORDS | st.text())
def test_a_veto_holds_both_ways(asked: str, known: str) -> None:
    assert (veto(read(asked), read(known)) is None) == (veto(read(known), read(asked)) is None)


@given(WORDS | st.text())
def test_nothing_stands_against_the_same_prompt_in_one_script(text: str) -> None:
    found = veto(read(text), read(text))
    assert found is None or found.rule in {"script", "length"}


def test_the_longest_prompts_take_no_time_to_speak_of() -> None:
    one, other = read("a red cat on a mat and " * 1400), read("a mat on a red cat and " * 1400)
    start = time.perf_counter()
    assert veto(one, other) is not None
    assert time.perf_counter() - start < 2
