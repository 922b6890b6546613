"""Whether results and cache have a place: one that can be written, with room, and that nobody else works in."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.caching import folder_of
from headrace.doctor.finding import Finding, State, complaint
from headrace.errors import UsageError
from headrace.files import refuse_foreign
from headrace.journal.database import at_work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.settings import Settings

_CHECK = "disk"
_GB = 10**9
LITTLE_GB, TOO_LITTLE_GB = 5.0, 0.2
"""Free space to warn at, and to refuse at: a thousand pictures take 1 to 2.5 GB."""
_NETWORKED = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs")
"""Beginnings of the names of file systems on which SQLite's write-ahead log does not work, or not for long."""
_MOUNTS = Path("/proc/self/mounts")


def disk(settings: Settings) -> list[Finding]:
    """A line for the output folder and one for the cache; nothing is made there. Blocks."""
    root = Path(settings.run.out_dir)
    findings = list(_folder(root, "results"))
    if at_work(root):
        findings.append(
            Finding(_CHECK, State.WARNING, f"a run is at work in {root}", "wait for its end, or choose another --out-dir for the next")
        )
    cache = Path(folder_of(settings, root))
    with suppress(RuntimeError):  # no such home: then there is no such folder either
        cache = cache.expanduser()
    return [*findings, *_folder(cache, "the cache")]


def _folder(path: Path, use: str) -> Iterator[Finding]:
    try:
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0")
        refuse_foreign(there)
        free = shutil.disk_usage(there).free / _GB
    except UsageError as error:
        yield complaint(_CHECK, error)
        return
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        yield Finding(_CHECK, State.FAILED, f"{path} ({use}) cannot be written: {why}", "see to its rights, or name another folder")
        return
    kind = _file_system(there)
    about = f"{path} ({use}): writable, {free:,.1f} GB free{f' on {kind}' if kind else ''}"
    if free < TOO_LITTLE_GB:
        yield Finding(_CHECK, State.FAILED, about, "make room: a picture takes 1 to 2.5 MB")
    elif kind.startswith(_NETWORKED):
        yield Finding(_CHECK, State.WARNING, about, "SQLite wants a local disk: name a folder on one")
    elif kind == "tmpfs":
        yield Finding(_CHECK, State.WARNING, about, "it is memory and gone with the next start of the machine: name another folder")
    elif free < LITTLE_GB:
        yield Finding(_CHECK, State.WARNING, about, f"it holds about {free * _GB / 2.5e6:,.0f} pictures: make room for more")
    else:
        yield Finding(_CHECK, State.OK, about)


def _file_system(path: Path) -> str:
    """The kind of file system as the kernel calls it; empty where that is not told."""
    here, found = os.path.realpath(path), (0, "")
    with suppress(OSError, ValueError):
        for line in _MOUNTS.read_text("utf-8", "replace").splitlines():
            _, at, kind, *_ = line.split(" ")
            if here == at or here.startswith(f"{at.rstrip('/')}/"):
                found = max(found, (len(at), kind), key=lambda each: each[0])
    return found[1]
