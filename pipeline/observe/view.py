"""What a person sees of a run while it goes on: how far it is, what it costs, where its limits go, where it is stuck, what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from rich.cells import cell_len
from rich.text import Text

from headrace.money import money
from headrace.observe.pool_rows import most_important, pool_table, reasons, rest
from headrace.observe.words import bar, duration, foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from headrace.observe.state import PoolState, State

LABEL = 10
NARROW = 60
"""Below so many columns there are no labels."""
BAR = 40
SHOWN = 3
"""Alerts and failures, while others need the room."""
FEW_POOLS = 2
ROOMY = 12
"""Lines below the head from which there are empty ones between the parts."""

LONGEST = 20
"""Columns of an id or of the kind of a failure."""
NEARLY_SPENT = 0.8

Part = tuple[str, str]
"""A few words that stay together, and their style."""


@attrs.frozen
class View:
    """The state of a run as a rich renderable: never wider than the console, and never higher than ``height`` lines."""

    state: State
    height: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Most important first: what there is no room for is counted, or left out."""
        screen = _Screen(self.state, options.max_width, ascii_only=options.ascii_only)
        yield from screen.fitted(max(1, self.height))


@attrs.frozen
class _Screen:
    state: State
    width: int
    ascii_only: bool = attrs.field(kw_only=True)

    @property
    def narrow(self) -> bool:
        return self.width < NARROW

    def fitted(self, height: int) -> Iterable[RenderableType]:
        head, alerts = self._head()[:height], self._alerts()
        left = height - len(head)
        alerts = self._cut(alerts, min(left, SHOWN))
        left -= len(alerts)
        pools, failures = len(self.state.pools), self._failures()
        gaps = left >= ROOMY
        failed_room = min(len(failures), max(0, left - 1 - FEW_POOLS), 1 + SHOWN)
        pool_room = max(0, left - failed_room - 2 * gaps)
        yield from head
        yield from alerts
        if pools and pool_room:
            rows = self._pools(pool_room)
            yield from [Text()] * gaps
            yield from rows
            left -= gaps + pool_room
        if failed_room > 1:
            yield from [Text()] * gaps
            yield from failures[:failed_room]

    def _head(self) -> list[Text]:
        lines = self._prompts()
        lines += self._flow("results", self._results())
        lines += self._flow("pace", self._pace())
        lines += self._flow("cost", self._cost())
        return lines + self._flow("stages", self._stages(), between=" > ")

    def _prompts(self) -> list[Text]:
        state = self.state
        eta = "" if state.eta_s is None else f"ETA {duration(state.eta_s)}"
        if state.total is None:
            return self._flow("prompts", [(f"{state.done:,} done", "bold")])
        part = state.done / state.total if state.total else 1.0
        percent = f"{int(part * 100)}%"
        if self.narrow:
            return self._flow("", [(percent, "bold"), (f"{state.done:,}/{state.total:,}", "bold"), (eta, "bold")])
        done = f"{state.done:,} of {state.total:,}"
        room = self.width - LABEL - len(done) - len(percent) - len(eta) - 6
        meter = bar(part, min(BAR, room), "green", ascii_only=self.ascii_only)
        return [Text.assemble((f"{'prompts':{LABEL}}", "dim"), (done, "bold"), "  ", meter, f"  {percent}  ", (eta, "bold"))]

    def _results(self) -> list[Part]:
        state = self.state
        return [
            (f"{state.ok:,} ok", "green"),
            (f"{state.failed:,} failed", "red" if state.failed else "dim"),
            (f"{state.skipped:,} skipped" if state.skipped else "", "yellow"),
            (f"{state.cached:,} cached", "" if state.cached else "dim"),
            (f"{state.recalled:,} from earlier runs" if state.recalled else "", "dim"),
        ]

    def _pace(self) -> list[Part]:
        state = self.state
        parts = [("too soon to tell", "dim")]
        if state.prompts_per_minute is not None and state.pictures_per_minute is not None:
            parts = [(f"{state.pictures_per_minute:,.0f} pictures/min", "bold"), (f"{state.prompts_per_minute:,.0f} prompts/min", "")]
        parts.append((f"{state.in_flight:,} of {state.max_in_flight:,} in flight", ""))
        return parts if self.narrow else [*parts, (f"{duration(state.elapsed_s)} elapsed", "dim")]

    def _cost(self) -> list[Part]:
        state = self.state
        most, projected = state.max_cost_usd, state.projected_usd
        parts = [(money(state.spent_usd) + ("" if self.narrow else " so far"), "bold")]
        if projected is not None:
            over = most is not None and projected > most
            parts.append((f"{money(projected)} projected", "bold red" if over else ""))
        parts.append((f"{money(state.saved_usd)} saved by the cache" if state.saved_usd else "", "green"))
        if most:
            share = state.spent_usd / most
            parts.append((f"{share:.0%} of {money(most)} budget", "yellow" if share >= NEARLY_SPENT else ""))
        return [*parts, ("some prices unknown" if state.price_unknown else "", "yellow")]

    def _stages(self) -> list[Part]:
        depths = self.state.depths
        deepest = max(depths.values(), default=0)
        stages = [(f"{name} {depth:,}", "bold yellow" if depth == deepest > 0 else "dim") for name, depth in depths.items()]
        return [each for each in stages if not each[0].endswith(" 0")] if self.narrow else stages

    def _alerts(self) -> list[Text]:
        return [self._line("alert", foreign(alert, ascii_only=self.ascii_only), "bold red") for alert in self.state.alerts]

    def _failures(self) -> list[Text]:
        failures = [tuple(foreign(each, ascii_only=self.ascii_only) for each in attrs.astuple(failed)) for failed in self.state.failures]
        lines = [Text("last failures", style="dim", no_wrap=True)] if failures else []
        least = 0 if self.narrow else LABEL - 2
        sizes = [min(LONGEST, self.width // 4, max(least, *map(cell_len, column))) for column in list(zip(*failures, strict=True))[:2]]
        for name, kind, said in failures:
            cells = [Text(name, style="bold"), Text(kind, style="red")]
            for cell, size in zip(cells, sizes, strict=True):
                cell.truncate(size, overflow="crop" if self.ascii_only else "ellipsis", pad=True)
            lines.append(self._one_line(Text("  ").join([*cells, Text(said)])))
        return lines

    def _pools(self, room: int) -> list[RenderableType]:
        pools = self.state.pools
        more = len(pools) > room - 1
        shown = most_important(pools, max(0, room - 1 - more))
        why = self._reasons(shown)[: max(0, min(SHOWN, (room - 1) // 4))]
        if why and len(pools) + len(why) > room - 1:
            more = True
            shown = most_important(pools, max(0, room - 1 - more - len(why)))
        rows: list[RenderableType] = [pool_table(shown, self.width, ascii_only=self.ascii_only)] if shown else []
        if more:
            rows.append(self._one_line(Text(rest(pools, shown), style="dim")))
        return [*rows, *map(self._one_line, why)]

    def _reasons(self, pools: Sequence[PoolState]) -> list[Text]:
        told = " ".join(self.state.alerts)
        found = reasons(pools, self.width, ascii_only=self.ascii_only) if pools else ()
        return [line for words, line in found if words not in told]

    def _cut(self, lines: list[Text], room: int) -> list[Text]:
        if len(lines) <= room:
            return lines
        return [*lines[: room - 1], self._line("alert", f"and {len(lines) - room + 1:,} more", "red")][:room]

    def _line(self, label: str, words: str, style: str) -> Text:
        return self._one_line(Text.assemble((f"{label:{LABEL}}" if not self.narrow else f"{label}: ", style), (words, style)))

    def _flow(self, label: str, parts: Sequence[Part], between: str = "  ") -> list[Text]:
        """The parts one after the other; those that do not fit go on in the next line."""
        indent = 0 if self.narrow else LABEL
        lines: list[Text] = []
        for words, style in parts:
            if not words:
                continue
            if not lines or lines[-1].cell_len + len(between) + len(words) > self.width:
                lines.append(Text.assemble((f"{'' if lines else label:{indent}}" if indent else "", "dim")))
            else:
                lines[-1].append(between if lines[-1].cell_len > indent else "", style="dim")
            lines[-1].append(words, style=style)
        return [self._one_line(line) for line in lines]

    def _one_line(self, line: Text) -> Text:
        line.no_wrap = True
        line.truncate(self.width, overflow="crop" if self.ascii_only else "ellipsis")
        return line
