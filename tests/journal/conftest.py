from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from headrace.disk import Disk
from headrace.journal.journal import open_journal
from headrace.offload import inline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from headrace.journal.journal import Journal


@pytest.fixture
def run() -> Callable[[Callable[[], Awaitable[None]]], None]:
    """``run(main)`` under a virtual clock; a deadlock is a failure at once."""

    def running(main: Callable[[], Awaitable[None]]) -> None:
        async def in_time() -> None:
            with trio.fail_after(1e6):
                await main()

        trio.run(in_time, clock=MockClock(autojump_threshold=0))

    return running


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Journal]]:
    """``async with opened() as journal``: that of the test's folder, with its writer at work."""

    @asynccontextmanager
    async def open_it(offload: Any = inline, *, fresh: bool = False, hold: bool = False) -> AsyncIterator[Journal]:
        with open_journal(tmp_path, Disk(offload), fresh=fresh, hold=hold) as journal:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.writer.run)
                yield journal
                nursery.cancel_scope.cancel()

    return open_it
