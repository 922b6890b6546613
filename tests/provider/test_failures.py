from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.provider.failures import Reply, problem_of, retry_after
from headrace.records import Kind, Problem
from headrace.text import LONGEST


def refused(status: int, error: Any, **headers: str) -> Problem:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return problem_of(Reply(status, named, json.dumps({"error": error}).encode()))


def error(message: str = "no", code: Any = None, kind: Any = None, **more: Any) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": None, "code": code, **more}


INVALID, IMAGE = "invalid_request_error", "image_generation_user_error"
MODERATED = {"moderation_stage": "input", "categories": ["violence"]}
VERIFY = "Your organization must be verified to use the model `gpt-image-1`. It can take up to 15 minutes."
NO_CREDITS = "You have no credits remaining. Add credits to continue using the API at https://platform.openai.com/settings/."


@pytest.mark.parametrize(
    ("status", "sent", "kind"),
    [
        (400, error("Blocked by safety.", "moderation_blocked", IMAGE, moderation_details=MODERATED), Kind.MODERATION_BLOCKED),
        (400, error("Rejected.", "content_policy_violation", INVALID), Kind.CONTENT_POLICY_VIOLATION),
        (400, error("Invalid value: '512x512'.", "invalid_value", INVALID, param="size"), Kind.BAD_REQUEST),
        (400, error("Unknown parameter: 'response_format'.", "unknown_parameter", INVALID), Kind.BAD_REQUEST),
        (400, error("Invalid image data.", "invalid_image_file", IMAGE), Kind.BAD_REQUEST),
        (400, error("The model 'dall-e-3' does not exist.", None, IMAGE), Kind.MODEL_NOT_FOUND),
        (400, error("Billing hard limit has been reached", "billing_hard_limit_reached", INVALID), Kind.BILLING),
        (401, error("Incorrect API key provided: sk-...abcd.", "invalid_api_key", INVALID), Kind.AUTH),
        (401, error("No such organization", "invalid_organization", INVALID), Kind.AUTH),
        (403, error(VERIFY, None, INVALID), Kind.FORBIDDEN),
        (404, error("Invalid URL (POST /v1/images/generate)", None, INVALID), Kind.NOT_FOUND),
        (404, error("The model `x` does not exist or you do not have access to it.", "model_not_found", INVALID), Kind.MODEL_NOT_FOUND),
        (413, error("too large"), Kind.BAD_REQUEST),
        (422, error("unprocessable"), Kind.BAD_REQUEST),
        (429, error("Rate limit reached", "rate_limit_exceeded", "input-images"), Kind.RATE_LIMITED),
        (429, error("Rate limit reached", "rate_limit_exceeded", "requests"), Kind.RATE_LIMITED),
        (429, error("Rate limit reached", "rate_limit_exceeded", "tokens"), Kind.RATE_LIMITED),
        (429, error("Rate limit reached", None, "rate_limit_error"), Kind.RATE_LIMITED),
        (429, error("Slow down", "slow_down", "rate_limit_error"), Kind.SLOW_DOWN),
        (503, error("Slow down", "slow_down"), Kind.SLOW_DOWN),
        (429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), Kind.BILLING),
        (429, error(NO_CREDITS, "credit_balance_exhausted", "insufficient_quota"), Kind.BILLING),
        (429, error("limit", "organization_spend_limit_exceeded", "insufficient_quota"), Kind.BILLING),
        (429, error("limit", "project_spend_limit_exceeded", "insufficient_quota"), Kind.BILLING),
        (429, error("limit", "organization_usage_limit_exceeded", "insufficient_quota"), Kind.BILLING),
        (429, error("limit", "a_sixth_money_code", "insufficient_quota"), Kind.BILLING),
        (429, error("limit", None, "insufficient_quota"), Kind.BILLING),
        (429, error("Requests to the X Operation ... Please retry after 17 seconds.", "429"), Kind.RATE_LIMITED),
        (429, {}, Kind.RATE_LIMITED),
        (500, error("The server had an error while processing your request", None, "server_error"), Kind.SERVER_ERROR),
        (500, error("oops", "server_error"), Kind.SERVER_ERROR),
        (503, error("overloaded", "server_is_overloaded", "service_unavailable_error"), Kind.OVERLOADED),
        (503, error("overloaded", None, "service_unavailable_error"), Kind.OVERLOADED),
        (503, {}, Kind.OVERLOADED),
        (408, {}, Kind.TIMEOUT),
        (409, {}, Kind.SERVER_ERROR),
    ],
)
def test_what_the_vendor_answers_has_its_kind(status: int, sent: Any, kind: Kind) -> None:
    problem = refused(status, sent)
    assert (problem.kind, problem.status) == (kind, status)


