"""The limits of a project, asked of the API with an administrator's key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headrace.models import Limits
from headrace.records import Kind, Problem
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.provider.client import Client

_MOST_PAGES = 20
"""Of a hundred entries each, which is what the vendor gives where nothing else is asked for: a project has one entry a model."""
_MOST = 10**12
"""A minute; what is above it is no limit that anybody set."""


async def rate_limits(client: Client, project: str, model: str) -> Limits | Problem:
    """What the project may do with the model: its own entry, or that of the model that it is a version of.

    What an entry does not name, or names as 0, does not limit that model (``ProjectRateLimit`` of the vendor's OpenAPI: the number of
    images is only there for models that make some). An API that has no such list, a key that may not read it and a project without an
    entry are a :class:`Problem`.
    """
    path = f"/organization/projects/{quote(project, safe='')}/rate_limits"
    entries: list[dict[str, Any]] = []
    after = ""
    for _ in range(_MOST_PAGES):
        page = await client.get(path + after)
        if isinstance(page, Problem):
            return page
        data = page.get("data") if isinstance(page, dict) else None
        if not isinstance(data, list):
            return Problem(kind=Kind.BAD_ANSWER, message="the answer is no list of limits", retryable=True)
        entries += [entry for entry in data if isinstance(entry, dict)]
        last = page.get("last_id")
        if page.get("has_more") is not True or not isinstance(last, str) or not data:
            break
        after = f"?after={quote(last.encode('utf-8', 'replace'), safe='')}"
    entry = _entry(entries, model)
    if entry is None:
        message = clean(f"project {project} lists no limits for {model}")
        return Problem(kind=Kind.NOT_FOUND, message=message, retryable=False)
    return Limits(
        images_per_minute=_number(entry.get("max_images_per_1_minute")),
        tokens_per_minute=_number(entry.get("max_tokens_per_1_minute")),
        requests_per_minute=_number(entry.get("max_requests_per_1_minute")),
    )


def _entry(entries: Iterable[dict[str, Any]], model: str) -> dict[str, Any] | None:
    named = {name: entry for entry in entries if isinstance(name := entry.get("model"), str) and name}
    # gpt-image-2-2026-04-21 is a gpt-image-2, and gpt-image-2.5-flare is none.
    alike = [name for name in named if f"{model}-".startswith(f"{name}-")]
    return named[max(alike, key=len)] if alike else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in {int, float} and 0 < value < _MOST else None
