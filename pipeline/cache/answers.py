"""The exact cache as the line sees it: the latest answers in memory, the store behind them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.cache.store import Entry, Store
    from headrace.offload import Offload

REMEMBERED = 10_000
"""Answers that are found without asking the store: streams with many repeats are common."""


class Answers:
    """Finds and keeps answers; their picture files are below ``root`` whenever they are found."""

    def __init__(self, store: Store, root: Path, offload: Offload) -> None:
        self._store = store
        self._root = root
        self._offload = offload
        self._recent: OrderedDict[str, Entry] = OrderedDict()

    def find(self, key: str) -> Entry | None:
        """The answer under ``key``, or None."""
        entry = self._recent.get(key)
        if entry is None:
            entry = self._store.get(key, self._root)
        if entry is not None:
            self._remember(key, entry)
        return entry

    async def keep(self, key: str, entry: Entry) -> None:
        """Keep an answer whose picture files are below the root."""
        await self._offload(self._store.put, key, entry, self._root)
        self._remember(key, entry)

    def _remember(self, key: str, entry: Entry) -> None:
        self._recent[key] = entry
        self._recent.move_to_end(key)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
