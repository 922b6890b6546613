"""Shows a run while it goes on: a view on a terminal, or a line now and then where there is none."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import trio

from headrace.log import log
from headrace.log import progress as events
from headrace.observe.state import Course

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from headrace.observe.counters import Counters
    from headrace.observe.screen import Screen
    from headrace.observe.state import State
    from headrace.observe.watcher import Snapshot

EVERY_S = 0.25
LINE_EVERY_S = 10.0
LEAST_SHARE = 70
"""A view rests for so many times as long as it worked: what costs more is shown less often."""
CHUNK = 2**20

Progress = Literal["auto", "always", "never"]
_PLAIN = ("", "dumb", "unknown")


class Show:
    """Shows how a run stands on stderr.

    Args:
        progress: ``auto`` is a view on a terminal and a log event every ten seconds elsewhere, ``always`` a view wherever stderr leads,
            ``never`` is neither. A terminal that cannot move its cursor gets the events.
        source: the descriptor that prompts are read from; where it is a file its prompts are counted.
        writes_stdout: whether results go to stdout, which may be the same terminal.
        count: counts the prompts where they are not lines.
    """

    def __init__(self, progress: Progress, source: int, *, writes_stdout: bool, count: Callable[[], int | None] | None = None) -> None:
        self._progress = progress
        self._source = source
        if count is None and _is_file(source):
            count = partial(prompts_behind, source, os.lseek(source, 0, os.SEEK_CUR))
        self._counts = count
        self._on_stdout = writes_stdout and _is_terminal(1)
        self._total: int | None = None
        self._screen: Screen | None = None

    def aside(self) -> AbstractAsyncContextManager[None]:
        """Results may be written inside: the view makes way for them where they go to the terminal that it is on."""
        return nullcontext() if self._screen is None or not self._on_stdout else self._screen.aside()

    @asynccontextmanager
    async def running(
        self, counters: Counters, snapshot: Callable[[], Snapshot], alerts: Callable[[], Sequence[str]] = tuple
    ) -> AsyncIterator[None]:
        """Show the run until the block is left; the terminal is clean then."""
        if self._progress == "never":
            yield
            return
        course = Course(trio.current_time())

        def state() -> State:
            return course.state(counters, snapshot(), self._total, trio.current_time(), alerts())

        async with trio.open_nursery() as beside:
            beside.start_soon(self._count)
            try:
                if self._can_draw():
                    from headrace.observe.screen import Screen  # noqa: PLC0415 - rich is for terminals

                    async with Screen() as screen:
                        self._screen = screen
                        beside.start_soon(_harmless, self._view, screen, state)
                        beside.start_soon(_harmless, _stops, screen)
                        try:
                            yield
                        finally:
                            self._screen = None
                            beside.cancel_scope.cancel()
                else:
                    beside.start_soon(_harmless, _lines, state)
                    yield
            finally:
                beside.cancel_scope.cancel()

    def _can_draw(self) -> bool:
        if os.environ.get("TERM", "") in _PLAIN:
            return False
        # Who types prompts must be able to read them.
        return self._progress == "always" or (sys.stderr.isatty() and not os.isatty(self._source))

    async def _view(self, screen: Screen, state: Callable[[], State]) -> None:
        from headrace.observe.view import View  # noqa: PLC0415 - rich is for terminals

        while True:
            before = time.thread_time()
            # With results on the same screen the view leaves room for them.
            screen.draw(View(state(), max(1, screen.height // 2) if self._on_stdout else screen.height))
            cost_s = time.thread_time() - before
            await screen.flush()
            await trio.sleep(max(EVERY_S, cost_s * LEAST_SHARE))

    async def _count(self) -> None:
        if self._counts is not None:
            self._total = await trio.to_thread.run_sync(self._counts)


def prompts_behind(handle: int, begins: int = 0) -> int | None:
    """Lines of a file that are not blank, from ``begins`` on, without moving where it is read; None where it cannot be read.

    To be called in a thread of trio's.
    """
    count, has_words = 0, False
    try:
        while chunk := os.pread(handle, CHUNK, begins):
            trio.from_thread.check_cancelled()
            begins += len(chunk)
            first, *others = chunk.split(b"\n")
            has_words = has_words or bool(first.strip())
            if others:
                count += has_words + sum(1 for line in others[:-1] if line.strip())
                has_words = bool(others[-1].strip())
    except OSError:
        return None
    return count + has_words


async def _harmless(show: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    try:
        await show(*arguments)
    except Exception:  # noqa: BLE001 - pictures that are being paid for do not end because nobody can look at them
        log.exception("view_failed", next="the run goes on without it")


async def _stops(screen: Screen) -> None:
    """Whoever stops us by Ctrl-Z finds the terminal as it was."""
    while signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
        with trio.open_signal_receiver(signal.SIGTSTP) as received:
            await anext(received)
        async with screen.away():
            # Nobody takes it any more: it does what it does to everybody, and nothing where a shell has no jobs.
            signal.raise_signal(signal.SIGTSTP)


async def _lines(state: Callable[[], State]) -> None:
    while True:
        until = trio.current_time() + LINE_EVERY_S
        while (left_s := until - trio.current_time()) > 0:
            await trio.sleep(min(1.0, left_s))
            seen = state()  # rates are told from what was seen before
        events.info("progress", **fields(seen))


def fields(state: State) -> dict[str, Any]:
    """What one event says of a run: figures alone, no foreign text but the names of pools."""
    pools = [pool.books for pool in state.pools]
    rates = {"pictures_per_minute": state.pictures_per_minute, "prompts_per_minute": state.prompts_per_minute, "eta_s": state.eta_s}
    deepest = max(state.depths, key=lambda stage: state.depths[stage], default=None)
    return {
        "done": state.done,
        "total": state.total,
        "ok": state.ok,
        "failed": state.failed,
        "skipped": state.skipped,
        "cached": state.cached,
        "recalled": state.recalled,
        **{name: None if value is None else round(value, 1) for name, value in rates.items()},
        "spent_usd": round(state.spent_usd, 4),
        "projected_usd": None if state.projected_usd is None else round(state.projected_usd, 4),
        "saved_usd": round(state.saved_usd, 4),
        "in_flight": state.in_flight,
        "calls": sum(pool.in_flight for pool in pools),
        "refused": sum(pool.refused for pool in pools),
        "deepest": deepest if deepest is not None and state.depths[deepest] else None,
        "benched": [pool.name for pool in pools if pool.state.startswith("benched")],
        "alerts": list(state.alerts),
    }


def _is_file(handle: int) -> bool:
    return stat.S_ISREG(os.fstat(handle).st_mode)


def _is_terminal(handle: int) -> bool:
    try:
        return os.isatty(handle) and os.isatty(2) and os.path.sameopenfile(handle, 2)
    except OSError:
        return False