@pytest.mark.parametrize("status", [500, 501, 502, 504, 520, 521, 522, 523, 524, 599])
def test_a_gateways_page_is_a_server_error_and_is_not_quoted(status: int) -> None:
    problem = problem_of(Reply(status, {"content-type": "text/html"}, b"<!DOCTYPE html><html><script>alert(1)</script>"))
    assert problem.kind is Kind.SERVER_ERROR
    assert problem.message == f"HTTP {status} without an explanation"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_a_wrong_address(status: int) -> None:
    assert problem_of(Reply(status, {"location": "https://elsewhere.example/"}, b"")).kind is Kind.NOT_FOUND


@pytest.mark.parametrize("status", [100, 101, 199, 201, 202, 204, 206])
def test_a_success_without_a_picture_is_a_bad_answer(status: int) -> None:
    assert problem_of(Reply(status, {}, b"")).kind is Kind.BAD_ANSWER


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        ("moderation_blocked", False),
        ("content_policy_violation", False),
        ("invalid_value", False),
        ("model_not_found", False),
        ("insufficient_quota", True),
        ("invalid_api_key", True),
        ("rate_limit_exceeded", True),
        ("server_error", True),
    ],
)
def test_only_what_the_line_itself_is_to_blame_for_is_not_worth_another_run(kind: str, *, retryable: bool) -> None:
    assert refused(400, error(code=kind)).retryable is retryable


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 12s.", 12.0),
        ("Limit 5, Used 5, Requested 1. Please try again in 2.4s. Visit https://platform.openai.com/account/rate-limits.", 2.4),
        ("Please try again in 240ms.", 0.24),
        ("try again in 6m0s", 360.0),
        ("try again in 1m12.5s", 72.5),
        ("Try again in 1h2m3s", 3723.0),
        ("You've exceeded the rate limit, please slow down and try again after 51.84 seconds.", 51.84),
        ("Requests to the X Operation have exceeded call rate limit. Please retry after 17 seconds.", 17.0),
        ("Please retry after 86400 seconds.", 86_400.0),
        ("Please retry after 1 second.", 1.0),
        ("Please retry after 2 minutes.", 120.0),
        ("Please try again in 500 milliseconds.", 0.5),
        ("Rate limit exceeded for images per minute in organization org-X. Limit: 0/1min. Current: 1/1min.", None),
        ("try again in a while", None),
        ("try again in 5", None),
        ("try again later", None),
    ],
)
def test_the_wait_is_read_from_the_message(message: str, seconds: float | None) -> None:
    assert refused(429, error(message)).retry_after_s == (None if seconds is None else pytest.approx(seconds))


def test_milliseconds_come_before_seconds_and_both_before_the_message() -> None:
    said = "try again in 9s"
    assert retry_after({"retry-after-ms": "534", "retry-after": "1"}, said) == 0.534
    assert retry_after({"retry-after": "1"}, said) == 1.0
    assert retry_after({}, said) == 9.0
    assert retry_after({"retry-after": "0"}, said) == 0.0


