"""Whether the place of ``[cache] shared`` can be used, and is the one that other processes have."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from headrace.doctor.finding import Finding, State, complaint
from headrace.errors import UsageError, lone
from headrace.offload import Threads
from headrace.redis.client import open_redis
from headrace.redis.link import Link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.settings import Settings

_CHECK = "place"
_NOT = "see that it is mounted, and that this user may write there"


async def place(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """A line for the place, none where there is none; what is written there to try it is removed again."""
    where = settings.cache.shared
    if where is None:
        return []
    if settings.run.simulate:
        return [Finding(_CHECK, State.SKIPPED, "a simulation shares nothing")]
    from headrace.shared_cache.claims import Claims  # noqa: PLC0415 - who shares nothing does not wait for it
    from headrace.shared_cache.opening import DAY_S, common_place  # noqa: PLC0415 - as above

    try:
        url, password = settings.quota.address(environ)
        async with open_redis(url, password) as redis:
            claims = Claims(Link(redis, url), settings.quota.namespace, settings.cache.ttl_days * DAY_S, Random())  # noqa: S311 - no secret
            await common_place(where, claims, Threads(1, abandon=True), first=False)
    except (UsageError, ExceptionGroup) as error:
        cause = lone(error)
        if not isinstance(cause, UsageError):
            raise
        return [complaint(_CHECK, cause, _NOT)]
    return [Finding(_CHECK, State.OK, f"{where}: pictures can be shared there")]
