"""Files of prompts that are measured with: a prompt a line, or a table of tabs with a column ``Prompt``."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def prompts_of(path: Path) -> list[str]:
    """The prompts of a file, blank lines left out."""
    # By LF alone: a prompt may hold other line separators.
    lines = [line for line in path.read_text("utf-8-sig").replace("\r\n", "\n").split("\n") if line.strip()]
    if lines and "Prompt" in lines[0].split("\t"):
        return [row["Prompt"] for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return lines
