"""The composition root: settings become what the lines of a run share."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import trio

from headrace.admission.gate import Gate
from headrace.api import Api
from headrace.budget import Budget
from headrace.caching import open_cache
from headrace.disk import Disk
from headrace.endpoints import endpoints_of, owners_of
from headrace.errors import OutputError
from headrace.files import private_folder, refuse_foreign
from headrace.journal.journal import open_journal
from headrace.learnt import Learnt, learnt_file
from headrace.observe.binding import watch
from headrace.observe.watcher import Watchers
from headrace.observing import observe
from headrace.offload import Threads
from headrace.owners import room, simulated_app
from headrace.provider.memory import ByteBudget
from headrace.quota.quota import open_quota
from headrace.race import Race
from headrace.redis.link import open_link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from headrace.cache.encoder import Encoder
    from headrace.endpoints import Endpoint
    from headrace.offload import Offload
    from headrace.settings import Settings

BODIES = 256 * 2**20
"""Bytes of answers held at once."""
DISK_THREADS = 4


@asynccontextmanager
async def open_race(
    settings: Settings,
    *,
    environ: Mapping[str, str] = os.environ,
    offload: Offload | None = None,
    app: Any = None,
    encoder: Encoder | None = None,
    random: Random | None = None,
    fresh: bool = False,
) -> AsyncIterator[Race]:
    """Open what the lines of one run share.

    Args:
        settings: all of them.
        environ: where keys are looked up.
        offload: where blocking work goes; threads by default.
        app: an ASGI application to call instead of the network; the embedded simulator where settings ask for it.
        encoder: what the cache compares prompts with; by default what the settings name.
        random: what spreads retries; a seeded one makes a simulation repeatable.
        fresh: forget what the journal of the output folder has.

    Raises:
        UsageError: a key, a folder, a model or a limit cannot be used, or another process works in the output folder.
    """
    root = _folder(Path(settings.run.out_dir), journal=settings.run.journal)
    endpoint, other = endpoints_of(settings, environ)
    if app is None and settings.run.simulate:
        app = simulated_app(owners_of(endpoint, other))
    async with AsyncExitStack() as stack:
        disk = Disk(offload or Threads(DISK_THREADS))
        journal = None
        if settings.run.journal:
            hold = settings.run.in_doubt == "hold"
            journal = stack.enter_context(open_journal(root, disk, fresh=fresh, hold=hold, simulated=settings.run.simulate))
        cache = open_cache(settings, root, offload, encoder, stack, disk)
        endpoint, other = await endpoint.with_admin_limits(app), None if other is None else await other.with_admin_limits(app)
        learnt = Learnt(learnt_file(settings, app), offload or Threads(1))
        stack.callback(learnt.close)
        link = await stack.enter_async_context(open_link(settings, environ))
        quota = await stack.enter_async_context(open_quota(settings.quota, link))
        jitter = random or Random()  # noqa: S311 - no secret
        shared = None
        if cache is not None and link is not None and settings.cache.shared is not None:
            from headrace.shared_cache.opening import open_shared_cache  # noqa: PLC0415 - who shares nothing does not wait for it

            opening = open_shared_cache(settings, link, cache.answers, endpoint.url, root, offload, disk, jitter)
            shared = await stack.enter_async_context(opening)
        watchers = Watchers()
        services = await stack.enter_async_context(trio.open_nursery())
        stack.callback(services.cancel_scope.cancel)
        memory = ByteBudget(BODIES)

        def api(endpoint: Endpoint) -> Api:
            pools, clients = endpoint.pools(), endpoint.clients(app)
            gate = Gate(pools, settings.run.max_wait_s)
            learnt.recall(endpoint.url, pools)
            for client in clients.values():
                stack.push_async_callback(client.aclose)
            services.start_soon(gate.run)
            if quota is not None:
                quota.share(gate, endpoint.url, endpoint.timeout_s, endpoint.secrets())
            disk.guard(gate)
            return Api(
                gate=gate, clients=clients, root=root, memory=memory, disk=disk, random=jitter, journal=journal, called=watchers.called
            )

        if journal is not None:
            services.start_soon(journal.writer.run)
        if cache is not None:
            services.start_soon(cache.run)
        services.start_soon(learnt.run)
        race = Race(
            settings=settings,
            url=endpoint.url,
            primary=api(endpoint),
            alternative=None if other is None else api(other),
            cache=cache,
            shared_cache=shared,
            journal=journal,
            disk=disk,
            refuse_retired=endpoint.vendors_own,
            watchers=watchers,
            max_in_flight=settings.run.max_in_flight or room([owner.limits for owner in owners_of(endpoint, other)]),
            budget=Budget(settings.run.max_cost_usd, 0.0 if journal is None else journal.spent_usd),
        )
        services.start_soon(watch, race.primary.gate.statistics, race.max_in_flight)
        async with observe(race, services):
            yield race
        if journal is not None:
            # Here there is time to wait for room on a full disk; behind the end there is none.
            await journal.writer.durable()


def _folder(path: Path, *, journal: bool) -> Path:
    try:
        private_folder(path)
        if journal:
            refuse_foreign(path)
    except (OSError, ValueError) as error:
        # ValueError: a name that no file can have.
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"the output folder {path} cannot be made: {why}") from None
    return path
