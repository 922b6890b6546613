"""The charts of a report: SVG, a light and a dark one each, that the page embeds as pictures."""

from __future__ import annotations

import base64
import math
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import attrs
import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from headrace.report.calls import ELSEWHERE, FAILED, RETRYING, WAITING
from headrace.report.words import named, number, share
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes

    from headrace.report.answers import Latency
    from headrace.report.books import Books

_WIDTH = 4.7
"""Inches: at 10 points it can be read on a phone, and two fit beside each other on a desk."""
_SHOWN = 8
_LONGEST = 34
_NOT_XML = {0xFFFE: " ", 0xFFFF: " "}
"""One of them, and a browser does not show the picture."""
_MINUTES = 120.0
_DAYS = 2 * 86_400.0


@attrs.frozen
class _Ink:
    text: str
    faint: str
    grid: str
    main: str
    other: str
    warning: str


_INK = _Ink("#1d2733", "#5b6775", "#e3e7ec", "#1f6f8b", "#b9c3cd", "#c8553d")
_DARK = _Ink("#e4e8ee", "#9aa6b4", "#2b3440", "#5fb0cc", "#5a6877", "#ef8b6f")


_STYLE: Any = {
    "axes.edgecolor": _INK.grid,
    "axes.labelcolor": _INK.faint,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 10,
    "grid.color": _INK.grid,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "headrace",
    "text.color": _INK.text,
    "text.parse_math": False,  # names come from settings and journals, and are no mathematics
    "xtick.color": _INK.grid,
    "xtick.labelcolor": _INK.faint,
    "ytick.color": _INK.grid,
    "ytick.labelcolor": _INK.faint,
}


@attrs.frozen
class Chart:
    """One chart as the URLs of its two pictures."""

    light: str
    dark: str


def draw(books: Books) -> Mapping[str, Chart]:
    """The charts that there is something to show in, by name: pace, time, latency, answers, cost."""
    drawn: dict[str, Callable[[], Figure]] = {}
    if books.calls.pictures:
        drawn["pace"] = lambda: _pace(books)
    if causes := _largest(list(books.calls.seconds(books.asked_s))):
        drawn["time"] = lambda: _bars(causes, share)
    if latencies := books.answers.latencies()[:_SHOWN]:
        drawn["latency"] = lambda: _latency(latencies)
    if answers := [(named(name), float(tier.prompts)) for name, tier in books.answers.ranked()]:
        drawn["answers"] = lambda: _bars(answers, None)
    if books.calls.cost_usd or books.answers.saved_usd:
        drawn["cost"] = lambda: _cost(books)
    return {name: _chart(figure) for name, figure in drawn.items()}


