from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.lines import Line
from headrace.prompts import PromptReader
from headrace.records import CacheMode, Kind, Prompt, Result, Status
from headrace.settings import RequestSettings

DEFAULTS = RequestSettings()


def read(*lines: str | bytes, format: str = "auto") -> list[Prompt | Result]:  # noqa: A002 - the contract's name
    reader = PromptReader(DEFAULTS, format)
    found = (reader.read(Line(number, line.encode() if isinstance(line, str) else line)) for number, line in enumerate(lines, 1))
    return [record for record in found if record is not None]


def accepted(line: str | bytes, format: str = "jsonl") -> Prompt:  # noqa: A002 - the contract's name
    (record,) = read(line, format=format)
    assert isinstance(record, Prompt), record
    return record


def refused(record: Prompt | Result | None) -> str:
    assert isinstance(record, Result)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert (record.error.kind, record.error.retryable) == (Kind.BAD_LINE, False)
    assert len(record.error.message.splitlines()) == 1
    assert len(record.error.message) <= 1000
    assert not any(ord(character) < 32 for character in record.error.message)
    return record.error.message


def refusal(line: str | bytes, format: str = "jsonl") -> str:  # noqa: A002 - the contract's name
    (record,) = read(line, format=format)
    return refused(record)


def texts(records: list[Prompt | Result]) -> list[str | None]:
    return [record.request.prompt if isinstance(record, Prompt) else None for record in records]


def test_a_bare_line_asks_for_the_defaults_under_its_number() -> None:
    first, second = read("a fox", "a dog")
    assert isinstance(first, Prompt)
    assert (first.seq, first.id, first.request.prompt, first.cache, first.variation, first.metadata) == (
        0,
        "0",
        "a fox",
        CacheMode.USE,
        0,
        None,
    )
    request = first.request
    assert (request.model, request.size, request.quality, request.n) == (DEFAULTS.model, "1024x1024", "low", 1)
    assert (second.seq, second.id) == (1, "1")


def test_an_object_says_everything() -> None:
    fields = {"model": "gpt-image-2", "size": "1536x1024", "quality": "high", "n": 3, "output_format": "webp", "output_compression": 0}
    fields |= {"background": "transparent", "moderation": "low"}
    more = {"prompt": "a fox", "id": "x/../y", "cache": "refresh", "variation": 4, "metadata": {"row": [1, None, 1.5, "é"]}}
    prompt = accepted(json.dumps(fields | more))
    assert {name: getattr(prompt.request, name) for name in fields} == fields
    assert (prompt.id, prompt.cache, prompt.variation) == ("x/../y", CacheMode.REFRESH, 4)
    assert prompt.metadata == {"row": [1, None, 1.5, "é"]}


def test_null_is_as_good_as_absent() -> None:
    names = ("id", "model", "size", "quality", "n", "output_format", "output_compression", "background", "moderation", "metadata")
    prompt = accepted(json.dumps({"prompt": "a", **dict.fromkeys(names)}))
    assert prompt == accepted('{"prompt": "a"}')


@pytest.mark.parametrize(
    ("given_id", "shown"), [(7, "7"), (-1, "-1"), ("", ""), ("../../x", "../../x"), ("07", "07"), ("日本", "日本"), (10**30, str(10**30))]
)
def test_an_id_comes_back_as_text_whatever_it_looks_like(given_id: Any, shown: str) -> None:
    assert accepted(json.dumps({"prompt": "a", "id": given_id})).id == shown


def test_ids_may_repeat() -> None:
    records = read('{"prompt": "a", "id": 1}', '{"prompt": "b", "id": 1}', '{"prompt": "c"}')
    assert [(record.seq, record.id) for record in records] == [(0, "1"), (1, "1"), (2, "2")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['{"prompt": "a"}', '"b"'], ["a", "b"]),
        (['"a"', '{"prompt": "b"}'], ["a", "b"]),
        (['  {"prompt": "a"}'], ["a"]),
        (["", " \t", '"a"'], ["a"]),
        (["a fox", '{"prompt": "b"}', '"c"'], ["a fox", '{"prompt": "b"}', '"c"']),
        (["[1]"], ["[1]"]),
        (["null"], ["null"]),
        (["5"], ["5"]),
        (['"a', '"b"'], [None, "b"]),
        (["{a: b} says the fox", '"b"'], [None, "b"]),
        ([b"\xff", '"b"'], [None, "b"]),
        ([b"\xff", "b"], [None, "b"]),
    ],
)
def test_the_first_line_that_is_not_blank_says_what_all_are(lines: list[str | bytes], expected: list[str | None]) -> None:
    assert texts(read(*lines)) == expected


