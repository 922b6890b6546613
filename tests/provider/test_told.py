from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.provider.failures import Reply
from headrace.provider.told import told_of
from headrace.text import clean
from headrace.told import CALLS, IMAGES, NOTHING, REQUESTS, TOKENS, Level, Refusal, Told

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_CREDITS = "You have no credits remaining. Add credits to continue using the API at https://platform.openai.com/settings/."
SHARED = (
    "Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-Ab9_x on input-images per min: "
    "Limit 5, Used 5, Requested 1. Please try again in 12s. Visit https://platform.openai.com/account/rate-limits to learn more."
)


def refused(message: str = "no", kind: Any = "rate_limit_error", code: Any = "rate_limit_exceeded", **headers: str) -> Told:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return told_of(Reply(429, headers, json.dumps({"error": error}).encode()))


def levels(status: int = 200, /, **headers: str) -> tuple[Level, ...]:
    named = {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in headers.items()}
    return told_of(Reply(status, named, b"{}")).levels


def refusal(resource: str | None, limit: float | None = None, used: float | None = None, requested: float | None = None) -> Refusal:
    return Refusal(resource=resource, limit=limit, used=used, requested=requested)


@pytest.mark.parametrize(
    ("message", "kind", "expected"),
    [
        (SHARED, "input-images", attrs.evolve(refusal(IMAGES, 5, 5, 1), owner="org-Ab9_x")),
        ("on input-images per min: Limit 250, Used 250, Requested 1. Please try again in 240ms.", None, refusal(IMAGES, 250, 250, 1)),
        ("on images per minute: Limit 4,000, Used 3,999, Requested 2.", None, refusal(IMAGES, 4000, 3999, 2)),
        ("on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms.", None, refusal(REQUESTS, 500, 500, 1)),
        ("on tokens per min (TPM): Limit 30000, Used 29446, Requested 821.", "tokens", refusal(TOKENS, 30000, 29446, 821)),
        ("on tokens per min. Limit: 90000.000000 / min. Current: 89000.500000 / min.", None, refusal(TOKENS, 90000, 89000.5)),
        ("Rate limit reached for images per minute. Limit: 2/1min. Current: 3/1min.", None, refusal(IMAGES, 2, 3)),
        ("Request too large on input-images per min: Limit 5, Requested 10.", None, refusal(IMAGES, 5, None, 10)),
        ("Limit 5, Requested 10", "input-images", refusal(IMAGES, 5, None, 10)),
        ("Limit 5, Requested 10", "rate_limit_error", refusal(None, 5, None, 10)),
        ("You exceeded the limit of 60 requests per minute.", None, refusal(REQUESTS, 60)),
        ("You may make 20 images per 10 seconds: limit 20.", "input-images", refusal(None)),
        ("Rate limit 1 image every 2 seconds", "input-images", refusal(None)),
        ("Limit 5, Used 5 per second on images", "input-images", refusal(None)),
        ("You exceeded your RPM.", None, refusal(REQUESTS)),
        ("You exceeded 5 IPM.", None, refusal(IMAGES)),
        ("Rate limit reached", "requests", refusal(REQUESTS)),
        ("Rate limit reached", "tokens", refusal(TOKENS)),
        ("on tokens per min: Limit 9, Used 9, Requested 1. Ten requests per day are free.", "requests", refusal(TOKENS, 9, 9, 1)),
        ("Requests to the X Operation have exceeded call rate limit of your current tier.", None, refusal(REQUESTS)),
        ("Requests to the X Operation have exceeded token rate limit of your current tier.", None, refusal(TOKENS)),
        ("You've exceeded the rate limit, please slow down and try again after 51.84 seconds.", None, refusal(None)),
    ],
)
def test_what_a_refusal_says_is_read(message: str, kind: str | None, expected: Refusal) -> None:
    assert refused(message, kind).refusal == expected


