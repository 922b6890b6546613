"""The vendor's errors, word for word where a recorded one is known, otherwise in its form."""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING

from headrace.simulator.limits import retry_after
from headrace.simulator.replies import Reply, error_reply, html_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SHORT_WAIT = (
    "Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-studio on input-images per min: "
    "Limit 250, Used 250, Requested 1. Please try again in 240ms."
)
_limited = partial(error_reply, 429, kind="input-images", code="rate_limit_exceeded")


def _money(code: str, message: str) -> Callable[[], Reply]:
    return partial(error_reply, 429, message, kind="insufficient_quota", code=code)


def _with_date() -> Reply:
    # HTTP dates have whole seconds: rounded up, so that at least the 2 s are asked for.
    date = formatdate(math.ceil(time.time()) + 2, usegmt=True)
    return _limited("Rate limit reached. Please try again later.", headers=(("retry-after", date),))


BEFORE_ERRORS: Mapping[str, Callable[[], Reply]] = {
    "auth": partial(error_reply, 401, "Incorrect API key provided: sk-s****im-a.", code="invalid_api_key"),
    "forbidden": partial(error_reply, 403, "Your organization must be verified to use the model `gpt-image-2`."),
    "rate_limited": partial(_limited, _SHORT_WAIT, headers=retry_after(0.24)),
    "rate_limited_message_only": partial(_limited, _SHORT_WAIT),
    "rate_limited_old": partial(
        _limited,
        "You've exceeded the rate limit, please slow down and try again after 1.84 seconds.",
        kind="requests",
    ),
    "rate_limited_date": _with_date,
    "rate_limited_nonsense": partial(_limited, "Rate limit reached.", headers=(("retry-after", "NaN"), ("retry-after-ms", "-5"))),
    "request_timeout": partial(error_reply, 408, "The request took too long to arrive."),
    "conflict": partial(error_reply, 409, "The resource was changed by another request."),
    "slow_down": partial(error_reply, 429, "The request rate rose too fast. Please slow down.", kind="rate_limit_error", code="slow_down"),
    "insufficient_quota": _money("insufficient_quota", "You exceeded your current quota."),
    "credit_balance_exhausted": _money("credit_balance_exhausted", "You have no credits remaining."),
    "organization_spend_limit_exceeded": _money("organization_spend_limit_exceeded", "Your organization has reached its spend limit."),
    "project_spend_limit_exceeded": _money("project_spend_limit_exceeded", "Your project has reached its spend limit."),
    "organization_usage_limit_exceeded": _money("organization_usage_limit_exceeded", "Your organization has reached its usage limit."),
    # The images endpoint answers this one with 400.
    "billing_hard_limit_reached": partial(error_reply, 400, "Billing hard limit has been reached", code="billing_hard_limit_reached"),
    "invalid_value": partial(
        error_reply,
        400,
        "Invalid value: '512x512'. Supported values are: '1024x1024', '1024x1536', '1536x1024', and 'auto'.",
        code="invalid_value",
        param="size",
    ),
    "unknown_parameter": partial(
        error_reply, 400, "Unknown parameter: 'response_format'.", code="unknown_parameter", param="response_format"
    ),
    "model_not_found": partial(error_reply, 400, "The model 'dall-e-3' does not exist.", kind="image_generation_user_error"),
    "wrong_url": partial(error_reply, 404, "Invalid URL (POST /v1/images/generate)"),
    "overloaded": partial(
        error_reply,
        503,
        "Our servers are currently overloaded. Please try again later.",
        kind="service_unavailable_error",
        code="server_is_overloaded",
        headers=(("retry-after", "1"),),
    ),
}
"""Errors that come at once."""

AFTER_ERRORS: Mapping[str, Callable[[], Reply]] = {
    "moderation_blocked": partial(
        error_reply,
        400,
        "Your request was rejected by the safety system.",
        kind="image_generation_user_error",
        code="moderation_blocked",
        details={"moderation_details": {"moderation_stage": "output", "categories": ["violence"]}},
    ),
    "content_policy_violation": partial(
        error_reply,
        400,
        "Your request was rejected as a result of our safety system.",
        code="content_policy_violation",
    ),
    "server_error": partial(
        error_reply,
        500,
        "The server had an error while processing your request. Sorry about that!",
        kind="server_error",
        code="server_error",
    ),
    "bad_gateway": partial(html_reply, 502, "502 Bad Gateway"),
    "gateway_timeout": partial(html_reply, 504, "504 Gateway Time-out"),
    "cloudflare_524": partial(html_reply, 524, "524: A timeout occurred"),
}
"""Errors that come after the latency."""
