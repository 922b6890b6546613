"""The API's answers, and what they mean: one table from the wire to :class:`headrace.records.Kind`.

Sources: the vendor's OpenAPI and error-code guide of 2026-11, and recorded answers of 2023 to 2026. ``error.code`` says most, then
``error.type``, then the HTTP status; the images endpoint answers a spent budget with 400, and policy with 400 as well.
"""

from __future__ import annotations

import json
import math
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import attrs

from headrace.records import Kind, Problem
from headrace.text import LONGEST, clean

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class Reply:
    """One HTTP answer: header names in lower case, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray = attrs.field(repr=False)


BY_CODE = {
    # pace
    "rate_limit_exceeded": Kind.RATE_LIMITED,
    "slow_down": Kind.SLOW_DOWN,
    # money
    "insufficient_quota": Kind.BILLING,
    "credit_balance_exhausted": Kind.BILLING,
    "organization_spend_limit_exceeded": Kind.BILLING,
    "project_spend_limit_exceeded": Kind.BILLING,
    "organization_usage_limit_exceeded": Kind.BILLING,
    "billing_hard_limit_reached": Kind.BILLING,
    # keys
    "invalid_api_key": Kind.AUTH,
    # policy
    "moderation_blocked": Kind.MODERATION_BLOCKED,
    "content_policy_violation": Kind.CONTENT_POLICY_VIOLATION,
    "content_filter": Kind.CONTENT_POLICY_VIOLATION,  # Azure's two, before and after the picture is made
    "contentFilter": Kind.CONTENT_POLICY_VIOLATION,
    # the request
    "model_not_found": Kind.MODEL_NOT_FOUND,
    "DeploymentNotFound": Kind.MODEL_NOT_FOUND,  # Azure's
    "invalid_value": Kind.BAD_REQUEST,
    "unknown_parameter": Kind.BAD_REQUEST,
    # the server
    "server_error": Kind.SERVER_ERROR,
    "server_is_overloaded": Kind.OVERLOADED,
}
BY_TYPE = {
    "insufficient_quota": Kind.BILLING,
    "server_error": Kind.SERVER_ERROR,
    "service_unavailable_error": Kind.OVERLOADED,
}
BY_STATUS = {
    401: Kind.AUTH,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    405: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.SERVER_ERROR,
    429: Kind.RATE_LIMITED,
    503: Kind.OVERLOADED,
    529: Kind.OVERLOADED,
}
LOST_BEHIND_A_GATEWAY = frozenset({408, 502, 504, 520, 522, 524, 598, 599})
"""What a gateway says when it had passed the request on, or may have, and waits no longer: the server may be at work still."""
LONGEST_WAIT_S = 86_400.0
"""The longest wait that was ever seen to be asked for (Azure); what asks for more is not believed."""
_MODEL_GONE = re.compile(r"\bmodel\b.*\bdoes not exist\b", re.IGNORECASE)
_AGAIN_IN = re.compile(
    r"(?:again in|again after|retry after)\s+((?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|s|seconds?|m|minutes?|h|hours?)\s*)+)",
    re.IGNORECASE,
)
_NEVER = re.compile(r"\blimit:?\s+0(?![\d.,]*[1-9])", re.IGNORECASE)
# Envoy's 503 for a connection that stood; where it could not connect it gives another reason.
_LOST_ON_THE_WAY = re.compile(r"reset before headers\. reset reason: (?:connection termination|remote reset)", re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|s|m|h)", re.IGNORECASE)
_UNITS_S = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def problem_of(reply: Reply, *, edit: bool = False) -> Problem:
    """What an answer other than a picture means; ``edit`` is whether pictures were to be edited."""
    error = error_object(reply.body)
    message = clean(_text(error.get("message"))) or _gateway_text(reply)
    kind = _kind(reply.status, error, message)
    if edit and kind is Kind.NOT_FOUND:
        # Many compatible servers only make pictures of words: their keys are good.
        kind, message = Kind.MODEL_NOT_FOUND, f"this API edits no pictures: {message}"
    return Problem(
        kind=kind,
        message=clean(message),
        status=reply.status,
        retryable=kind not in (Kind.BAD_REQUEST, Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION, Kind.MODEL_NOT_FOUND),
        retry_after_s=retry_after(reply.headers, message),
        uncertain=_uncertain(reply.status, kind, message),
    )


def perhaps_billed(status: int) -> bool:
    """Whether a picture may have been made and billed though the answer of that status brings none."""
    return status in LOST_BEHIND_A_GATEWAY or 200 <= status < 300  # noqa: PLR2004 - success, whatever is missing of it


def retry_after(headers: Mapping[str, str], message: str) -> float | None:
    """Seconds that the API asks to wait: ``retry-after-ms``, then ``retry-after`` (seconds or a date), then the message.

    ``x-ratelimit-reset-*`` is no such thing: it says when the bucket is full again, not when the next request fits.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_WAIT_S)
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is None and given:
        seconds = _seconds_until(given, headers.get("date"))
    if seconds is not None:
        return min(seconds, LONGEST_WAIT_S)
    spoken = _AGAIN_IN.search(message)
    if spoken is None:
        return None
    return min(sum(float(amount) * _UNITS_S[unit.lower()] for amount, unit in _SPAN.findall(spoken[1])), LONGEST_WAIT_S)


def error_inside(document: Any) -> Mapping[str, Any] | None:
    """The error object of a JSON document, where it has one."""
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else None


def error_object(body: bytes | bytearray) -> Mapping[str, Any]:
    """The error object of a body; empty where it has none, or is no JSON."""
    try:
        return error_inside(json.loads(body)) or {}
    except (ValueError, RecursionError):
        return {}


def _kind(status: int, error: Mapping[str, Any], message: str) -> Kind:
    code, kind_of_error = _text(error.get("code")), _text(error.get("type"))
    if status == 429 and _NEVER.search(message):  # noqa: PLR2004 - a limit of nothing is no question of pace
        return Kind.BILLING
    for table, name in ((BY_CODE, code), (BY_TYPE, kind_of_error)):
        if name in table:
            return table[name]
    if _MODEL_GONE.search(message):
        return Kind.MODEL_NOT_FOUND
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status >= 500:  # noqa: PLR2004 - all that is left of 5xx
        return Kind.SERVER_ERROR
    if 400 <= status < 500:  # noqa: PLR2004 - all that is left of 4xx
        return Kind.BAD_REQUEST
    return Kind.NOT_FOUND if 300 <= status < 400 else Kind.BAD_ANSWER  # noqa: PLR2004 - redirects are not followed


def _uncertain(status: int, kind: Kind, message: str) -> bool:
    if 200 <= status < 300:  # noqa: PLR2004 - an error that is named inside a success is no picture; one without a name may be one
        return kind is Kind.BAD_ANSWER
    return perhaps_billed(status) or (kind is Kind.OVERLOADED and _LOST_ON_THE_WAY.search(message) is not None)


def _gateway_text(reply: Reply) -> str:
    start = reply.body[:LONGEST].decode("utf-8", "replace").strip()
    if not start or start.startswith(("<", "{", "[")):
        return f"HTTP {reply.status} without an explanation"
    return f"HTTP {reply.status}: {start}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)[:LONGEST]


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _seconds_until(date: str, server_date: str | None) -> float | None:
    # Against the server's own clock: ours may be wrong by hours.
    try:
        return max(0.0, (parsedate_to_datetime(date) - parsedate_to_datetime(server_date or "")).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
