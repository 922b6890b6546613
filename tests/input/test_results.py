from __future__ import annotations

import json

import attrs

from headrace.records import Answer, Failure, Kind, Match, Picture, Problem, Prompt, Request, Result, Status, Strategy, Trail, Usage
from headrace.results import answered, failed, reused, shared, unreadable

KEYS = [
    "seq",
    "id",
    "prompt",
    "status",
    "strategy",
    "images",
    "model",
    "size",
    "quality",
    "key",
    "attempts",
    "usage",
    "cost_usd",
    "saved_usd",
]
KEYS += ["latency_s", "waited_s", "match", "error", "metadata"]
REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
PROMPT = Prompt(seq=7, id="seven", request=REQUEST, metadata={"row": 1})
PICTURE = Picture(path="images/ab/ab.png", sha256="ab", format="png", width=8, height=8, bytes=5)
TRAIL = Trail(key="studio-a", attempts=2, waited_s=3.40049, latency_s=11.23456)
ANSWER = Answer(
    prompt=PROMPT,
    request=attrs.evolve(REQUEST, quality="high"),
    strategy=Strategy.PRIMARY,
    pictures=(PICTURE,),
    usage=Usage(input_tokens=12, output_tokens=272),
    cost_usd=0.00820004,
    trail=TRAIL,
)
PROBLEM = Problem(kind=Kind.MODERATION_BLOCKED, message="blocked", status=400, retry_after_s=5)


def test_a_line_has_the_keys_of_the_contract_in_its_order_and_nothing_absent() -> None:
    line = Result(seq=0, id="0", prompt=None, status=Status.FAILED).as_dict()
    assert list(line) == KEYS
    absent = {"prompt", "strategy", "model", "size", "quality", "key", "usage", "latency_s", "match", "error", "metadata"}
    assert {name for name, value in line.items() if value is None} == absent
    assert line["images"] == []


def test_a_full_line_is_the_contracts_own() -> None:
    line = attrs.evolve(answered(ANSWER), match=Match(of="6", similarity=0.97, difference="d", prompt="a wolf"), error=PROBLEM).as_dict()
    assert line == {
        "seq": 7,
        "id": "seven",
        "prompt": "a fox",
        "status": "ok",
        "strategy": "primary",
        "images": [{"path": "images/ab/ab.png", "sha256": "ab", "format": "png", "width": 8, "height": 8, "bytes": 5}],
        "model": "gpt-image-2",
        "size": "1024x1024",
        "quality": "high",
        "key": "studio-a",
        "attempts": 2,
        "usage": {"input_tokens": 12, "output_tokens": 272},
        "cost_usd": 0.0082,
        "saved_usd": 0.0,
        "latency_s": 11.235,
        "waited_s": 3.4,
        "match": {"of": "6", "similarity": 0.97, "difference": "d", "prompt": "a wolf"},
        "error": {"kind": "moderation_blocked", "message": "blocked", "status": 400, "retryable": False},
        "metadata": {"row": 1},
    }
    assert json.loads(json.dumps(line)) == line
    assert type(line["status"]) is type(line["strategy"]) is str


def test_a_follower_and_a_hit_cost_nothing_and_say_what_they_saved() -> None:
    follower = reused(attrs.evolve(PROMPT, seq=8, id="eight"), shared(ANSWER))
    assert (follower.id, follower.strategy, follower.cost_usd, follower.saved_usd) == ("eight", Strategy.COALESCED, 0.0, 0.00820004)
    assert follower.match == Match(of="seven", similarity=1.0, prompt="a fox")
    unpriced = attrs.evolve(shared(ANSWER), strategy=Strategy.CACHE_EXACT, cost_usd=None)
    hit = reused(PROMPT, unpriced)
    assert (hit.strategy, hit.cost_usd, hit.saved_usd, hit.attempts, hit.key) == (Strategy.CACHE_EXACT, 0.0, None, 0, None)
    twin = reused(PROMPT, unpriced.for_twin(0.91, "red -> blue"))
    assert twin.match == Match(of="seven", similarity=0.91, difference="red -> blue", prompt="a fox")


def test_a_failure_that_was_shared_tells_of_no_calls_of_its_own() -> None:
    failure = Failure(prompt=PROMPT, problem=PROBLEM, trail=TRAIL)
    own, shared = failed(PROMPT, failure), failed(attrs.evolve(PROMPT, seq=8), failure)
    assert (own.attempts, own.key, own.waited_s) == (2, "studio-a", 3.40049)
    assert (shared.attempts, shared.key, shared.waited_s, shared.latency_s) == (0, None, 0.0, None)
    assert own.error == shared.error == PROBLEM


def test_what_was_never_tried_is_skipped_and_what_was_tried_failed() -> None:
    skipped = {
        kind for kind in Kind if failed(PROMPT, Failure(prompt=PROMPT, problem=Problem(kind=kind, message="m"))).status is Status.SKIPPED
    }
    assert skipped == {Kind.NO_POOL, Kind.OVER_BUDGET, Kind.INTERRUPTED, Kind.IN_DOUBT}


def test_an_unreadable_line_has_its_number_for_a_name() -> None:
    assert unreadable(5, None, None, PROBLEM).id == "5"
    assert list(unreadable(5, "x", "text", PROBLEM).as_dict()) == KEYS