@pytest.mark.parametrize(
    "message",
    [
        "on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.",
        "on requests per day. Limit: 200 / day. Current: 200 / day.",
        "on tokens per day (TPD): Limit 1000000, Used 1000000, Requested 80.",
        "on images per day: Limit 50, Used 50, Requested 1.",
        "Limit: 50/1day. Current: 51/1day.",
        "You exceeded the limit of 200 requests per day.",
        "You exceeded your IPD.",
        "on requests per hour: Limit 9, Used 9, Requested 1.",
        "on requests per second: Limit 2, Used 2, Requested 1.",
        "on input-images per day (RPM): Limit 5/day",
    ],
)
@pytest.mark.parametrize("kind", ["requests", "input-images", None])
def test_a_limit_of_another_time_than_a_minute_is_no_limit_a_minute(message: str, kind: str | None) -> None:
    assert refused(message, kind).refusal == refusal(None)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Too many concurrent requests.", refusal(CALLS)),
        ("You have reached your concurrency limit of 5.", refusal(CALLS, 5)),
        ("Rate limit reached on concurrent requests: Limit 2, Used 2, Requested 1.", refusal(CALLS, 2, 2, 1)),
        ("Too many requests in parallel", refusal(CALLS)),
        ("Too many requests at once", refusal(CALLS)),
        ("Too many simultaneous generations", refusal(CALLS)),
        ("on requests per min (RPM): Limit 3, Used 3, Requested 1. Make fewer at the same time.", refusal(REQUESTS, 3, 3, 1)),
    ],
)
def test_a_refusal_for_calls_at_once_is_told_from_one_for_pace(message: str, expected: Refusal) -> None:
    assert refused(message, "requests").refusal == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("You are sending requests faster than they can be served. Please slow down.", refusal(None)),
        ("on requests per min: Limit 3, Used 3, Requested 1.", refusal(None)),
        ("Slow down: too many concurrent requests.", refusal(CALLS)),
    ],
)
def test_slow_down_is_a_refusal_of_nothing_in_particular(message: str, expected: Refusal) -> None:
    assert refused(message, "requests", "slow_down").refusal == expected


@pytest.mark.parametrize("body", [b"", b"Too Many Requests", b"<html><title>429</title>", b"null", b"{", b'{"error": {}}', b"\xff\xfe{"])
def test_a_refusal_that_says_nothing_is_still_one(body: bytes) -> None:
    assert told_of(Reply(429, {}, body)) == Told(refusal=refusal(None))


def test_a_refusal_that_is_no_json_is_read_as_text() -> None:
    assert told_of(Reply(429, {}, SHARED.encode())).refusal == refused(SHARED, "input-images").refusal


def test_who_shares_the_limit_is_in_the_text_where_no_header_says_it() -> None:
    told = refused(SHARED.replace(" on ", " in project proj_1 on "))
    assert (told.organisation, told.project, told.family) == ("org-Ab9_x", "proj_1", "gpt-image")
    told = refused(SHARED, **{"openai-organization": "acme", "openai-project": "proj_9"})
    assert (told.organisation, told.project) == ("acme", "proj_9")


@pytest.mark.parametrize(("told", "owner"), [(" on ", "org-Ab9_x"), (" in project proj_1 on ", "proj_1")])
def test_a_refusal_is_for_a_limit_of_whom_it_names_whatever_the_headers_say(told: str, owner: str) -> None:
    told_refusal = refused(SHARED.replace(" on ", told), **{"openai-organization": "acme", "openai-project": "proj_9"}).refusal
    assert told_refusal is not None
    assert told_refusal.owner == owner


def test_a_picture_says_whose_it_is_and_is_no_refusal() -> None:
    headers = {"openai-organization": " acme\x1b ", "openai-project": "proj_9", "x-request-id": "req_1"}
    assert told_of(Reply(200, headers, SHARED.encode())) == Told(organisation="acme", project="proj_9")
    assert told_of(Reply(200, {"openai-project": ""}, b"")) == NOTHING


@pytest.mark.parametrize("status", [200, 400, 403, 500, 503])
def test_no_other_status_is_a_refusal(status: int) -> None:
    error = {"message": SHARED, "type": "input-images", "code": "slow_down"}
    assert told_of(Reply(status, {}, json.dumps({"error": error}).encode())) == NOTHING


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (NO_CREDITS, "credit_balance_exhausted"),
        ("You exceeded your current quota", "insufficient_quota"),
        ("Rate limit exceeded for images per minute in organization org-X. Limit: 0/1min. Current: 1/1min.", "rate_limit_exceeded"),
    ],
)
def test_money_is_no_question_of_pace(message: str, code: str) -> None:
    assert refused(message, "insufficient_quota", code).refusal is None


