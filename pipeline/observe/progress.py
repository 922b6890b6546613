"""One line on the terminal while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from headrace.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from headrace.admission.books import PoolStatistics
    from headrace.observe.counters import Counters

EVERY_S = 0.25


class Progress:
    """Shows the counters on stderr; ``with`` takes the line away at the end."""

    def __init__(self, counters: Counters, statistics: Callable[[], Sequence[PoolStatistics]], in_flight: Callable[[], int]) -> None:
        self._counters = counters
        self._statistics = statistics
        self._in_flight = in_flight
        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stdout=False)

    async def run(self) -> None:
        """Keep the line up to date until cancelled."""
        started = trio.current_time()
        while True:
            self._live.update(self._line(trio.current_time() - started), refresh=True)
            await trio.sleep(EVERY_S)

    def _line(self, elapsed_s: float) -> Text:
        counters, pools = self._counters, self._statistics()
        failed = counters.total - counters.by_status[Status.OK]
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{counters.by_status[Status.OK]:,} ok", style="bold green")
        line.append(f"  {failed:,} failed", style="red" if failed else "dim")
        # What matters most stands first: a narrow terminal shows no more.
        line.append(f"  {counters.pictures_made * 60 / max(elapsed_s, 1.0):,.0f} pictures/min  ${counters.cost_usd:.4f}", style="cyan")
        line.append(f"  {counters.free:,} free  {sum(pool.in_flight for pool in pools):,} calls  {self._in_flight():,} in flight")
        refused = sum(pool.refused for pool in pools)
        if refused:
            line.append(f"  {refused:,} refused (429)", style="yellow")
        stuck = [pool.name for pool in pools if pool.state != "ready"]
        if stuck:
            line.append(f"  not ready: {', '.join(stuck)}", style="yellow")
        return line

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()
