"""What a caller is told about limits: the refusal's message and headers, and durations in the vendor's notation."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from headrace.simulator.pool import IMAGES, REQUESTS, TOKENS
from headrace.simulator.replies import Headers, Reply, error_reply

if TYPE_CHECKING:
    from headrace.simulator.pool import Pool, Refusal
    from headrace.simulator.settings import Refusals, SimulatedPool

_PER_MINUTE = {IMAGES: "input-images per min", REQUESTS: "requests per min (RPM)", TOKENS: "tokens per min (TPM)"}
_NO_NUMBERS = "Rate limit reached. Please try again later."
_limited = partial(error_reply, 429, kind="rate_limit_error", code="rate_limit_exceeded")


def go_duration(seconds: float) -> str:
    """A duration as Go prints it, rounded up to the millisecond: ``12ms``, ``58.891s``, ``6m0s``, ``1h0m0s``."""
    milliseconds = _milliseconds(seconds)
    if milliseconds < 1000:  # noqa: PLR2004 - a second
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def refusal_reply(refusal: Refusal, *, model: str, settings: SimulatedPool, style: Refusals) -> Reply:
    """The 429 for a call over a limit of the pool with those settings."""
    if style == "bare":
        return _limited(_NO_NUMBERS)
    if refusal.dimension is None:
        message = "You are sending requests faster than they can be served. Please slow down."
        return error_reply(429, message, kind="rate_limit_error", code="slow_down")
    never = math.isinf(refusal.wait_s)
    headers: Headers = (("x-should-retry", "false"),) if never else retry_after(refusal.wait_s)
    if style == "hint":
        return _limited(_NO_NUMBERS, headers=headers)
    owner = f"organization {settings.organisation_name}"
    if settings.project is not None:
        owner = f"project {settings.project_name} in {owner}"
    where = f"for {model} (for limit gpt-image) in {owner} on {_PER_MINUTE[refusal.dimension]}"
    limit, requested = math.ceil(refusal.limit), math.ceil(refusal.requested)
    if never:
        message = f"Request too large {where}: Limit {limit}, Requested {requested}. Ask for less at a time."
    else:
        # What is used of a bucket has a fraction, which recorded messages round up.
        used = math.ceil(round(refusal.used, 6))
        message = (
            f"Rate limit reached {where}: Limit {limit}, Used {used}, Requested {requested}. "
            f"Please try again in {go_duration(refusal.wait_s)}."
        )
    return _limited(message, kind=refusal.dimension, headers=headers)


def retry_after(seconds: float) -> Headers:
    """The two headers that say how long to wait."""
    return ("retry-after", str(math.ceil(seconds))), ("retry-after-ms", str(_milliseconds(seconds)))


def limit_headers(pool: Pool, now: float) -> Headers:
    """``x-ratelimit-*`` of every limit of the pool; ``reset`` is the time until all that it ever holds is free again."""
    headers: list[tuple[str, str]] = []
    for dimension, limit, remaining, full_s in pool.levels(now):
        headers += (
            (f"x-ratelimit-limit-{dimension}", str(math.ceil(limit))),
            # A bucket that has refilled to a whole number lacks a rounding error of it.
            (f"x-ratelimit-remaining-{dimension}", str(math.floor(round(remaining, 6)))),
            (f"x-ratelimit-reset-{dimension}", go_duration(full_s)),
        )
    return tuple(headers)


def _milliseconds(seconds: float) -> int:
    return math.ceil(round(seconds * 1000, 3))
