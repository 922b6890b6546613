"""The calls: one task a request, as many at once as there are permits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from headrace.admission.permit import Admitted
from headrace.records import Strategy

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.api import Api
    from headrace.budget import Purse
    from headrace.records import Answer, Failure, Result


class Fetch:
    """Gets every admitted request answered, or given up, by the first API."""

    def __init__(self, api: Api, purse: Purse) -> None:
        self._api = api
        self._purse = purse
        self.nursery: trio.Nursery | None = None

    async def run(
        self,
        source: MemoryReceiveChannel[Admitted | Failure | Result],
        sink: MemorySendChannel[Answer | Failure | Result],
    ) -> None:
        """One record in, one record out, in the order of the answers."""
        with source, sink:
            async with trio.open_nursery() as calls:
                self.nursery = calls
                async for record in source:
                    if isinstance(record, Admitted):
                        calls.start_soon(self._fetch, record, sink)
                    else:
                        await sink.send(record)

    async def _fetch(self, admitted: Admitted, sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        await sink.send(await self._api.answer(admitted, Strategy.PRIMARY, self._purse))
