"""Whether the Redis of ``[quota] store`` can be used, how far away it is, and who shares it now."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from headrace.doctor.finding import Finding, State, complaint
from headrace.endpoints import primary_url
from headrace.errors import UsageError, lone
from headrace.quota.exchange import keys_of, prefix_of
from headrace.quota.quota import try_out
from headrace.redis.client import LostError, open_redis
from headrace.redis.link import Link
from headrace.settings import DEFAULT_OWNER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.redis.client import Redis
    from headrace.settings import Settings

_CHECK = "store"
_ROUND_TRIPS = 9
_FAR_S = 0.02
"""From so far away the way to the store may bind: a process gets one slot a round trip and pool."""
_NOT = "see that it runs, that its address and password are right, and that it is no replica"
# A user who may not ask CONFIG may read INFO.
_ABOUT = r"""
local function said(section, name)
    local info = redis.pcall('INFO', section)
    return type(info) == 'string' and info:match('\n' .. name .. ':([^\r\n]*)') or ''
end
return {said('server', 'redis_version'), said('memory', 'maxmemory_policy')}
"""
_WORKERS = """
local clock = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], string.format('%.0f', clock[1] * 1000000 + clock[2] - 30000000), '+inf')
"""


async def store(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """A line for the store, and one for what it evicts; none where there is none."""
    if settings.quota.store is None:
        return []
    if settings.run.simulate:
        return [Finding(_CHECK, State.SKIPPED, "a simulation shares nothing")]
    try:
        url, password = settings.quota.address(environ)
        async with open_redis(url, password) as redis:
            await try_out(Link(redis, url), settings.quota.namespace)
            return await _looked(redis, settings, environ)
    except (UsageError, LostError, ExceptionGroup) as error:
        cause = lone(error)
        if not isinstance(cause, UsageError | LostError):
            raise
        return [complaint(_CHECK, cause, _NOT)]


async def _looked(redis: Redis, settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    version, policy = (bytes(each).decode("utf-8", "replace") for each in await redis.run(_ABOUT, ()))
    trips = []
    for _ in range(_ROUND_TRIPS):
        since = trio.current_time()
        await redis.ping()
        trips.append(trio.current_time() - since)
    trip_s = statistics.median(trips)
    parts = urlsplit(settings.quota.store or "")
    about = f"Redis {version or 'of a version that it does not tell'} at {parts.hostname}:{parts.port or 6379}"
    about += f": scripts work, {1e3 * trip_s:,.1f} ms there and back"
    about += f" (at most {1 / trip_s:,.0f} calls a second a process and pool)" if trip_s >= _FAR_S else ""
    findings = [Finding(_CHECK, State.OK, f"{about}; {await _workers(redis, settings, environ)}")]
    if policy not in {"", "noeviction"}:
        message = f"when its memory is full it evicts keys ({policy}), and with them what was used of the limits"
        findings.append(Finding(_CHECK, State.WARNING, message, "set maxmemory-policy noeviction there"))
    return findings


async def _workers(redis: Redis, settings: Settings, environ: Mapping[str, str]) -> str:
    names = [*(pool.name for pool in settings.pool), *(key.name for key in settings.key if key.pool is None)] or [DEFAULT_OWNER]
    try:
        url = primary_url(settings, environ)
    except UsageError as error:
        return f"who is at work there is not known: {error}"
    found = {}
    for name in names:
        workers = keys_of(prefix_of(settings.quota.namespace, url, name), ())[2]
        found[name] = int(await redis.run(_WORKERS, [workers]))
    return "processes at work now: " + ", ".join(f"{name} {number:,}" for name, number in found.items())
