"""The library that makes a disk fail, compiled where there is a compiler."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCE = Path(__file__).with_name("failing_disk.c")


def without_compiler() -> str | None:
    """Why the library cannot be made; None where it can."""
    return None if shutil.which("cc") else "there is no C compiler (cc)"


def compiled(folder: Path) -> Path:
    """The library, made in ``folder``."""
    library = folder / "failing_disk.so"
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
    subprocess.run(command, check=True, timeout=60)  # noqa: S603 - our own command
    return library


@attrs.frozen(kw_only=True)
class Trouble:
    """What goes wrong with the files below a folder."""

    library: Path
    under: Path
    family: str
    """``write``, ``sync``, or ``lie``: fsync does nothing."""
    first: int = 0
    """Number of the first call that fails; 0 is none."""
    times: int = 0
    """How many calls in a row; 0 is all of them."""
    error: int = errno.ENOSPC
    while_there: Path | None = None
    """Calls fail only as long as this file exists."""
    tally: Path | None = None
    """Gets a line for each call that was counted, with the file that it was on; ``!`` marks those that failed."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables that bring it about."""
        told = {
            "LD_PRELOAD": str(self.library),
            "FAILING_DISK_UNDER": str(self.under),
            "FAILING_DISK_FAMILY": self.family,
            "FAILING_DISK_FROM": str(self.first),
            "FAILING_DISK_TIMES": str(self.times),
            "FAILING_DISK_ERRNO": str(self.error),
        }
        files = {"FAILING_DISK_WHILE": self.while_there, "FAILING_DISK_TALLY": self.tally}
        return told | {name: str(path) for name, path in files.items() if path is not None}