def test_a_named_format_is_not_second_guessed() -> None:
    assert texts(read('{"prompt": "a"}', format="text")) == ['{"prompt": "a"}']
    assert texts(read("a fox", format="jsonl")) == [None]


def test_blank_lines_are_skipped_and_not_counted_and_places_are_lines_of_the_file() -> None:
    records = read("", '"a"', "  ", "\t\r", "5")
    assert [record.seq for record in records] == [0, 1]
    assert "line 5" in refused(records[1])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("{'prompt': 'a'}", "not JSON"),
        ('{"prompt": "a"} {"prompt": "b"}', "not JSON"),
        ('{"prompt": NaN}', "NaN"),
        ('{"prompt": "a", "metadata": NaN}', "NaN"),
        ('{"prompt": "a", "metadata": [-Infinity]}', "Infinity"),
        ('{"prompt": "a", "metadata": 1e999}', ""),
        ('{"prompt": "a", "n": 1' + "0" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "nested"),
        ('{"metadata":' * 100_000, "nested"),
        ("null", "NoneType"),
        ("[]", "list"),
        ("5", "int"),
        ("{}", "prompt"),
        ('{"prompt": null}', "prompt"),
        ('{"prompt": 5}', "prompt"),
        ('{"prompt": ["a"]}', "prompt"),
        ('{"promt": "a"}', "promt"),
        ('{"prompt": "a", "sise": "x"}', "'size'"),
        ('{"prompt": ""}', "empty"),
        ('{"prompt": " \\n\\t"}', "empty"),
        ('{"prompt": "\\u3000\\u00a0"}', "empty"),
        ('""', "empty"),
        ('{"prompt": "\\ud800"}', "surrogate"),
        ('{"prompt": "a\\udc00b"}', "character 2"),
        ('{"prompt": "a", "model": "\\ud800"}', "model"),
        ('{"prompt": "a", "size": "\\ud800"}', "size"),
        ('{"prompt": "a", "quality": "\\udfff"}', "quality"),
        ('{"prompt": "a", "id": "\\ud800"}', "id"),
        ('{"prompt": "a", "n": 0}', "n is 0"),
        ('{"prompt": "a", "n": 11}', "n is 11"),
        ('{"prompt": "a", "n": 1.0}', "1.0"),
        ('{"prompt": "a", "n": true}', "True"),
        ('{"prompt": "a", "n": "1"}', "'1'"),
        ('{"prompt": "a", "id": 1.5}', "1.5"),
        ('{"prompt": "a", "id": true}', "True"),
        ('{"prompt": "a", "id": []}', "id"),
        ('{"prompt": "a", "output_format": "gif"}', "gif"),
        ('{"prompt": "a", "output_compression": 101}', "101"),
        ('{"prompt": "a", "background": "blue"}', "blue"),
        ('{"prompt": "a", "moderation": "none"}', "none"),
        ('{"prompt": "a", "cache": "off"}', "bypass"),
        ('{"prompt": "a", "variation": -1}', "-1"),
        ('{"prompt": "a", "variation": null}', "variation"),
        ('{"prompt": "a", "a\\nb\\u001b[31m": 1}', ""),
        (b'"\xff"', "byte 2"),
        ("\ufeff".encode("utf-16-le") + '"a"'.encode("utf-16-le"), "UTF-8"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_bad_line_says_what_is_wrong_and_where(line: str | bytes, says: str) -> None:
    message = refusal(line)
    assert message.startswith("line 1: ")
    assert says in message


def test_an_over_long_prompt_is_refused_and_the_longest_is_taken() -> None:
    assert "32,001" in refusal("x" * 32_001, format="text")
    assert accepted("x" * 32_000, format="text")
    assert accepted("🦊" * 32_000, format="text")


def test_a_line_that_is_too_long_is_refused_and_counted() -> None:
    reader = PromptReader(DEFAULTS)
    assert "4 MiB" in refused(reader.read(Line(3, b"x" * 100, too_long=True)))
    following = reader.read(Line(4, b"a fox"))
    assert isinstance(following, Prompt)
    assert following.seq == 1


def test_a_line_that_is_too_long_is_no_blank_line_however_it_begins() -> None:
    assert "4 MiB" in refused(PromptReader(DEFAULTS).read(Line(1, b" " * 100, too_long=True)))


def test_an_unknown_key_of_megabytes_is_named_in_a_short_line() -> None:
    assert refusal(json.dumps({"prompt": "a", "k" * 1_000_000: 1}))
    assert refusal(json.dumps({"prompt": "a", **{f"key{index}": 1 for index in range(1_000)}}))


@pytest.mark.parametrize("fields", [{"sise": 1}, {"n": 0}, {"prompt": ""}, {"prompt": 5}, {"id": True}, {"prompt": "\ud800"}])
def test_metadata_comes_back_untouched_on_a_bad_line_too(fields: dict[str, Any]) -> None:
    metadata = {"row": 7, "nested": [{"a": None}]}
    (record,) = read(json.dumps({"prompt": "a", "metadata": metadata, **fields}), format="jsonl")
    refused(record)
    assert isinstance(record, Result)
    assert record.metadata == metadata


def test_a_bad_line_keeps_its_name_and_its_text() -> None:
    (record,) = read('{"prompt": "a fox", "id": "mine", "n": 0}')
    assert isinstance(record, Result)
    assert (record.id, record.prompt) == ("mine", "a fox")
    (record,) = read("{broken", format="jsonl")
    assert isinstance(record, Result)
    assert (record.id, record.prompt) == ("0", "{broken")


@pytest.mark.parametrize("text", ["a\0b", "a\x1b[31mb", "\u202eabc", "é\u0301", "🦊", '\\"', "a\u2028b", " padded "])
def test_a_prompt_is_not_changed(text: str) -> None:
    assert accepted(text, format="text").request.prompt == text
    assert accepted(json.dumps(text)).request.prompt == text
    assert accepted(json.dumps({"prompt": text}, ensure_ascii=False)).request.prompt == text


@pytest.mark.parametrize(
    "item",
    [
        None,
        5,
        1.5,
        b"bytes",
        [],
        ("a",),
        object(),
        {},
        {1: 2},
        {"prompt": "a", 5: 1},
        {"prompt": "a", None: 1, "x": 2},
        {"prompt": object()},
        {"prompt": "a", "n": 10**400},
        {"prompt": "a", "id": 10**5000},
        {"prompt": "a", "id": object()},
        {"prompt": "a", "cache": CacheMode},
        {"prompt": "a", "metadata": object(), "n": 0},
        "",
        "\ud800",
    ],
    ids=range(19),
)
def test_an_item_of_a_program_that_is_no_prompt_is_a_result_too(item: object) -> None:
    reader = PromptReader(DEFAULTS)
    assert refused(reader.read(item)).startswith("item 0: ")
    assert isinstance(reader.read("a fox"), Prompt)


def test_items_of_a_program_are_texts_and_mappings() -> None:
    reader = PromptReader(DEFAULTS)
    marker = object()
    records = [reader.read("a fox"), reader.read('{"prompt": "a"}'), reader.read({"prompt": "b", "metadata": marker})]
    assert texts([record for record in records if record is not None]) == ["a fox", '{"prompt": "a"}', "b"]
    assert isinstance(records[2], Prompt)
    assert records[2].metadata is marker


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["prompt", "id", "n", "metadata", "cache", "x\n"]), inner, max_size=3)
    ),
    max_leaves=6,
)
lines = st.lists(st.binary(max_size=30) | json_values.map(lambda value: json.dumps(value).encode()), max_size=6)


@given(lines, st.sampled_from(["auto", "text", "jsonl"]))
def test_every_line_that_is_not_blank_gives_exactly_one_record(content: list[bytes], format: str) -> None:  # noqa: A002 - the contract's name
    records = read(*content, format=format)
    assert [record.seq for record in records] == list(range(sum(bool(line.strip()) for line in content)))
    for record in records:
        if isinstance(record, Result):
            refused(record)
            json.dumps(record.as_dict(), allow_nan=False)
        else:
            json.dumps(record.request.prompt, ensure_ascii=False).encode()