def test_the_recorded_headers_of_a_refusal_are_read() -> None:
    told = levels(
        429,
        limit_input_images="50000",
        remaining_input_images="49999",
        reset_input_images="1ms",
        limit_requests="500",
        remaining_requests="499",
        reset_requests="120ms",
        limit_tokens="30000",
        remaining_tokens="554",
        reset_tokens="58.891s",
    )
    assert told == (
        Level(resource=IMAGES, limit=50_000, remaining=49_999, reset_s=0.001),
        Level(resource=REQUESTS, limit=500, remaining=499, reset_s=0.12),
        Level(resource=TOKENS, limit=30_000, remaining=554, reset_s=58.891),
    )


@pytest.mark.parametrize(
    ("suffix", "resource"),
    [
        ("_images", IMAGES),
        ("_input_images", IMAGES),
        ("_project_input_images", IMAGES),
        ("_tokens", TOKENS),
        ("_project_tokens", TOKENS),
        ("_requests", REQUESTS),
        ("_project_requests", REQUESTS),
        ("", REQUESTS),
    ],
)
def test_each_family_of_headers_is_of_one_resource(suffix: str, resource: str) -> None:
    told = levels(**{f"limit{suffix}": "60", f"remaining{suffix}": "59", f"reset{suffix}": "1s"})
    assert told == (Level(resource=resource, limit=60, remaining=59, reset_s=1),)


@pytest.mark.parametrize("suffix", ["_bytes", "_requests_day", "_input_tokens", "_", "_tokens_"])
def test_a_family_that_nobody_knows_is_passed_over(suffix: str) -> None:
    assert levels(**{f"limit{suffix}": "60", f"remaining{suffix}": "59", f"reset{suffix}": "1s"}) == ()


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1.0),
        ("12ms", 0.012),
        ("1m0s", 60.0),
        ("58.891s", 58.891),
        ("250µs", 0.00025),
        ("0s", 0.0),
        ("0", 0.0),
        ("30", 30.0),
        ("1.5", 1.5),
        ("0h0m3s", 3.0),
    ],
)
def test_a_reset_is_a_duration_or_seconds(reset: str, seconds: float) -> None:
    (told,) = levels(limit_tokens="100", remaining_tokens="20", reset_tokens=reset)
    assert told.reset_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    "reset", ["soon", "", "-1s", "1s 2", "2026-11-24T18:00:00Z", "nan", "1e3", "1_0", "\u0663s", "9" * 400, "s", "1.2.3s"]
)
def test_a_reset_that_is_no_duration_was_not_said(reset: str) -> None:
    assert levels(limit_tokens="100", remaining_tokens="20", reset_tokens=reset) == (Level(resource=TOKENS, limit=100, remaining=20),)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset"),
    [
        ("10000", "9999", "8.64s"),
        ("10000", "4999", "12h0m4s"),
        ("200", "199", "7m12s"),
        ("200", "0", "24h0m0s"),
        ("10000", "10000", "61s"),
        ("60", "60", "1700000000"),
        ("60", "40", "1700000000"),
        ("60", "30", "1h0m0s"),
    ],
)
def test_a_limit_that_comes_back_too_slowly_for_a_minute_is_left_out(limit: str, remaining: str, reset: str) -> None:
    assert levels(limit_requests=limit, remaining_requests=remaining, reset_requests=reset) == ()


@pytest.mark.parametrize(
    ("limit", "remaining", "reset"),
    [
        ("10000", "9481", "3.114s"),
        ("5", "4", "12s"),
        ("5", "0", "60s"),
        ("5", "0", "1m0s"),
        ("5", "5", "0s"),
        ("5", "5", "60s"),
        ("5", "3", "0s"),
    ],
)
def test_a_limit_that_comes_back_as_one_a_minute_does_is_kept(limit: str, remaining: str, reset: str) -> None:
    (told,) = levels(limit_requests=limit, remaining_requests=remaining, reset_requests=reset)
    assert (told.limit, told.remaining) == (float(limit), float(remaining))


def test_of_two_limits_of_one_resource_the_tighter_one_counts() -> None:
    both = {"limit_tokens": "1000", "remaining_tokens": "900", "limit_project_tokens": "100", "remaining_project_tokens": "10"}
    expected = (Level(resource=TOKENS, limit=100, remaining=10),)
    assert levels(**both) == expected
    assert levels(**dict(reversed(both.items()))) == expected
    assert levels(**(both | {"remaining_tokens": "50"})) == (Level(resource=TOKENS, limit=1000, remaining=50),)
    # A day's limit is none of them, however little of it is left.
    assert levels(**(both | {"remaining_project_tokens": "1", "reset_project_tokens": "23h0m0s"})) == (
        Level(resource=TOKENS, limit=1000, remaining=900),
    )


