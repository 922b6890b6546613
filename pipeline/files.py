"""Folders that only their owner can look into, and files that are whole under their final name or not there."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from headrace.chaos import point
from headrace.errors import OutputError, UnsyncedError, UsageError
from headrace.log import log
from headrace.records import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PART = ".part"
_ROOT = 0
_LOOK_S = 0.03


def private_folder(path: Path) -> None:
    """Make a folder and what is missing above it, each with mode 0700; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    # mkdir's own parents=True gives the mode to the last one alone.
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            # A power cut must not take a folder along in which files are safe.
            _sync_path(folder.parent)


@contextmanager
def locked(path: Path, patience_s: float) -> Iterator[int]:
    """Have the lock that a file stands for, as its descriptor; it is made where it is missing. Blocks for so long at the most.

    Raises:
        BlockingIOError: another process has it.
        OSError: it cannot be locked.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_LOOK_S)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield handle
    finally:
        os.close(handle)


def open_alone(path: Path, name: str, flags: int = 0) -> int:
    """A descriptor of a file that is about to be written, made where it is missing; for this process alone until it is closed.

    Args:
        path: what is opened; where it is no file others may have it as well.
        name: what a person calls it.
        flags: of ``os.open`` besides.

    Raises:
        UsageError: another process has it.
        OSError: it cannot be opened.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    with ExitStack() as undone:
        undone.callback(os.close, handle)
        if stat.S_ISREG(os.fstat(handle).st_mode) and _has_another(handle, path):
            raise UsageError(f"another process writes {name}; wait for its end, or choose another name")
        undone.pop_all()
    return handle


def _has_another(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # some file systems have no locks
    # What it has finished in this instant is not to be found there any more.
    return not is_at(handle, path)


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is what is found at a path.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def refuse_foreign(folder: Path) -> None:
    """See that no other user can put into a folder what a later run would believe; root can anyway.

    Raises:
        UsageError: the folder, or the link to it, belongs to another user, or anybody may write there.
        OSError: it cannot be looked at.
    """
    link, there = folder.lstat(), folder.stat()
    for what, owner in (("link" if stat.S_ISLNK(link.st_mode) else "folder", link.st_uid), ("folder", there.st_uid)):
        if owner not in (_ROOT, os.geteuid()):
            raise UsageError(f"the {what} {folder} belongs to user {owner}, who could change what lies there; choose another --out-dir")
    if there.st_mode & stat.S_IWOTH:
        raise UsageError(f"anybody can change what lies in {folder}; chmod o-w {folder}, or name a new folder below it as --out-dir")
    if there.st_mode & stat.S_IWGRP:
        log.warning("folder_open_to_group", folder=str(folder), group=there.st_gid, next="chmod g-w where you do not trust all of them")


def write_part(final: Path, data: bytes) -> Part:
    """Write what is to become the file ``final``, beside it.

    Raises:
        OutputError: it cannot be written; nothing is left of it.
    """
    part = Part(final.with_name(f".{secrets.token_hex(8)}{PART}"), final)
    try:
        handle = _create(part.path)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                file.write(data)
        except BaseException:
            part.path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{final} cannot be written: {error.strerror}") from error
    point("picture_written")
    return part


def place(parts: Iterable[Part], *, durable: bool) -> None:
    """Give written files their final names; with ``durable`` they and their names outlive a power cut when this returns.

    It may be called again with the same parts after it failed: those that have their names keep them.

    Raises:
        UnsyncedError: nobody knows what is on the disk.
        OutputError: one cannot be placed.
    """
    folders = set()
    for part in parts:
        folders.add(part.final.parent)
        try:
            if durable:
                _sync_path(part.path)
            part.path.replace(part.final)
        except FileNotFoundError:
            if not part.final.is_file():
                raise OutputError(f"{part.final} was removed while it was written") from None
        except OSError as error:
            raise OutputError(f"{part.final} cannot be written: {error.strerror}") from error
    point("picture_placed")
    if durable:
        for folder in folders:
            _sync_path(folder)


def sweep_parts(folder: Path) -> None:
    """Remove what a process that was killed left half written below a folder of pictures."""
    for path in folder.glob(f"*/.*{PART}"):
        with suppress(OSError):
            path.unlink()


def sync(handle: int, name: str) -> None:
    """What was written through ``handle`` is on the disk when this returns.

    Raises:
        UnsyncedError: nobody knows what is on the disk: a failed fsync forgets what it could not write, and must not be tried again
            (PostgreSQL's fsyncgate, 2018).
    """
    try:
        os.fsync(handle)
    except OSError as error:
        raise UnsyncedError(f"{name} may be incomplete on the disk: fsync failed: {error.strerror}") from error


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync(handle, str(path))
    except UnsyncedError as error:
        # Some file systems have no such thing as syncing a folder.
        if not (isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.EINVAL, errno.ENOTSUP) and path.is_dir()):
            raise
    finally:
        os.close(handle)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        private_folder(path.parent)
        return os.open(path, flags, 0o600)
