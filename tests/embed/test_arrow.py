from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import attrs

from headrace import arrow
from headrace.records import Kind, Match, Picture, Problem, Result, Status, Strategy, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = Result(
    seq=7,
    id="row-7",
    prompt="ein Leuchtturm \N{FOX FACE}",
    status=Status.OK,
    strategy=Strategy.CACHE_VERIFIED,
    images=(Picture(path="images/ab/ab.png", sha256="ab", format="png", width=1536, height=1024, bytes=3_000_000_000),),
    model="gpt-image-2.5-flare",
    size="1536x1024",
    quality="low",
    key="studio-a",
    attempts=2,
    usage=Usage(input_tokens=12, output_tokens=272),
    cost_usd=0.0082,
    saved_usd=0.0061,
    latency_s=11.2,
    waited_s=3.4,
    match=Match(of="row-3", similarity=0.97, difference="two", prompt="a lighthouse"),
    error=Problem(kind=Kind.SERVER_ERROR, message="it broke", status=500, retryable=True),
    metadata={"campaign": [7, None], "name": "Ähre"},
)
BARE = Result(seq=0, id="0", prompt=None, status=Status.FAILED, cost_usd=None, saved_usd=None)


def test_a_row_has_what_the_line_of_a_result_has() -> None:
    batch = arrow.batch([FULL, BARE])
    assert batch.schema.equals(arrow.SCHEMA)
    assert batch.schema.names == list(FULL.as_dict())
    batch.validate(full=True)
    found = [row | {"metadata": row["metadata"] and json.loads(row["metadata"])} for row in batch.to_pylist()]
    assert found == [FULL.as_dict(), BARE.as_dict()]
    assert "Ähre" in batch["metadata"][0].as_py()


def test_batches_are_as_long_as_was_asked_but_for_the_last() -> None:
    assert [batch.num_rows for batch in arrow.batches([BARE] * 7, rows=3)] == [3, 3, 1]
    assert list(arrow.batches([])) == []


def test_results_are_taken_as_batches_are_and_no_sooner() -> None:
    taken = 0

    def results() -> Iterator[Result]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield BARE

    coming = arrow.batches(results(), rows=10)
    assert taken == 0
    next(coming)
    assert taken == 10


def test_what_json_or_arrow_does_not_have_costs_no_result() -> None:
    metadata: Any = {"day": dt.date(2026, 11, 27), "half": "\ud800", "name": "Ähre"}
    odd = attrs.evolve(FULL, prompt="half \ud800 of a pair", metadata=metadata)
    row, other = arrow.batch([odd, FULL]).to_pylist()
    assert row["prompt"] == "half ? of a pair"
    assert json.loads(row["metadata"]) == {"day": "2026-11-27", "half": "\ud800", "name": "Ähre"}
    assert other["prompt"] == FULL.prompt


def test_metadata_that_no_json_can_say_is_its_text_and_costs_no_other_row() -> None:
    inside: dict[str, Any] = {}
    inside["itself"] = inside
    keyed: Any = {("a", 1): 2}
    batch = arrow.batch([attrs.evolve(FULL, metadata=keyed), attrs.evolve(FULL, metadata=inside), FULL])
    assert batch["metadata"].to_pylist()[:2] == ["\"{('a', 1): 2}\"", "\"{'itself': {...}}\""]
