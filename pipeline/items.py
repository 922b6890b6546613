"""A plain iterable, pulled as the line has room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

_END = object()


async def iterate(items: Iterable[object]) -> AsyncGenerator[object, None]:
    """The items, one at a time; those of an iterator, which may block, are pulled in a thread.

    A line that is drained or left while an iterator blocks does not wait for it: the item that it gives afterwards is in no line.
    """
    if isinstance(items, list | tuple):
        for item in items:
            yield item
        return
    iterator = iter(items)
    while (item := await trio.to_thread.run_sync(next, iterator, _END, abandon_on_cancel=True)) is not _END:
        yield item
