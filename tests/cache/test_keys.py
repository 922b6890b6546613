from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.keys import canonical_key, exact_key, scope_key
from headrace.records import Request, Upload


def upload(content: str) -> Upload:
    return Upload(sha256=content, format="png", width=8, height=8, length=9)


REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
CHANGES: list[dict[str, Any]] = [
    {},
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
    {"images": (upload("a"),)},
    {"images": (upload("b"),)},
    {"images": (upload("a"), upload("b"))},
    {"images": (upload("b"), upload("a"))},
    {"images": (upload("a"),), "mask": upload("b")},
    {"mask": upload("a")},
]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model": st.text(max_size=5),
    "size": st.text(max_size=5),
    "quality": st.text(max_size=5),
    "n": st.integers(1, 10),
    "output_format": st.text(max_size=5),
    "output_compression": st.none() | st.integers(0, 100),
    "background": st.none() | st.text(max_size=5),
    "moderation": st.none() | st.text(max_size=5),
    "images": st.lists(st.text(max_size=2).map(upload), max_size=3).map(tuple),
    "mask": st.none() | st.text(max_size=2).map(upload),
    "variation": st.integers(0, 2**70),
    "namespace": st.text(max_size=5),
    "api": st.text(max_size=5),
}


def scope_of(values: dict[str, Any]) -> str:
    others = {name: values[name] for name in ("variation", "namespace", "api")}
    return scope_key(attrs.evolve(REQUEST, **{name: value for name, value in values.items() if name not in others}), **others)


def test_every_parameter_the_variation_the_namespace_and_the_api_keep_apart() -> None:
    scopes = [scope_key(attrs.evolve(REQUEST, **change), 0, "a", "x") for change in CHANGES]
    scopes += [scope_key(REQUEST, *others) for others in ((1, "a", "x"), (0, "b", "x"), (0, "", "x"), (0, "a", "y"), (0, "x", "a"))]
    assert [pair for pair in combinations(scopes, 2) if pair[0] == pair[1]] == []


@given(st.fixed_dictionaries(VALUES), st.data())
def test_prompts_that_differ_in_one_parameter_meet_in_no_tier(values: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(VALUES)))
    other = values | {name: data.draw(VALUES[name].filter(lambda value: value != values[name]))}
    one, two = scope_of(values), scope_of(other)
    assert one != two
    assert exact_key(one, "a fox") != exact_key(two, "a fox")
    assert canonical_key(one, "a fox") != canonical_key(two, "a fox")


def test_no_field_of_a_request_is_forgotten() -> None:
    # A field that is added to Request changes the picture: it has to be part of the scope.
    assert {field.name for field in attrs.fields(Request)} == {name for change in CHANGES for name in change} | {"prompt"}
    assert VALUES.keys() - {"variation", "namespace", "api"} == {name for change in CHANGES for name in change}


@pytest.mark.parametrize("prompt", ["a  fox", "A fox", "a fox ", "a fox.", "the fox"])
def test_the_exact_key_is_that_of_the_letters(prompt: str) -> None:
    assert exact_key("s", prompt) != exact_key("s", "a fox")


@pytest.mark.parametrize("prompt", ["a  fox", "A fox", "a fox ", "a fox.", "please draw an image of a fox"])
def test_the_canonical_key_is_that_of_the_content(prompt: str) -> None:
    assert canonical_key("s", prompt) == canonical_key("s", "a fox")
    assert canonical_key("s", prompt) != canonical_key("s", "a wolf")


def test_an_exact_key_is_never_taken_for_a_canonical_one() -> None:
    assert exact_key("s", "fox") != canonical_key("s", "fox")


def test_the_same_text_in_another_normal_form_is_the_same() -> None:
    assert exact_key("s", "caf\u00e9") == exact_key("s", "cafe\u0301")
    assert canonical_key("s", "caf\u00e9") == canonical_key("s", "cafe\u0301")


def test_a_key_is_the_same_in_every_run() -> None:
    scope = scope_key(REQUEST, 0, "a", "x")
    assert scope == "3ca57ceb0f1a97f417d5f60af39940110180b4c5997197e366b484c812a3e94f"
    assert exact_key(scope, "a fox") == "1317cc3c52c7f7fbba25cca1a0f8053a104ca16927ede6af60d6659ea7e76a05"


@pytest.mark.parametrize(("one", "other"), [(("a", 'b","c'), ('a","b', "c")), (("a", "b"), ("ab", "")), (("a\0", "b"), ("a", "\0b"))])
def test_text_cannot_pass_for_structure(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert scope_key(attrs.evolve(REQUEST, model=one[1]), 0, one[0], "") != scope_key(
        attrs.evolve(REQUEST, model=other[1]), 0, other[0], ""
    )
    assert scope_key(REQUEST, 0, *one) != scope_key(REQUEST, 0, *other)


@given(st.text() | st.just("\ud800"))
def test_every_prompt_has_keys(prompt: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", exact_key("s", prompt))
    assert re.fullmatch(r"[0-9a-f]{64}", canonical_key("s", prompt))