def _largest(causes: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Shares of the whole; what is less than half a per cent is left to the table."""
    whole = sum(seconds for _, seconds in causes)
    return [(cause, seconds / whole) for cause, seconds in causes if whole and seconds / whole >= 0.005][:_SHOWN]  # noqa: PLR2004


def _chart(figure: Callable[[], Figure]) -> Chart:
    file = BytesIO()
    with mpl.rc_context(_STYLE):
        figure().savefig(file, format="svg", transparent=True, metadata={"Date": None})
    light = file.getvalue().decode()
    # The same in other colours: drawing takes ten times as long as all the rest of a small report.
    dark = light
    for name, colour in attrs.asdict(_INK).items():
        dark = dark.replace(colour, getattr(_DARK, name))
    return Chart(_url(light), _url(dark))


def _url(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    ax = figure.subplots()
    ax.tick_params(length=0)
    return figure, ax


def _over_time(books: Books, ax: Axes) -> list[float]:
    """Where the points lie; runs are parted by a line."""
    step, total = books.work.step_s, books.work.total_s
    unit, name = (1.0, "seconds") if total < _MINUTES else (60.0, "minutes") if total < _MINUTES * 60 else (3600.0, "hours")
    if total >= _DAYS:
        unit, name = 86_400.0, "days"
    ax.set_xlim(0.0, max(books.work.points * step / unit, 1e-9))
    ax.set_xlabel(f"{name} at work")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    for offset in books.work.offsets[1:40]:
        ax.axvline(offset / unit, color=ax.xaxis.label.get_color(), linewidth=0.8, linestyle=(0, (1, 3)))
    return [point * step / unit for point in range(books.work.points + 1)]


def _pace(books: Books) -> Figure:
    figure, ax = _axes(2.7)
    edges = _over_time(books, ax)
    rates = [made * 60 / seconds for made, seconds in zip(books.calls.made, _seconds(books), strict=True)]
    ax.stairs(rates, edges, fill=True, color=_INK.main, alpha=0.85, label="made")
    known = [rate for rate in books.allowed if rate is not None]
    if known:
        allowed = [float("nan") if rate is None else rate for rate in books.allowed]
        ax.stairs(allowed, edges, baseline=None, color=_INK.text, linewidth=1.4, linestyle=(0, (4, 2)), label="allowed by the limits")
    ax.set_ylim(0.0, 1.3 * max([*rates, *known, 1.0]))
    if refused := [(edges[point] + edges[point + 1]) / 2 for point, count in enumerate(books.calls.refused) if count]:
        ax.plot(refused, [0.0] * len(refused), "|", color=_INK.warning, markersize=9, markeredgewidth=1.6, clip_on=False, label="429")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    ax.set_ylabel("pictures a minute")
    ax.legend(loc="upper left", ncols=3, handlelength=1.5, columnspacing=1.2, borderaxespad=0.1)
    return figure


def _seconds(books: Books) -> list[float]:
    """Of each point: the last one may be short, but not so short that one picture looks like a thousand."""
    step, points = books.work.step_s, books.work.points
    last = max(books.work.total_s - (points - 1) * step, step / 2)
    return [*[step] * (points - 1), min(step, last)]


def _cost(books: Books) -> Figure:
    figure, ax = _axes(2.7)
    edges = _over_time(books, ax)
    paid = [0.0, *accumulate(books.calls.paid)]
    whole = [cost + saved for cost, saved in zip(paid, [0.0, *accumulate(books.answers.saved)], strict=True)]
    ax.fill_between(edges, paid, whole, color=_INK.other, alpha=0.75, linewidth=0, label="saved by the cache")
    ax.fill_between(edges, paid, color=_INK.main, alpha=0.85, linewidth=0, label="paid")
    most = max(whole[-1], 1e-6)
    ax.set_ylim(0.0, 1.25 * most)
    digits = 0 if most >= 100 else max(2, 1 - math.floor(math.log10(most)))  # noqa: PLR2004 - ticks are a fifth of it apart
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:,.{digits}f}"))
    ax.legend(loc="upper left", ncols=2, handlelength=1.2, borderaxespad=0.1, reverse=True)
    return figure


def _bars(values: Sequence[tuple[str, float]], told: Callable[[float], str] | None) -> Figure:
    figure, ax = _axes(0.25 + 0.34 * len(values))
    names = [_short(name) for name, _ in values]
    lengths = [value for _, value in values]
    bars = ax.barh(range(len(values)), lengths, height=0.62, color=[_colour(name) for name, _ in values])
    whole = sum(lengths) or 1.0
    labels = [told(value) if told else f"{value:,.0f}  ({share(value / whole)})" for value in lengths]
    ax.bar_label(bars, labels, padding=4, color=_INK.text)
    ax.set_yticks(range(len(values)), names, color=_INK.text)
    ax.invert_yaxis()
    ax.set_xlim(0.0, (1.2 if told else 1.38) * (max(lengths) or 1.0))
    ax.set_xticks([])
    ax.spines[["left", "bottom"]].set_visible(False)
    return figure


def _colour(name: str) -> str:
    if name in {FAILED, RETRYING}:
        return _INK.warning
    return _INK.other if name == ELSEWHERE or name.startswith(WAITING) else _INK.main


def _latency(latencies: Sequence[Latency]) -> Figure:
    figure, ax = _axes(0.75 + 0.4 * len(latencies))
    several = len({each.model for each in latencies}) > 1
    for place, each in enumerate(latencies):
        ax.plot((each.p10, each.p90), (place, place), color=_INK.main, alpha=0.45, linewidth=9, solid_capstyle="butt")
        ax.plot((each.p99, each.p99), (place - 0.2, place + 0.2), color=_INK.warning, linewidth=2)
        ax.plot((each.p50,), (place,), "o", color=_INK.main, markersize=7)
    ax.set_yticks(
        range(len(latencies)), [_short(f"{each.model} {each.quality}" if several else each.quality) for each in latencies], color=_INK.text
    )
    ax.set_ylim(len(latencies) - 0.5, -0.5)
    ax.set_xlim(0.0, 1.08 * max(each.p99 for each in latencies))
    ax.set_xlabel("seconds: 80% of calls (bar), median (dot), 99% (mark)")
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
    return figure


def _short(name: str) -> str:
    return clean(name, _LONGEST).translate(_NOT_XML)
