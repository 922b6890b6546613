"""The cache as the line sees it: the latest answers in memory, the store behind them."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

import trio

from headrace.cache.entry import Entry
from headrace.cache.keys import canonical_key
from headrace.disk import Disk
from headrace.log import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.cache.store import Store
    from headrace.offload import Offload
    from headrace.records import Answer, Picture, Prompt, Vector

REMEMBERED = 10_000
"""Answers that are found without asking the store: streams with many repeats are common."""
_SMALL = 2**17
"""Bytes of pictures that are read where they are wanted: a thread would take longer."""
_BOOKED = 500
"""Hits, and answers kept, between two looks at what is to be booked and evicted."""


class Answers:
    """Finds and keeps answers; their picture files are whole and below ``root`` whenever they are found.

    Args:
        store: where they outlive the run.
        root: the folder that results are relative to.
        offload: where blocking work goes, one piece at a time.
        max_entries: how many the store may hold; None is no limit.
        max_bytes: how large the pictures in the store may be together; None is no limit.
        disk: waits for room below the root; one of its own where absent.
    """

    def __init__(
        self,
        store: Store,
        root: Path,
        offload: Offload,
        *,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._store = store
        self._root = root
        self._offload = offload
        self._disk = disk or Disk(offload)
        self._limits = (max_entries, max_bytes)
        self._recent: OrderedDict[str, Entry] = OrderedDict()
        self._version = 0
        self._hits: Counter[int] = Counter()
        self._changes = 0
        self._many = trio.Event()

    async def find(self, key: str) -> Entry | None:
        """The answer under an exact key, or None; where there is none nothing else runs meanwhile."""
        return await self._find(key, self._store.get)

    async def find_canonical(self, key: str) -> Entry | None:
        """The answer under a canonical key, or None; where there is none nothing else runs meanwhile."""
        return await self._find(key, self._store.get_canonical)

    async def find_number(self, number: int) -> Entry | None:
        """The answer of that number in the store, or None."""
        return await self._find(f"#{number}", lambda _: self._store.get_number(number))

    async def keep(self, prompt: Prompt, answer: Answer) -> None:
        """Keep what a prompt with a key was answered; its picture files are below the root."""
        if prompt.key is None or prompt.scope is None or prompt.namespace is None:
            return
        entry = Entry(
            key=prompt.key,
            scope=prompt.scope,
            canonical=canonical_key(prompt.scope, prompt.request.prompt),
            namespace=prompt.namespace,
            request=answer.request,
            origin=prompt.id,
            pictures=answer.pictures,
            usage=answer.usage,
            cost_usd=answer.cost_usd,
            created=time.time(),
        )
        await self.adopt(entry, prompt.vector)

    async def adopt(self, entry: Entry, vector: Vector | None = None) -> None:
        """Keep an answer that has its keys already, with what its words mean to the encoder; its picture files are below the root."""
        entry = await self._offload(self._store.put, entry, self._root, vector)
        self._look_up_anew()
        self._remember(entry.key, entry)
        self._remember(entry.canonical, entry)
        self._changed()
        if self._store.crowded(*self._limits):
            self._many.set()

    async def placed(self, pictures: tuple[Picture, ...]) -> bool:
        """Whether picture files are below the root, now at least: those that the cache has are put there."""
        files = self._store.pictures
        if files.known(pictures, self._root):
            return True
        small = sum(picture.bytes for picture in pictures) <= _SMALL
        return await self._disk.write(files.fetch, pictures, self._root, here=small)

    async def run(self) -> None:
        """Evict what is too old or too much, at first and whenever a good deal has changed; until cancelled."""
        while True:
            while await self._offload(self._store.evict, *self._limits):
                pass
            await self._many.wait()
            self._many, self._changes = trio.Event(), 0
            hits, self._hits = self._hits, Counter()
            try:
                await self._offload(self._store.touch, hits)
            except trio.Cancelled:
                self._hits.update(hits)
                raise

    def close(self) -> None:
        """Tell the store which entries were used since it was told last, and evict what came last. Blocks."""
        self._store.touch(self._hits)
        if self._store.crowded(*self._limits):
            self._store.evict(*self._limits)

    async def _find(self, key: str, look_up: Callable[[str], Entry | None]) -> Entry | None:
        # Twice at most: behind a broken answer there is none, or one that somebody kept meanwhile.
        for _ in range(2):
            entry = self._remembered(key) or look_up(key)
            if entry is None:
                return None
            if await self.placed(entry.pictures):
                self._remember(key, entry)
                self._hits[entry.number] += 1
                self._changed()
                return entry
            log.warning("cache_picture_broken", origin=entry.origin, picture=entry.pictures[0].path if entry.pictures else None)
            for known in (key, entry.key, entry.canonical):
                self._recent.pop(known, None)
            await self._offload(self._store.drop, entry.number)
        return None

    def _remembered(self, key: str) -> Entry | None:
        if key not in self._recent:
            return None
        self._look_up_anew()
        entry = self._recent.get(key)
        return entry if entry is not None and self._store.young(entry) else None

    def _look_up_anew(self) -> None:
        # Somebody may have forgotten an answer, in this process or in another.
        if (version := self._store.version()) != self._version:
            self._recent.clear()
            self._version = version

    def _remember(self, key: str, entry: Entry) -> None:
        self._recent[key] = entry
        self._recent.move_to_end(key)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def _changed(self) -> None:
        self._changes += 1
        if self._changes >= _BOOKED:
            self._many.set()
