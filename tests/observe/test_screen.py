from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from rich.console import ConsoleDimensions
from rich.text import Text

from headrace.log import log
from headrace.observe.logs import configure
from headrace.observe.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal(io.StringIO):
    """As much of a terminal as the view needs: it wraps, scrolls, and wraps again what it shows when it becomes narrower."""

    encoding = "utf-8"

    def __init__(self, width: int = 60, height: int = 12) -> None:
        super().__init__()
        self.width, self.height = width, height
        self.rows, self.row, self.column = ["$ headrace run"], 0, 0
        self.wraps = self.cursor = True
        self.write("\n")

    @property
    def above(self) -> list[str]:
        """What has scrolled away."""
        return self.rows[: -self.height]

    @property
    def shown(self) -> list[str]:
        rows = [row.rstrip() for row in self.rows[-self.height :]]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for parameters, command, ending, words in CONTROL.findall(text):
            if words:
                self._put(words)
            elif ending == "\r":
                self.column = 0
            elif ending:
                self._down()
            elif command == "A":
                self.row = max(len(self.rows) - self.height, 0, self.row - int(parameters))
            elif command == "K":
                self.rows[self.row] = ""
            elif parameters in ("?7", "?25"):
                self.wraps, self.cursor = (command == "h", self.cursor) if parameters == "?7" else (self.wraps, command == "h")
            else:
                assert command == "m", (parameters, command)
        return len(text)

    def narrow(self, width: int) -> None:
        before = self.row
        rows: list[str] = []
        for number, row in enumerate(self.rows):
            if number == before:
                self.row = len(rows)
            rows += [row[start : start + width] for start in range(0, max(1, len(row)), width)]
        self.rows, self.width = rows, width

    def _put(self, words: str) -> None:
        for character in words:
            if self.column >= self.width:
                if self.wraps:
                    self._down()
                else:
                    self.column = self.width - 1
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
            self.column += 1

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append("")


def on(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, body: Callable[[Screen], Awaitable[None]]) -> None:
    """Run it with a screen on that terminal."""
    monkeypatch.setattr(sys, "stderr", terminal)

    async def main() -> None:
        screen = Screen()
        resize(screen, terminal)
        async with screen:
            await body(screen)

    trio.run(main)


def resize(screen: Screen, terminal: Terminal) -> None:
    screen.console.size = ConsoleDimensions(terminal.width, terminal.height)


def view(*lines: str) -> Text:
    return Text("\n".join(lines), no_wrap=True)


async def draw(screen: Screen, *lines: str) -> None:
    screen.draw(view(*lines))
    await screen.flush()


def test_a_view_takes_the_place_of_the_one_before_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()

    async def body(screen: Screen) -> None:
        await draw(screen, "one", "two", "three")
        assert terminal.shown == ["$ headrace run", "one", "two", "three"]
        assert not terminal.cursor
        await draw(screen, "four", "five")
        await draw(screen, "six", "seven", "eight", "nine")
        assert terminal.shown == ["$ headrace run", "six", "seven", "eight", "nine"]

    on(terminal, monkeypatch, body)
    assert terminal.shown == ["$ headrace run"]
    assert terminal.cursor
    assert terminal.wraps
    terminal.write("headrace: 3 prompts\n")
    assert terminal.shown == ["$ headrace run", "headrace: 3 prompts"]


def test_a_view_of_full_height_does_not_scroll_from_frame_to_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()

    async def body(screen: Screen) -> None:
        for number in range(20):
            await draw(screen, *(f"frame {number} line {line}" for line in range(screen.height)))
            assert terminal.shown == [f"frame {number} line {line}" for line in range(terminal.height - 1)]
            assert terminal.above == ["$ headrace run"]

    on(terminal, monkeypatch, body)


@pytest.mark.usefixtures("logs_put_back")
def test_log_lines_and_words_to_stderr_stand_above_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()

    async def body(screen: Screen) -> None:
        configure("warning", "console")
        await draw(screen, "one", "two")
        print("headrace: stopping", file=sys.stderr, flush=True)  # noqa: T201
        log.warning("pool_paused", because="[bold]no[/bold] \x1b[2J")
        await screen.flush()
        assert terminal.shown[:2] == ["$ headrace run", "headrace: stopping"]
        assert "pool_paused" in terminal.shown[2]
        assert "[bold]no[/bold]" in "".join(terminal.shown[2:4])
        assert terminal.shown[-2:] == ["one", "two"]

    on(terminal, monkeypatch, body)
    assert "two" not in terminal.shown


@pytest.mark.parametrize("width", [59, 30, 20, 7])
def test_a_terminal_that_becomes_narrower_keeps_nothing_of_the_view_before(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    terminal = Terminal(60, 40)

    async def body(screen: Screen) -> None:
        await draw(screen, "a" * 60, "b" * 31, "c")
        terminal.narrow(width)
        resize(screen, terminal)
        await draw(screen, "d" * min(width, 9), "e")
        assert "".join(terminal.shown).startswith("$ headrace run" + "d" * min(width, 9) + "e")
        assert not {"a ", "aa", "b", "c"} & {row[:2] for row in terminal.shown}

    on(terminal, monkeypatch, body)


def test_what_is_wider_than_we_think_is_cut_and_tears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(10, 12)

    async def body(screen: Screen) -> None:
        screen.console.size = ConsoleDimensions(15, 12)
        for _ in range(3):
            await draw(screen, "x" * 15, "y")
            terminal.write("^C")  # an echo
            assert terminal.shown == ["$ headrace run", "x" * 10, "y", "^C"]

    on(terminal, monkeypatch, body)


def test_the_view_makes_way_for_what_goes_to_the_same_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()

    async def body(screen: Screen) -> None:
        await draw(screen, "one", "two")
        for number in range(3):
            async with screen.aside():
                assert "one" not in terminal.shown
                terminal.write(f'{{"seq": {number}}}\n')
        assert terminal.shown == ["$ headrace run", *(f'{{"seq": {number}}}' for number in range(3)), "one", "two"]

    on(terminal, monkeypatch, body)


def test_whoever_stops_the_process_finds_the_terminal_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()

    async def body(screen: Screen) -> None:
        await draw(screen, "one", "two")
        async with screen.away():
            assert terminal.shown == ["$ headrace run"]
            assert terminal.cursor
            terminal.write("$ fg\n")
        assert terminal.shown == ["$ headrace run", "$ fg", "one", "two"]
        assert not terminal.cursor

    on(terminal, monkeypatch, body)
    assert terminal.shown == ["$ headrace run", "$ fg"]
    assert terminal.cursor


def test_a_terminal_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()

    async def body(screen: Screen) -> None:
        def gone(_: str) -> int:
            raise OSError("Input/output error")

        monkeypatch.setattr(terminal, "write", gone)
        await draw(screen, "one")
        print("headrace: stopping", file=sys.stderr, flush=True)  # noqa: T201
        await draw(screen, "two")

    on(terminal, monkeypatch, body)
