"""Picture files copied to an fsspec URL, an object store for instance, before the lines that name them are written (``headrace[fsspec]``).

The output folder keeps its files: the journal and the cache go by them. The copies have the same names below the URL, which are hashes of
their content, so that to copy one twice changes nothing, and whatever is there in its full length needs no copy.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import trio

from headrace.errors import OutputError
from headrace.log import log
from headrace.places import open_place, probe, said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from headrace.offload import Offload
    from headrace.records import Picture, Result

AT_ONCE = 16
"""Copies under way."""
PATIENCE_S = 300.0
"""A copy is tried again for so long; whoever waits for it holds its slot meanwhile."""
LONGEST_S = 30.0
"""Between two tries."""
KNOWN = 10_000
"""Pictures that are remembered to be there."""


class Mirror:
    """Has the pictures of results lie below a URL as well; when that fails it says so once, and nothing is copied any more.

    Args:
        url: such as ``s3://bucket/prefix``; credentials are the environment's.
        root: the output folder.
        offload: where copying blocks; it bounds how many are under way.
        failed: called once when pictures cannot be copied any more.

    Raises:
        UsageError: there is no such place that this installation can write to.
    """

    def __init__(self, url: str, root: Path, offload: Offload, failed: Callable[[], None]) -> None:
        self._place = open_place(url, "--pictures-to")
        self._url = url.rstrip("/")
        self._root = root
        self._offload = offload
        self._failed = failed
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._known: OrderedDict[str, None] = OrderedDict()
        self.error: OutputError | None = None

    async def check(self) -> None:
        """See that something can be written there, before anything is paid for.

        Raises:
            OutputError: it cannot.
        """
        try:
            with trio.fail_after(PATIENCE_S):
                await self._offload(probe, self._place)
        except Exception as error:  # noqa: BLE001 - every store has errors of its own
            raise OutputError(f"{self._url} cannot be written: {said(error)}") from None

    async def copy(self, results: Sequence[Result]) -> bool:
        """Have the pictures of some results there; False where that failed, and for all that come later."""
        missing = {
            picture.path: (picture, result.recalled or result.match is not None)
            for result in results
            for picture in result.images
            if not result.written and picture.path not in self._known
        }
        async with trio.open_nursery() as nursery:
            for picture, older in missing.values():
                nursery.start_soon(self._in_turn, picture, older)
        return self.error is None

    async def _in_turn(self, picture: Picture, older: bool) -> None:
        # Patience is for the store: a slow one that has many to take is given all the time it needs.
        async with self._turns:
            await self._one(picture, older)

    async def _one(self, picture: Picture, older: bool) -> None:
        until, pause_s = trio.current_time() + PATIENCE_S, 1.0
        while self.error is None:
            try:
                with trio.fail_at(until):
                    await self._offload(self._put, picture, older)
            except Exception as error:  # noqa: BLE001 - every store has errors of its own
                if trio.current_time() + pause_s > until:
                    self._give_up(error)
                    return
                log.warning("copy_failed", picture=picture.path, error=said(error), retry_s=pause_s)
                await trio.sleep(pause_s)
                pause_s, older = min(2 * pause_s, LONGEST_S), True
            else:
                self._known[picture.path] = None
                if len(self._known) > KNOWN:
                    self._known.popitem(last=False)
                return

    def _give_up(self, error: Exception) -> None:
        if self.error is None:
            self.error = OutputError(f"{self._url} cannot be written: {said(error)}; the pictures are in {self._root}")
            self._failed()

    def _put(self, picture: Picture, older: bool) -> None:
        # What was made just now is nowhere yet.
        if not (older and self._place.has(picture.path, picture.bytes)):
            self._place.put(self._root / picture.path, picture.path)
