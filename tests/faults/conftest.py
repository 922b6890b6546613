from __future__ import annotations

import gc
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

PATIENCE_S = 20.0


@pytest.fixture
def in_time() -> Iterator[Callable[[Callable[[], Awaitable[None]]], None]]:
    """``in_time(main)`` runs it on the real clock; one that hangs fails, and so does one that leaves a task or a socket behind."""

    async def bounded(main: Callable[[], Awaitable[None]]) -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(PATIENCE_S):
            await main()
        assert trio.lowlevel.current_statistics().tasks_living == before

    sockets = _sockets()
    yield lambda main: trio.run(bounded, main)
    gc.collect()
    assert _sockets() <= sockets


@pytest.fixture
def listening() -> Callable[..., Awaitable[int]]:
    """``await listening(nursery, handler)``: the port of a server that hands every connection to it."""

    async def start(nursery: trio.Nursery, handler: Callable[[trio.SocketStream], Awaitable[None]]) -> int:
        listeners: Any = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        port: int = listeners[0].socket.getsockname()[1]
        return port

    return start


def _sockets() -> set[str]:
    links = set()
    for path in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").is_dir() else ():
        try:
            links.add(os.readlink(path))  # noqa: PTH115 - what it names is no path
        except OSError:
            continue  # that of the listing itself
    return {link for link in links if link.startswith("socket:")}
