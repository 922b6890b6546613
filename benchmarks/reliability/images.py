"""File systems of our own: an ext4 image that can be copied in mid-run, as a power cut would leave it, and a small tmpfs."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE_BYTES = 64 * 2**20


def without_mounts(*programs: str) -> str | None:
    """Why nothing can be mounted here; None where it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [program for program in ("mount", "umount", *programs) if not shutil.which(program)]
    return f"{missing[0]} is not installed" if missing else None


def command(*words: str | Path) -> None:
    """Run a program; raises where it fails."""
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60)  # noqa: S603 - our own commands


def new_image(path: Path) -> None:
    """An empty ext4 file system in a file."""
    with path.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    # A journal of its own size, and nothing that is put off to the first mount.
    command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", path)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """The image's files, written back by nothing but fsync for five minutes."""
    at.mkdir(parents=True, exist_ok=True)
    command("mount", "-o", "loop,commit=300", image, at)
    try:
        yield at
    finally:
        _unmount(at)


@contextmanager
def small_disk(at: Path, megabytes: int) -> Iterator[Path]:
    """A tmpfs of that size; ``enlarge`` gives it more."""
    at.mkdir(parents=True, exist_ok=True)
    command("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", at)
    try:
        yield at
    finally:
        _unmount(at)


def enlarge(at: Path, megabytes: int) -> None:
    """Give a small disk another size."""
    command("mount", "-o", f"remount,size={megabytes}m", at)


def copy(image: Path, to: Path) -> None:
    """The bytes that are on the image now; what the file system has not written yet is not among them."""
    command("cp", "--sparse=always", image, to)


def _unmount(at: Path) -> None:
    # Lazily: whatever still has a file open there must not keep the mount for ever.
    with suppress(subprocess.SubprocessError):
        command("umount", "-l", at)
