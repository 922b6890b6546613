"""Folders that only their owner can look into."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def private_folder(path: Path) -> None:
    """Make a folder and what is missing above it, each with mode 0700; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    # mkdir's own parents=True gives the mode to the last one alone.
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
