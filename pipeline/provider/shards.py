"""One key's calls, spread over several small HTTP clients.

A client looks at each of its connections whenever a call begins or ends, so that a call costs more the more of them are under way: with
1,024 two to three times the CPU that it takes with 16.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

AT_ONCE = 16
"""Calls of one client."""


@attrs.define(eq=False)
class _Shard:
    http: httpx.AsyncClient
    calls: int = 0


class Shards:
    """Clients that are made as they are needed: a call goes to the first one with room, so that few of them keep connections.

    Args:
        first: stays until the end.
        make: the others.
    """

    def __init__(self, first: httpx.AsyncClient, make: Callable[[], httpx.AsyncClient]) -> None:
        self._make = make
        self._shards = [_Shard(first)]

    @asynccontextmanager
    async def place(self) -> AsyncIterator[httpx.AsyncClient]:
        """The client for one call, which has its place there as long as the block lasts."""
        shard = next((shard for shard in self._shards if shard.calls < AT_ONCE), None)
        if shard is None:
            shard = _Shard(self._make())
            self._shards.append(shard)
        shard.calls += 1
        try:
            yield shard.http
        finally:
            shard.calls -= 1
            # One without calls may stay, for calls that come and go; more would keep connections that nobody needs.
            if not shard.calls and shard is not self._shards[0] and sum(not other.calls for other in self._shards) > 1:
                self._shards.remove(shard)
                with trio.CancelScope(shield=True):
                    await shard.http.aclose()

    async def aclose(self) -> None:
        """Close all connections; calls that are under way break."""
        for shard in tuple(self._shards):
            await shard.http.aclose()
