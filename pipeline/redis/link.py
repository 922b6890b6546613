"""Whether the store of ``[quota]`` can be had: lost, it is tried every second, and what happens to it is said once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from headrace.log import log
from headrace.redis.client import LostError, open_redis, unusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from headrace.redis.client import Redis
    from headrace.secret import Secret
    from headrace.settings import Settings

TRY_S = 1.0
LONGEST_TRY_S = 32.0
STEADY_S = 60.0
"""A store that is lost again sooner than that answers without being of use: it is tried less and less often."""
GRACE_S = 600.0
"""A process goes on with its part of the limits for so long: it cannot know how many others have come meanwhile."""


class Link:
    """The way to the store.

    Args:
        redis: the server.
        url: its address.
    """

    def __init__(self, redis: Redis, url: Secret) -> None:
        self._redis = redis
        self._url = url
        self.up = True
        self.paused = False
        """Whether it has been lost for so long that nothing starts any more."""
        self.ending = False
        """Whether the run is over: a store that is lost now is no news."""
        self.back_at = float("-inf")
        """When it was last got back."""
        self._turned = trio.Event()

    async def run(self, script: str, keys: Sequence[str], *args: str) -> Any:
        """What a script returns; None where the store is lost, and nobody knows whether it heard."""
        try:
            return await self._redis.run(script, keys, *args)
        except LostError as error:
            if self.up and not self.ending:
                self.up = False
                log.warning("quota_store_lost", error=str(error), next="each process goes on with its part of the limits")
                self._turn()
            return None

    async def tried(self, script: str, keys: Sequence[str], *args: str) -> None:
        """See that a script can do its work, before anything depends on it: a replica, or a user who may not, would be found out late.

        Raises:
            UsageError: it cannot.
        """
        try:
            await self._redis.run(script, keys, *args)
        except LostError as error:
            raise unusable(self._url, str(error)) from None

    async def turned(self, within_s: float) -> None:
        """Wait until the store is lost, back or given up, or for so long."""
        with trio.move_on_after(within_s):
            await self._turned.wait()

    async def keep(self) -> None:
        """Try to get it back, whenever it is lost; runs until cancelled."""
        try_s = TRY_S
        while True:
            while self.up:
                await self._turned.wait()
            lost_at = trio.current_time()
            try_s = TRY_S if lost_at - self.back_at > STEADY_S else min(2 * try_s, LONGEST_TRY_S)
            while not self.up:
                await trio.sleep(try_s)
                try:
                    await self._redis.ping()
                except LostError:
                    if not self.paused and trio.current_time() - lost_at >= GRACE_S:
                        self.paused = True
                        log.warning("quota_paused", next="it goes on as soon as the store of [quota] can be had again")
                        self._turn()
                    continue
                self.up, self.paused, self.back_at = True, False, trio.current_time()
                log.warning("quota_store_back", lost_s=round(self.back_at - lost_at, 1))
                self._turn()

    def _turn(self) -> None:
        self._turned.set()
        self._turned = trio.Event()


@asynccontextmanager
async def open_link(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Link | None]:
    """Connect to the store that settings name; None where they name none, or nothing is sent anywhere.

    Raises:
        UsageError: it cannot be used.
    """
    if settings.quota.store is None or settings.run.simulate:
        yield None
        return
    url, password = settings.quota.address(environ)
    async with open_redis(url, password) as redis, trio.open_nursery() as nursery:
        link = Link(redis, url)
        nursery.start_soon(link.keep)
        yield link
        nursery.cancel_scope.cancel()
