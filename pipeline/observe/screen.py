"""The part of a terminal that a view has: the lines above it scroll by as ever, and nothing that is written tears it."""

from __future__ import annotations

import io
import sys
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import IO, TYPE_CHECKING, Self, cast

import trio
from rich.console import Console, RenderHook
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import ConsoleOptions, ConsoleRenderable, RenderableType, RenderResult

_CUT, _WRAP = (Segment(code, None, [(ControlType.CARRIAGE_RETURN,)]) for code in ("\x1b[?7l", "\x1b[?7h"))
"""A line that is too wide is cut at the edge, not wrapped: the terminal may take a character for wider than we do."""


class Screen(RenderHook):
    """Draws on stderr, below whatever else is written to stderr meanwhile; ``async with`` leaves the terminal as it was.

    What is drawn goes out in a thread of its own: a terminal that is slow, or stopped by Ctrl-S, must not stop the run.
    """

    def __init__(self) -> None:
        self._real = sys.stderr
        self._out = _Outgoing(self._real.encoding or "utf-8")
        self.console = Console(file=cast("IO[str]", self._out), force_terminal=True)
        self._live = Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, vertical_overflow="crop")
        self._frame = self._drawn = _NOTHING
        self._width = self.console.width
        self._shows = False
        self._writing = trio.Lock()
        self._up = False

    @property
    def height(self) -> int:
        """Lines that a view may have: one less than the terminal, so that what is above can be seen to scroll."""
        return max(1, self.console.height - 1)

    def draw(self, view: RenderableType) -> None:
        """Have this shown from the next :meth:`flush` on."""
        self._frame = _Frame(self.console.render_lines(view, pad=False))
        self._refresh(shows=True)

    async def flush(self) -> None:
        """Write what was drawn."""
        async with self._writing:
            await self._write()

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Nothing is on the screen inside: something else writes to the same terminal."""
        async with self._writing:
            if self._up:
                self._refresh(shows=False)
                await self._write()
            yield
            if self._up:
                self._refresh(shows=True)
                await self._write()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """The terminal is inside as it was before us: the process is about to be stopped."""
        self.console.show_cursor(True)
        async with self.aside():
            try:
                yield
            finally:
                if self._up:
                    self.console.show_cursor(False)

    async def __aenter__(self) -> Self:
        self._live.start()
        self.console.push_render_hook(self)
        self._up = True
        return self

    async def __aexit__(self, *_: object) -> None:
        # Whoever writes meanwhile ends first: half a frame behind the cursor's return would be worse than to wait.
        with trio.CancelScope(shield=True):
            async with self._writing:
                self._up = False
                self._refresh(shows=False)
                self.console.pop_render_hook()
                self._live.stop()
                await self._write()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """A terminal that became narrower has wrapped what was drawn: there are more lines of it to take away than rich knows of."""
        width, height = self.console.size
        more = min(self._drawn.wrapped(width), height - 1) if width < self._width else 0
        self._width, self._drawn = width, self._frame if self._shows else _NOTHING
        return [Control(*((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * more), *renderables]

    def _refresh(self, *, shows: bool) -> None:
        self._shows = shows
        self._live.update(self._frame if shows else _NOTHING, refresh=True)

    async def _write(self) -> None:
        if text := self._out.taken():
            # Without a stderr there is nobody to show anything, and the run is none the worse.
            with suppress(OSError, ValueError):
                await trio.to_thread.run_sync(self._put, text)

    def _put(self, text: str) -> None:
        self._real.write(text)
        self._real.flush()


class _Frame:
    """Lines that are rendered already, so that a log line above them costs no new rendering.

    The cursor stays in the line below, where keys that are typed do no harm.
    """

    def __init__(self, lines: list[list[Segment]]) -> None:
        self._lines = lines
        self._lengths = [Segment.get_line_length(line) for line in lines]

    def wrapped(self, width: int) -> int:
        """How many lines more they take on a terminal that has become so narrow."""
        return sum(max(0, length - 1) // width for length in self._lengths)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _CUT
        for line in self._lines:
            yield from line
            yield Segment.line()
        yield _WRAP


_NOTHING = _Frame([])


class _Outgoing(io.TextIOBase):
    """Keeps what is written until it is taken; any thread may write."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._parts: deque[str] = deque()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
        """Of the terminal that it goes to in the end."""
        return self._encoding

    def write(self, text: str) -> int:
        """Keep it."""
        self._parts.append(text)
        return len(text)

    def taken(self) -> str:
        """All there is, once."""
        parts = []
        with suppress(IndexError):
            while True:
                parts.append(self._parts.popleft())
        return "".join(parts)
