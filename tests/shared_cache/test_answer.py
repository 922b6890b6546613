"""Answers as text, and what strangers may make of them."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.keys import canonical_key, exact_key
from headrace.records import Answer, Picture, Prompt, Request, Strategy, Trail, Usage
from headrace.shared_cache.answer import BrokenError, entry_of, text_of

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
SHA = "ab" * 32
PICTURE = Picture(path=f"images/ab/{SHA}.png", sha256=SHA, format="png", width=8, height=9, bytes=10)
RIGHT = {"prompt": "a fox", "origin": "7", "pictures": [[SHA, "png", 8, 9, 10]], "usage": [1, 2], "cost_usd": 0.5, "created": 1.0}


def answer(words: str, **more: Any) -> Answer:
    request = attrs.evolve(REQUEST, prompt=words)
    prompt = Prompt(seq=0, id="7", request=request)
    fields: dict[str, Any] = {"usage": Usage(input_tokens=1, output_tokens=2), "cost_usd": 0.5, "pictures": (PICTURE, PICTURE)} | more
    return Answer(prompt=prompt, request=request, strategy=Strategy.PRIMARY, trail=Trail(), **fields)


@given(st.text(alphabet=st.characters(codec="utf-8")), st.sampled_from([{}, {"usage": None}, {"cost_usd": None}]))
def test_what_was_written_is_read_by_whoever_asks_in_that_scope(words: str, more: dict[str, None]) -> None:
    paid = answer(words, **more)
    text = text_of(paid)
    assert text.isascii()
    entry = entry_of(text, REQUEST, "scope", "mine")
    assert (entry.request, entry.origin, entry.pictures) == (paid.request, "7", paid.pictures)
    assert (entry.usage, entry.cost_usd, entry.namespace) == (paid.usage, paid.cost_usd, "mine")
    assert (entry.key, entry.canonical) == (exact_key("scope", words), canonical_key("scope", words))
    assert time.time() - 60 < entry.created <= time.time()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": 1},
        {"prompt": "x" * 100_001},
        {"prompt": "half \ud800"},
        {"origin": "\udfff"},
        {"origin": None},
        {"origin": "x" * 100_001},
        {"pictures": []},
        {"pictures": [[SHA, "png", 8, 9, 10]] * 11},
        {"pictures": [["../../../etc/passwd", "png", 8, 9, 10]]},
        {"pictures": [[SHA.upper(), "png", 8, 9, 10]]},
        {"pictures": [[f"{SHA}\n", "png", 8, 9, 10]]},
        {"pictures": [[SHA, "svg", 8, 9, 10]]},
        {"pictures": [[SHA, "png/../..", 8, 9, 10]]},
        {"pictures": [[SHA, "png", 0, 9, 10]]},
        {"pictures": [[SHA, "png", 8, True, 10]]},
        {"pictures": [[SHA, "png", 8, 9, 10**15]]},
        {"pictures": {"a": 1}},
        {"usage": [1]},
        {"usage": [1, -2]},
        {"cost_usd": -1},
        {"cost_usd": 1e308},
        {"cost_usd": float("inf")},
        {"cost_usd": float("nan")},
        {"created": "now"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(change: dict[str, Any]) -> None:
    entry_of(json.dumps(RIGHT), REQUEST, "scope", "mine")
    with pytest.raises(BrokenError):
        entry_of(json.dumps(RIGHT | change), REQUEST, "scope", "mine")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(SHA),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(sorted(RIGHT)), inner),
)


@given(
    st.one_of(
        st.text(),
        values.map(json.dumps),
        st.builds(lambda name, value: json.dumps(RIGHT | {name: value}), st.sampled_from(sorted(RIGHT)), values),
    )
)
def test_no_text_does_more_than_name_files_by_their_hashes(text: str) -> None:
    with suppress(BrokenError):
        entry = entry_of(text, REQUEST, "scope", "mine")
        assert all(re.fullmatch(r"images/([0-9a-f]{2})/\1[0-9a-f]{62}\.(png|jpeg|webp)", each.path) for each in entry.pictures)
        assert attrs.evolve(entry.request, prompt="a fox") == REQUEST
        assert entry.created <= time.time()


def test_what_is_no_text_of_json_is_refused() -> None:
    for text in ("", "\udcff", "[" * 100_000, "1" * 5_000, "null", "[]"):
        with pytest.raises(BrokenError):
            entry_of(text, REQUEST, "scope", "mine")