def test_a_date_counts_from_the_servers_own_clock() -> None:
    # The server's clock is years away from ours.
    date = "Mon, 01 Jan 2001 00:00:00 GMT"
    assert retry_after({"retry-after": "Mon, 01 Jan 2001 00:00:30 GMT", "date": date}, "") == 30.0
    assert retry_after({"retry-after": "Sun, 31 Dec 2000 23:59:00 GMT", "date": date}, "") == 0.0


@pytest.mark.parametrize("date", [{}, {"date": "nonsense"}, {"date": "Mon, 01 Jan 2001 00:00:00 -0000"}])
def test_a_date_without_the_servers_own_is_not_guessed_at(date: dict[str, str]) -> None:
    assert retry_after({"retry-after": "Mon, 01 Jan 2001 00:00:30 GMT", **date}, "try again in 3s") == 3.0


@pytest.mark.parametrize("value", ["-1", "-0.5", "nan", "inf", "-inf", "Infinity", "", " ", "soon", "1,5", "0x10", "1e999", "--5", "\x00"])
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
def test_a_header_that_is_no_wait_is_passed_over(name: str, value: str) -> None:
    assert retry_after({name: value}, "try again in 3s") == 3.0
    assert retry_after({name: value}, "") is None


@pytest.mark.parametrize(
    "value",
    [
        "Wed, 21 Oct 99999999999 07:28:00 GMT",
        "Wed, 99999999999999999999 Oct 2026 07:28:00 GMT",
        "Wed, 21 Oct 2026 07:28:00 +99999999999999",
        "Wed, 21 Oct 2026 99:99:99 GMT",
        "21 Oct",
        ", , ,",
    ],
)
def test_an_impossible_date_is_passed_over(value: str) -> None:
    assert retry_after({"retry-after": value, "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, "") is None
    assert retry_after({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": value}, "") is None


def test_a_pause_of_centuries_is_not_believed() -> None:
    # Azure has been seen to ask for a day; a pool that pauses for 1e300 s is dead without anybody being told.
    for headers, message in (({"retry-after": "1e300"}, ""), ({}, f"try again in {'9' * 400}s"), ({"retry-after-ms": "1e18"}, "")):
        wait = retry_after(headers, message)
        assert wait is None or wait <= 7 * 86_400


@pytest.mark.parametrize(
    "name", ["x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "x-ratelimit-reset-input-images", "x-ratelimit-reset"]
)
def test_the_time_until_a_bucket_is_full_is_no_wait(name: str) -> None:
    assert retry_after({name: "58.891s"}, "") is None
    assert retry_after({name: "59", "retry-after": "1"}, "") == 1.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"5",
        b"true",
        b'"text"',
        b"[]",
        b"{}",
        b'{"error": null}',
        b'{"error": []}',
        b'{"error": 5}',
        b'{"error": {}}',
        b'{"error": {"message": null}}',
        b"{not json",
        b"[" * 100_000,
        b'{"error":' * 100_000,
        b'{"error": ' + b"1" * 5_000 + b"}",
        b"<html>",
    ],
)
def test_a_body_that_explains_nothing_leaves_the_status(body: bytes) -> None:
    problem = problem_of(Reply(429, {}, body))
    assert (problem.kind, problem.status) == (Kind.RATE_LIMITED, 429)
    assert problem.message.startswith("HTTP 429")
    assert len(problem.message) < 60


def test_plain_text_is_quoted_in_one_line_and_what_is_no_utf_8_does_not_hurt() -> None:
    assert problem_of(Reply(502, {}, b"upstream\r\nis \x1b[31mdown\xff")).message == "HTTP 502: upstream is  [31mdown\ufffd"


def test_an_error_that_is_text_is_its_message() -> None:
    assert refused(400, "you cannot do that").message == "you cannot do that"


@pytest.mark.parametrize("code", [429, 429.5, True, [], ["insufficient_quota"], {}, {"a": [1]}, [[[]]]])
@pytest.mark.parametrize("place", ["code", "type"])
def test_a_code_that_is_no_text_does_not_hurt(place: str, code: Any) -> None:
    assert refused(429, {"message": "m", place: code}).kind is Kind.RATE_LIMITED


@pytest.mark.parametrize("message", [{"detail": "x"}, ["a", "b"], 17, True])
def test_a_message_that_is_no_text_is_shown_as_it_is(message: Any) -> None:
    assert refused(400, {"message": message}).message == str(message)


def test_no_depth_of_nesting_that_the_parser_takes_trips_what_follows() -> None:
    for place in ("code", "message", "type"):
        for depth in range(900, 1000):
            body = f'{{"error":{{"{place}":{"[" * depth}{"]" * depth}}}}}'.encode()
            assert problem_of(Reply(400, {}, body)).kind is Kind.BAD_REQUEST


@pytest.mark.parametrize("message", ["model " * 7_000, "try again in " * 10_000, "again in" + " " * 100_000, "again in " + "1" * 100_000])
def test_a_long_message_does_not_hold_the_event_loop_up(message: str) -> None:
    started = time.process_time()
    refused(400, error(message))
    assert time.process_time() - started < 0.5


def test_a_message_is_one_line_without_controls_direction_changes_and_keys() -> None:
    nasty = "a\r\nb\x1b]0;title\x07\u202edrow\u2066 sk-proj-abcdefghijklmnop_123 sess-abcdef1234 \x85\u2028end"
    message = refused(401, error(nasty, "invalid_api_key")).message
    assert message == "a b ]0;title drow  *** ***  end"
    assert len(refused(400, error("x" * 10_000)).message) == LONGEST


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
bodies = (
    st.binary(max_size=200)
    | json_values.map(lambda value: json.dumps(value).encode())
    | json_values.map(lambda value: json.dumps({"error": {"message": value, "code": value}}).encode())
)
header_values = st.text(max_size=40) | st.dates().map(lambda day: day.strftime("%a, %d %b %Y 00:00:00 GMT")) | st.floats().map(str)
headers_of = st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date", "x-ratelimit-reset"]), header_values)


@given(status=st.integers(100, 999), headers=headers_of, body=bodies)
def test_whatever_comes_is_a_problem_in_one_line(status: int, headers: dict[str, str], body: bytes) -> None:
    problem = problem_of(Reply(status, headers, body))
    assert problem.message
    assert len(problem.message) <= LONGEST
    assert len(problem.message.splitlines()) == 1
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in problem.message)
    assert problem.retry_after_s is None or 0 <= problem.retry_after_s < float("inf")
    problem.message.encode()


@given(before=st.text(max_size=20), after=st.text(max_size=20), key=st.from_regex(r"sk-[A-Za-z0-9_-]{20,40}", fullmatch=True))
def test_nothing_that_looks_like_a_key_comes_through(before: str, after: str, key: str) -> None:
    assert key not in refused(401, error(f"{before} {key} {after}")).message
    assert key not in problem_of(Reply(401, {}, f"{before} {key} {after}".encode("utf-8", "replace"))).message


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Rate limit exceeded for images per minute in organization org-X. Limit: 0/1min. Current: 1/1min.", Kind.BILLING),
        ("Rate limit reached in organization org-x on input-images per min: Limit 0, Used 0, Requested 1.", Kind.BILLING),
        ("Rate limit reached in organization org-x on input-images per min: Limit 5, Used 5, Requested 1.", Kind.RATE_LIMITED),
        ("Limit 0.5, Requested 1", Kind.RATE_LIMITED),
    ],
)
def test_a_limit_of_nothing_is_never_waited_for(message: str, kind: Kind) -> None:
    body = json.dumps({"error": {"message": message, "type": "input-images", "code": "rate_limit_exceeded"}}).encode()
    assert problem_of(Reply(429, {}, body)).kind is kind
