"""Picture files of the cache: put below another folder when they are wanted there, checked against their hash before.

Everything here blocks.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from typing import TYPE_CHECKING

from headrace.errors import OutputError
from headrace.files import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from headrace.records import Picture

_PATH = re.compile(r"images/([0-9a-f]{2})/(\1[0-9a-f]{62})\.[a-z]{3,4}")
_PART = ".part"
_REMEMBERED = 50_000
_Stamp = tuple[int, int, int]


class Pictures:
    """The pictures of one cache folder.

    A file is hashed once a process and again when it has changed: a picture that rots on the disk, or is edited where it lies, is
    not handed out under the hash of another.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole: dict[str, tuple[_Stamp, str]] = {}

    def known(self, pictures: Iterable[Picture], root: Path) -> bool:
        """Whether all of them lie whole below ``root`` already, as far as can be told without reading them."""
        # Asked for every hit: to join paths as Path costs as much as the look.
        folder = os.fspath(root)
        return all(self._remembered(f"{folder}/{picture.path}", picture) for picture in pictures)

    def fetch(self, pictures: Iterable[Picture], root: Path) -> bool:
        """Place them from the cache below ``root``; False where one of them is missing or broken."""
        return all(self._place(self._folder, root, picture) for picture in pictures)

    def keep(self, pictures: Iterable[Picture], root: Path) -> bool:
        """Place them from below ``root`` in the cache; False where one of them is missing or broken."""
        return all(self._place(root, self._folder, picture) for picture in pictures)

    def whole(self, picture: Picture) -> bool:
        """Whether the cache's own file is there and has the content that its name says."""
        return _safe(picture) and self._is_whole(self._folder / picture.path, picture)

    def remove(self, path: str) -> None:
        """Remove the cache's own file, whatever is there under its name, and what is left of one that was being copied.

        A path that is not named by a content, which a stranger may have written, is left alone.

        Raises:
            OSError: it cannot be removed.
        """
        if _PATH.fullmatch(path) is None:
            return
        file = self._folder / path
        _remove(file.with_name(file.name + _PART))
        _remove(file)

    def files(self) -> Iterator[str]:
        """Paths of all files that lie where pictures do."""
        for folder in sorted((self._folder / "images").glob("*")):
            if folder.is_dir() and not folder.is_symlink():
                yield from (f"images/{folder.name}/{file.name}" for file in sorted(folder.iterdir()))

    def discard(self, path: str) -> None:
        """Remove one of :meth:`files`, whatever its name."""
        _remove(self._folder / path)

    def _place(self, source: Path, target: Path, picture: Picture) -> bool:
        # One file under two names where the file system can: a cache of pictures must not double the disk.
        if not _safe(picture):
            return False
        wanted, there = target / picture.path, source / picture.path
        if self._is_whole(wanted, picture):
            return True
        if not self._is_whole(there, picture):
            return False
        try:
            private_folder(wanted.parent)
            _remove(wanted)
            _link(there, wanted)
        except OSError as error:
            if _stamp(there) is None:
                return False  # another process has evicted it just now
            raise OutputError(f"{wanted} cannot be written: {error.strerror}") from error
        return True

    def _is_whole(self, path: Path, picture: Picture) -> bool:
        if self._remembered(path, picture):
            return True
        stamp = _stamp(path)
        if stamp is None or stamp[0] != picture.bytes:
            return False
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return False
        if found != picture.sha256:
            return False
        if len(self._whole) >= _REMEMBERED:
            self._whole.clear()
        self._whole[os.fspath(path)] = (stamp, found)
        return True

    def _remembered(self, path: str | Path, picture: Picture) -> bool:
        known = self._whole.get(os.fspath(path))
        return known is not None and known[1] == picture.sha256 and known[0][0] == picture.bytes and known[0] == _stamp(path)


def _safe(picture: Picture) -> bool:
    # A stranger may have written the row: a path leads nowhere but to a file that is named by its content.
    found = _PATH.fullmatch(picture.path)
    return found is not None and found[2] == picture.sha256


def _stamp(path: str | Path) -> _Stamp | None:
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(there: Path, wanted: Path) -> None:
    try:
        wanted.hardlink_to(there)
    except FileExistsError:
        return  # another process was faster, and content under one name is the same
    except OSError:
        temporary = wanted.with_name(f"{wanted.name}{_PART}")
        try:
            shutil.copyfile(there, temporary)
            # A journal may say that it is there: after a power cut it must not be a file of the right size without its content.
            _sync(temporary)
            temporary.replace(wanted)
        finally:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
