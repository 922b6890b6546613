"""What the plots of the benchmarks have in common; it loads matplotlib, so import it where a plot is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

INK, MARKED, OTHERS = "#333333", "#1f6f8b", "#9aa5b1"
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
    colours = [MARKED if name == marked else OTHERS for name in names]
    for ax, lengths in zip(axes, values.values(), strict=True):
        ax.bar_label(ax.barh(names, lengths, color=colours), fmt="{:,.0f}", padding=3)
        ax.set_xmargin(0.15)
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


def save(figure: Figure, path: Path) -> None:
    """Write it as SVG, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
