"""Limits shared with other processes: a turnstile for each pool, and one way to the store."""

from __future__ import annotations

from contextlib import asynccontextmanager
from secrets import token_hex
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.quota.exchange import SCRIPT, encoded, keys_of, prefix_of
from headrace.quota.learning import fingerprint
from headrace.quota.turnstile import Turnstile
from headrace.quota.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from headrace.admission.gate import Gate
    from headrace.redis.link import Link
    from headrace.secret import Secret
    from headrace.settings import QuotaSettings

LEAVE_S = 2.0
"""What is left to tell at the end has so long."""


@attrs.define(eq=False)
class Quota:
    """What a run shares with others."""

    link: Link
    namespace: str
    worker: Worker
    nursery: trio.Nursery
    turnstiles: list[Turnstile] = attrs.field(factory=list)

    def share(self, gate: Gate, url: str, timeout_s: float, secrets: Mapping[str, Secret]) -> None:
        """Let the pools of one API be shared with every process that has pools of these names there; ``secrets`` by the names of keys."""
        for pool in gate.pools:
            prefix = prefix_of(self.namespace, url, pool.name)
            prints = {key.name: fingerprint(prefix, key.name, secrets[key.name]) for key in pool.keys}
            turnstile = Turnstile(pool, prefix, self.link, self.worker, timeout_s, gate.changed, prints)
            pool.turnstile = turnstile
            self.turnstiles.append(turnstile)
            self.nursery.start_soon(turnstile.run)

    async def leave(self) -> None:
        """Tell the store what is left to tell."""
        self.link.ending = True
        for turnstile in self.turnstiles:
            await turnstile.leave()


async def try_out(link: Link, namespace: str) -> None:
    """See that the script works there: where it cannot, each process would take the whole limits for its own.

    Raises:
        UsageError: it does not.
    """
    await link.tried(SCRIPT, keys_of(f"{namespace}:ready", ()), encoded({"worker": "", "ttl": 0, "leaves": True}))


@asynccontextmanager
async def open_quota(settings: QuotaSettings, link: Link | None) -> AsyncIterator[Quota | None]:
    """Share limits by the store at the end of the link; None where there is no link.

    Raises:
        UsageError: the store does not let the script work.
    """
    if link is None:
        yield None
        return
    await try_out(link, settings.namespace)
    worker = Worker(name=token_hex(6), least=settings.workers or 0)
    async with trio.open_nursery() as nursery:
        quota = Quota(link, settings.namespace, worker, nursery)
        try:
            yield quota
        finally:
            with trio.move_on_after(LEAVE_S, shield=True):
                await quota.leave()
            nursery.cancel_scope.cancel()
