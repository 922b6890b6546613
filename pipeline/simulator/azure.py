"""What Azure OpenAI answers in its own words: the routes are in ``app.py``, the rest is as with the vendor.

The texts are those of recorded answers and of Azure's REST reference.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from headrace.simulator.pool import TOKENS
from headrace.simulator.replies import Headers, Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.simulator.pool import Refusal
    from headrace.simulator.settings import Refusals

VERSION = "api-version"
_A_DAY_S = 86_400


def _error(status: int, code: str, message: str, headers: Headers = (), **more: object) -> Reply:
    return json_reply(status, {"error": {"code": code, "message": message, **more}}, headers)


def key_refused() -> Reply:
    """The 401 for a key that is let in nowhere."""
    message = (
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active "
        "subscription and use a correct regional API endpoint for your resource."
    )
    return _error(401, "401", message)


def no_version() -> Reply:
    """The 404 for a call that does not say which version of the API it means, and for a path that there is not."""
    return _error(404, "404", "Resource not found")


def no_deployment() -> Reply:
    """The 404 for a deployment that there is not."""
    message = (
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a "
        "moment and try again."
    )
    return _error(404, "DeploymentNotFound", message)


def refused(refusal: Refusal, *, version: str, style: Refusals) -> Reply:
    """The 429 for a call over a limit; how much of it is used is never said."""
    if refusal.dimension is None:
        return _error(429, "429", "There are too many requests at once. Please retry after 1 seconds.")
    wait_s = _A_DAY_S if math.isinf(refusal.wait_s) else max(1, math.ceil(refusal.wait_s))
    if style == "bare":
        return _error(429, "429", "Rate limit is exceeded.")
    headers = (("retry-after", str(wait_s)),)
    if style == "hint":
        return _error(429, "429", "Rate limit is exceeded.", headers)
    what = "token" if refusal.dimension == TOKENS else "call"
    return _error(429, "429", _too_fast(what, version, wait_s), headers)


def _too_fast(what: str, version: str, wait_s: int) -> str:
    return (
        f"Requests to the ImageGenerations_Create Operation under Azure OpenAI API version {version} have exceeded {what} rate limit of "
        f"your current OpenAI S0 pricing tier. Please retry after {wait_s} seconds. Please contact Azure support service if you would like "
        "to further increase the default rate limit."
    )


def headers(processing_s: float, number: int) -> Headers:
    """What Azure's answers carry besides their content."""
    return (
        ("apim-request-id", f"{number:032x}"),
        ("x-envoy-upstream-service-time", str(round(processing_s * 1000))),
        ("x-ms-region", "Simulated"),
    )


_FILTERED = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": True, "severity": "medium"}}
ERRORS: Mapping[str, Callable[[], Reply]] = {
    "auth": key_refused,
    "forbidden": partial(
        _error,
        403,
        "Forbidden",
        "Your resource has been temporarily blocked because we detected behavior that may violate our content policy.",
    ),
    "rate_limited": lambda: _error(429, "429", _too_fast("call", "2025-04-01-preview", 1), (("retry-after", "1"),)),
    "rate_limited_message_only": lambda: _error(429, "429", _too_fast("call", "2025-04-01-preview", 1)),
    "model_not_found": no_deployment,
    "wrong_url": no_version,
    "content_policy_violation": partial(
        _error,
        400,
        "content_policy_violation",
        "This request has been blocked by our content filters.",
        type="invalid_request_error",
        param=None,
        inner_error={"code": "ResponsibleAIPolicyViolation", "content_filter_results": _FILTERED},
    ),
}
"""Faults that Azure words otherwise than the vendor."""
