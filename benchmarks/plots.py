"""What the plots of the benchmarks have in common; it loads matplotlib, so import it where a plot is asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import matplotlib as mpl
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

INK, MARKED, OTHERS, WARNING = "#333333", "#1f6f8b", "#9aa5b1", "#c8553d"
SHADES = LinearSegmentedColormap.from_list("share", ["#e0995e", "#f7efe3", "#8fc1cf"])
# A white ground of its own is readable on light and on dark pages; a fixed salt gives the same plot the same file.
mpl.rcParams.update(
    {
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.facecolor": "white",
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "headrace",
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


@attrs.frozen(kw_only=True)
class Course:
    """What one run did over time; times are in minutes, rates a minute."""

    name: str
    rates: Sequence[tuple[float, float]]
    """From when on, how fast."""
    there: Sequence[tuple[float, float]]
    """From when on, how fast it might be."""
    refused: Sequence[float]
    in_flight: Sequence[tuple[float, float]]


def panels(title: str, across: Sequence[str], height: float, *, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Plots beside each other under one title, one for each name of a horizontal axis; the height is in inches."""
    figure = Figure(figsize=(4.5 * len(across), height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    axes = list(figure.subplots(1, len(across), sharey=sharey, squeeze=False)[0])
    for ax, name in zip(axes, across, strict=True):
        ax.set_xlabel(name)
        ax.tick_params(length=0)
    return figure, axes


def bars(path: Path, title: str, names: Sequence[str], values: Mapping[str, Sequence[float]], marked: str) -> None:
    """Bars lying beside their names, one plot for each of ``values``; those of ``marked`` stand out."""
    figure, axes = panels(title, list(values), 0.72 + 0.36 * len(names), sharey=True)
    figure.set_figwidth(2.4 + 2.4 * len(values))
    colours = [MARKED if name == marked else OTHERS for name in names]
    for ax, lengths in zip(axes, values.values(), strict=True):
        ax.bar_label(ax.barh(names, lengths, color=colours), fmt="{:,.0f}", padding=3)
        ax.set_xmargin(0.2)
        ax.set_xticks([])
    axes[0].invert_yaxis()
    save(figure, path)


def finished(path: Path, title: str, at: Mapping[str, Mapping[str, Sequence[float]]], limits: Mapping[str, float]) -> None:
    """How many are finished over time, one plot for each horizontal axis of ``at`` (who -> when, in order), with its limit as a slope."""
    figure, axes = panels(title, list(at), 3.6)
    everybody = dict.fromkeys(name for times in at.values() for name in times)
    colours = {name: f"C{number}" for number, name in enumerate(everybody)}
    for ax, (across, times) in zip(axes, at.items(), strict=True):
        for name, when in times.items():
            ax.plot((0.0, *when), range(len(when) + 1), color=colours[name], label=name)
        most = max(map(len, times.values()))
        ax.plot((0.0, most / limits[across]), (0.0, most), "--", color=INK, label=f"limit, {limits[across]:g} a minute")
        ax.set_xlim(0.0)
        ax.set_ylim(0.0)
        ax.legend(frameon=False)
    save(figure, path)


def heat(
    path: Path, title: str, names: Sequence[str], columns: Sequence[str], shares: Mapping[str, Sequence[Sequence[tuple[float, bool]]]]
) -> None:
    """Shares as shaded cells with their figure, a grid of ``names`` and ``columns`` for each of ``shares``; framed where one is marked."""
    figure, axes = panels(title, list(shares), 0.9 + 0.34 * len(names), sharey=True)
    for ax, grid in zip(axes, shares.values(), strict=True):
        ax.pcolormesh([[share for share, _ in row] for row in grid], cmap=SHADES, norm=Normalize(0.5, 1.0), edgecolors="white", linewidth=2)
        for y, row in enumerate(grid):
            for x, (share, marked) in enumerate(row):
                frame = {"boxstyle": "round,pad=0.25", "facecolor": "none", "edgecolor": INK if marked else "none"}
                ax.text(x + 0.5, y + 0.5, f"{100 * share:.1f}", ha="center", va="center", bbox=frame)
        ax.set_xticks([x + 0.5 for x in range(len(columns))], columns)
        ax.set_yticks([y + 0.5 for y in range(len(names))], names)
        ax.spines[:].set_visible(False)
    axes[0].invert_yaxis()
    save(figure, path)


def courses(path: Path, title: str, runs: Sequence[Course], beside: int) -> None:
    """What runs did over time, so many beside each other: rates against what was there, refusals as ticks, calls in flight below."""
    down = -(-len(runs) // beside)
    figure = Figure(figsize=(4.5 * beside, 0.4 + 3.2 * down), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    for place, run in zip(figure.subfigures(down, beside, squeeze=False).flat, runs, strict=False):
        above, below = place.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.set_title(run.name, loc="left", fontsize="medium")
        above.step(*zip(*run.there, strict=True), where="post", color=INK, linestyle="--", linewidth=1, label="what is there")
        above.step(*zip(*run.rates, strict=True), where="post", color=MARKED, linewidth=1.2, label="let in, a minute")
        above.plot(run.refused, [0.0] * len(run.refused), "|", color=WARNING, markersize=7, clip_on=False, label="a 429")
        above.set_ylim(0.0, 1.5 * max(rate for _, rate in run.there))
        below.step(*zip(*run.in_flight, strict=True), where="post", color=OTHERS, linewidth=1.2)
        below.set_ylim(0.0)
        below.set_xlim(0.0, run.there[-1][0])
        below.set_xlabel("minutes")
        below.set_ylabel("in flight")
        for ax in (above, below):
            ax.tick_params(length=0)
        if run is runs[0]:
            above.legend(frameon=False, ncols=3, loc="upper left", fontsize="small", columnspacing=1, handlelength=1.4)
    save(figure, path)


def per_minute(amounts: Sequence[tuple[float, float]], every_s: float, until_s: float) -> list[tuple[float, float]]:
    """Minutes and rates a minute, of amounts with their seconds."""
    sums = [0.0] * math.ceil(until_s / every_s)
    for at, amount in amounts:
        sums[min(int(at / every_s), len(sums) - 1)] += amount
    return [(number * every_s / 60, amount * 60 / every_s) for number, amount in enumerate(sums)]


def peaks(levels: Sequence[tuple[float, float]], every_s: float) -> list[tuple[float, float]]:
    """Minutes and the highest level of each time, of levels with their seconds."""
    highest: dict[int, float] = {}
    for at, level in levels:
        highest[int(at / every_s)] = max(level, highest.get(int(at / every_s), 0.0))
    return [(number * every_s / 60, level) for number, level in sorted(highest.items())]


def growth(path: Path, title: str, costs: Mapping[str, Sequence[tuple[float, float]]], most: float) -> None:
    """A cost against a size that grows by factors, one plot for each of ``costs``; dashed is ``most`` times the first."""
    figure, axes = panels(title, list(costs), 2.8)
    for ax, points in zip(axes, costs.values(), strict=True):
        sizes, values = zip(*points, strict=True)
        ax.plot(sizes, values, "o-", color=MARKED, markersize=4)
        ax.plot((sizes[0], sizes[-1]), (most * values[0],) * 2, "--", color=INK, linewidth=1)
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
        ax.set_xticks([], minor=True)
        ax.set_ylim(0.0, 1.15 * max(*values, most * values[0]))
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write it as SVG, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
