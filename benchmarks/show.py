"""What the benchmarks have in common: their options, their tables, their JSON, and on what machine it was."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def options(description: str | None, *, seed: int | None = 1) -> argparse.ArgumentParser:
    """The options that every benchmark takes; ``--seed`` only where chance is involved."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as JSON")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write the plots there, as SVG")
    if seed is not None:
        parser.add_argument("--seed", type=int, default=seed)
    return parser


def machine() -> str:
    """The machine in a few words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: the first column is words, the others are figures."""
    shown = Table(*columns, title=title, title_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        shown.add_row(*map(str, row))
    width = None if Console().is_terminal else 160
    Console(width=width, highlight=False).print(shown)


def keep(path: Path | None, figures: Any) -> None:
    """Write the figures as JSON, with the machine that they are from."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n", "utf-8")
