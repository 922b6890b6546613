from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.keys import exact_key
from headrace.records import Request

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
CHANGES: list[dict[str, Any]] = [
    {},
    {"prompt": "a  fox"},
    {"prompt": "A fox"},
    {"prompt": "a fox "},
    {"model": "gpt-image-2.5-flare"},
    {"size": "1536x1024"},
    {"quality": "high"},
    {"n": 2},
    {"output_format": "webp"},
    {"output_compression": 0},
    {"output_compression": 85},
    {"background": "opaque"},
    {"background": "auto"},
    {"moderation": "low"},
    {"moderation": "auto"},
    {"moderation": "opaque"},
]


def test_every_parameter_the_variation_and_the_namespace_keep_apart() -> None:
    keys = [exact_key(attrs.evolve(REQUEST, **change), 0, "a") for change in CHANGES]
    keys += [exact_key(REQUEST, 1, "a"), exact_key(REQUEST, 0, "b"), exact_key(REQUEST, 0, "")]
    assert [pair for pair in combinations(range(len(keys)), 2) if keys[pair[0]] == keys[pair[1]]] == []


def test_no_field_of_a_request_is_forgotten() -> None:
    # A field that is added to Request changes the picture: it has to be part of the key.
    assert {field.name for field in attrs.fields(Request)} == {name for change in CHANGES for name in change}


def test_the_same_text_in_another_normal_form_is_the_same() -> None:
    assert exact_key(attrs.evolve(REQUEST, prompt="caf\u00e9"), 0, "a") == exact_key(attrs.evolve(REQUEST, prompt="cafe\u0301"), 0, "a")


def test_a_key_is_the_same_in_every_run() -> None:
    assert exact_key(REQUEST, 0, "a") == "3a6799e95a217086dbca95c1d9353ac4b7d46f7d9c46c922b212a4715f8ea8f0"


@pytest.mark.parametrize(("one", "other"), [(("a", 'b","c'), ('a","b', "c")), (("a", "b"), ("ab", "")), (("a\0", "b"), ("a", "\0b"))])
def test_text_cannot_pass_for_structure(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert exact_key(attrs.evolve(REQUEST, prompt=one[1]), 0, one[0]) != exact_key(attrs.evolve(REQUEST, prompt=other[1]), 0, other[0])


@given(st.text() | st.just("\ud800"), st.integers(0))
def test_every_prompt_has_a_key(prompt: str, variation: int) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", exact_key(attrs.evolve(REQUEST, prompt=prompt), variation, "a"))
