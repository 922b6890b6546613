from __future__ import annotations

import io
import unicodedata
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from rich.console import Console, Group
from trio.testing import MockClock

from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.observe import progress
from headrace.observe.counters import Counters
from headrace.observe.progress import Progress
from headrace.records import Kind, Problem, Result, Status, Strategy

if TYPE_CHECKING:
    from headrace.admission.books import PoolStatistics

FOREIGN = "evil \x1b[31mred\x07 [bold]markup[/bold] \u202e sk-canary-0123456789"


def busy() -> tuple[Counters, list[PoolStatistics]]:
    counters = Counters()
    for seq in range(12_345):
        counters.count(Result(seq=seq, id=FOREIGN, prompt=FOREIGN, status=Status.OK, strategy=Strategy.PRIMARY, cost_usd=0.0123))
    problem = Problem(kind=Kind.AUTH, message=FOREIGN)
    counters.count(Result(seq=1, id=FOREIGN, prompt=FOREIGN, status=Status.FAILED, error=problem))
    pools = [Pool(f"studio-{n}-with-quite-a-long-name", Limits(), [Key("a")]).statistics(0.0) for n in range(3)]
    return counters, [attrs.evolve(pool, refused=9, state=f"benched: {FOREIGN}") for pool in pools]


@pytest.mark.parametrize("width", [20, 40, 120])
def test_the_live_line_is_one_line_of_the_terminal_without_foreign_text(width: int) -> None:
    counters, pools = busy()
    line = Progress(counters, lambda: pools, lambda: 1_000)._line(61.0)
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(Group(line))
    text = file.getvalue().removesuffix("\n")
    assert "\n" not in text
    assert len(text) <= width
    assert text.startswith("12,345 ok")
    assert not [character for character in text if unicodedata.category(character).startswith("C")]
    assert "evil" not in line.plain
    assert "canary" not in line.plain


def test_the_live_line_shows_what_there_is() -> None:
    counters, pools = busy()
    line = Progress(counters, lambda: pools[:1], lambda: 7)._line(60.0)
    assert line.plain.split("  ") == [
        "12,345 ok",
        "1 failed",
        "0 pictures/min",
        "$151.8435",
        "0 free",
        "0 calls",
        "7 in flight",
        "9 refused (429)",
        "not ready: studio-0-with-quite-a-long-name",
    ]


def test_nothing_yet_is_a_line_as_well() -> None:
    line = Progress(Counters(), tuple, lambda: 0)._line(0.0)
    assert line.plain == "0 ok  0 failed  0 pictures/min  $0.0000  0 free  0 calls  0 in flight"


def test_the_live_line_goes_to_stderr_and_is_taken_away(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    asked = []

    async def main() -> None:
        with Progress(Counters(), tuple, lambda: asked.append(trio.current_time()) or 0) as line, trio.move_on_after(4 * progress.EVERY_S):  # type: ignore[func-returns-value]  # it notes the time
            await line.run()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    out, err = capsys.readouterr()
    assert out == ""
    assert "0 ok" in err
    assert err.endswith("\x1b[2K")
    assert 4 <= len(asked) <= 5