def test_a_level_has_a_limit_and_what_is_left_of_it() -> None:
    assert levels(limit_tokens="100") == ()
    assert levels(remaining_tokens="100") == ()
    assert levels(limit_tokens="100", remaining_tokens="120") == (Level(resource=TOKENS, limit=100, remaining=100),)


@pytest.mark.parametrize("limit", ["0", "-5", "nan", "inf", "1e999", "", "100, 100;w=60", "0x10", "1_000", "\u0665", "9" * 400])
def test_a_limit_that_is_no_number_above_nothing_was_not_said(limit: str) -> None:
    assert levels(limit_tokens=limit, remaining_tokens="1") == ()


@pytest.mark.parametrize("limit", ["-5", "nan", "inf", "1e999", "5x10", "1_000", "40K", "\u0665", "9" * 400])
def test_a_text_that_holds_no_such_number_leaves_the_rest_of_it(limit: str) -> None:
    assert refused(f"on tokens per min: Limit {limit}, Used 2, Requested 1.").refusal == refusal(TOKENS, None, 2, 1)


@pytest.mark.parametrize("word", ["\u0131mages", "\u0130mages", "to\u212aens", "reque\u017fts"])
def test_letters_that_only_fold_to_a_word_are_not_that_word(word: str) -> None:
    assert refused(f"Rate limit reached on {word} per min", word).refusal == refusal(None)


HOSTILE = [
    b'{"error":' * 100_000,
    b"[" * 100_000,
    b'{"error": {"message": ' + b"[" * 900 + b"]" * 900 + b"}}",
    b'{"error": {"message": "Limit ' + b"9" * 2**20 + b'"}}',
    b'{"error": {"code": ' + b"9" * 5_000 + b"}}",
    b"limit " * 170_000,
    b"on tokens per " * 70_000,
    b"\xff" * 2**20,
    b'{"error": {"type": ["tokens"], "code": {"a": 1}, "message": null}}',
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_body_neither_hurts_nor_holds_the_event_loop_up(body: bytes) -> None:
    started = time.process_time()
    said = told_of(Reply(429, {}, body)).refusal
    assert time.process_time() - started < 0.5
    assert said is not None
    assert (said.limit, said.used, said.requested) == (None, None, None)


numbers = st.integers().map(str) | st.floats().map(str) | st.text(max_size=8) | st.sampled_from(["5,", "1,000", "9" * 400, "0.0"])
WORDS = """on|tokens per min|\u0130mages per min|requests per day|RPM|TPD|Limit|Used|Requested|:|,|/ min|/1day|(for limit|)
|in organization org-|in project proj_|concurrent|call rate limit|\ud800|\0"""
words = st.sampled_from(WORDS.split("|"))
texts = st.lists(words | numbers, max_size=14).map(" ".join)
bodies = (
    st.binary(max_size=200)
    | texts.map(lambda text: text.encode("utf-8", "replace"))
    | st.fixed_dictionaries({"message": texts, "type": words, "code": words | st.none()}).map(
        lambda error: json.dumps({"error": error}).encode()
    )
)
names = st.builds(
    "{}{}".format,
    st.sampled_from(["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "openai-organization", "x-ratelimit-"]),
    st.sampled_from(["", "-requests", "-tokens", "-project-tokens", "-images", "-\ud800", "-"]),
)
headers_of = st.dictionaries(names, numbers | st.sampled_from(["1s", "6m0s", "12ms", "9" * 30 + "h", "\ud800"]), max_size=12)


@given(status=st.sampled_from([200, 429, 503]), headers=headers_of, body=bodies)
def test_whatever_comes_is_read_and_no_number_of_it_is_absurd(status: int, headers: Mapping[str, str], body: bytes) -> None:
    told = told_of(Reply(status, headers, body))
    said = told.refusal
    assert said is None or status == 429
    limits = [level.limit for level in told.levels] + ([] if said is None or said.limit is None else [said.limit])
    assert all(math.isfinite(limit) and limit > 0 for limit in limits)
    assert all(0 <= level.remaining <= level.limit for level in told.levels)
    assert all(level.reset_s is None or 0 <= level.reset_s < math.inf for level in told.levels)
    assert len({level.resource for level in told.levels}) == len(told.levels)
    for text in (told.organisation, told.project, told.family):
        assert text is None or (clean(text) == text and 0 < len(text) <= 110)
