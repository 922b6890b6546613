"""What a caller is told about limits: the refusal's message and headers, and durations in the vendor's notation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headrace.simulator.pool import IMAGES, REQUESTS, TOKENS
from headrace.simulator.replies import Headers, Reply, error_reply

if TYPE_CHECKING:
    from headrace.simulator.pool import Pool, Refusal

_PER_MINUTE = {IMAGES: "input-images per min", REQUESTS: "requests per min (RPM)", TOKENS: "tokens per min (TPM)"}


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


def refusal_reply(refusal: Refusal, *, model: str, pool: str) -> Reply:
    """The 429 for a call over a limit."""
    if refusal.dimension is None:
        return error_reply(
            429,
            "You are sending requests faster than they can be served. Please slow down.",
            kind="rate_limit_error",
            code="slow_down",
        )
    where = f"for {model} (for limit gpt-image) in organization org-{pool} on {_PER_MINUTE[refusal.dimension]}"
    limit, requested = math.ceil(refusal.limit), math.ceil(refusal.requested)
    if math.isinf(refusal.wait_s):
        message = f"Request too large {where}: Limit {limit}, Requested {requested}. Ask for less at a time."
        headers: Headers = (("x-should-retry", "false"),)
    else:
        # What is used of a bucket has a fraction, which recorded messages round up.
        used = math.ceil(round(refusal.used, 6))
        message = (
            f"Rate limit reached {where}: Limit {limit}, Used {used}, Requested {requested}. "
            f"Please try again in {go_duration(refusal.wait_s)}."
        )
        headers = retry_after(refusal.wait_s)
    return error_reply(429, message, kind=refusal.dimension, code="rate_limit_exceeded", headers=headers)


def retry_after(seconds: float) -> Headers:
    """The two headers that say how long to wait."""
    return ("retry-after", str(math.ceil(seconds))), ("retry-after-ms", str(_milliseconds(seconds)))


def limit_headers(pool: Pool, now: float) -> Headers:
    """``x-ratelimit-*`` of every limit of the pool; ``reset`` is the time until the whole limit is free again."""
    headers: list[tuple[str, str]] = []
    for dimension, limit, remaining, full_s in pool.levels(now):
        headers += (
            (f"x-ratelimit-limit-{dimension}", str(math.floor(limit))),
            (f"x-ratelimit-remaining-{dimension}", str(math.floor(remaining))),
            (f"x-ratelimit-reset-{dimension}", go_duration(full_s)),
        )
    return tuple(headers)


def _milliseconds(seconds: float) -> int:
    return math.ceil(round(seconds * 1000, 3))
