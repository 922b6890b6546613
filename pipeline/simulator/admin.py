"""What the administration of an API tells: the limits of a project, model by model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from headrace.models import catalogue
from headrace.simulator.generate import key_problem
from headrace.simulator.replies import Reply, error_reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.simulator.settings import SimulatedPool
    from headrace.simulator.world import World

_MOST = 100
_PAGE_SIZES = {str(size) for size in range(1, _MOST + 1)}


def rate_limits_reply(world: World, key: str | None, project: str, query: Mapping[str, str]) -> Reply:
    """The page of the project's limits that ``limit`` and ``after`` ask for; the vendor's own name for an entry is its id."""
    if not world.is_admin(key):
        if world.pool_of(key) is None:
            return key_problem(key)
        return error_reply(403, "You have insufficient permissions for this operation.", code="insufficient_permissions")
    pool = world.pool_of_project(project)
    if pool is None:
        return error_reply(404, f"There is no project {project!r}.", code="not_found", param="project_id")
    wanted = query.get("limit", str(_MOST))
    if wanted not in _PAGE_SIZES:
        return error_reply(400, f"'limit' goes from 1 to {_MOST}.", code="invalid_value", param="limit")
    entries = [_entry(name, pool.settings) for name in catalogue().models]
    ids = [entry["id"] for entry in entries]
    after = query.get("after")
    if after is not None and after not in ids:
        return error_reply(400, f"There is no rate limit {after!r}.", code="invalid_value", param="after")
    start = 0 if after is None else ids.index(after) + 1
    page = entries[start : start + int(wanted)]
    return json_reply(
        200,
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + len(page) < len(entries),
        },
    )


def _entry(model: str, pool: SimulatedPool) -> dict[str, Any]:
    """One model's limits; a limit that there is not is left out."""
    limits = {
        "max_requests_per_1_minute": pool.requests_per_minute,
        "max_tokens_per_1_minute": pool.tokens_per_minute,
        "max_images_per_1_minute": pool.images_per_minute,
    }
    numbers = {name: math.ceil(limit) for name, limit in limits.items() if limit is not None}
    return {"object": "project.rate_limit", "id": f"rl-{model}", "model": model, **numbers}
