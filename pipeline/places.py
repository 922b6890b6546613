"""Places that take files by name: a folder, which may be a network's, or an object store by its fsspec URL (``headrace[fsspec]``).

A file is there under its name whole or not at all. Everything here blocks, and object stores raise errors of their own.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import trio

from headrace.errors import UsageError
from headrace.files import place, write_part
from headrace.validators import holds_credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROBE = ".headrace"
_FOLDER = "file://"
_KNOWN = ("s3", "gs", "az", "file", "sftp")


class Place(Protocol):
    """Where files go."""

    def put(self, source: Path, name: str) -> None:
        """Have a copy of ``source`` there, for good when this returns."""
        ...

    def read(self, name: str, size: int) -> bytes:
        """What is there, or as much of it as shows that it is longer than ``size``.

        Raises:
            FileNotFoundError: nothing is.
        """
        ...

    def has(self, name: str, size: int) -> bool:
        """Whether something of that length is there."""
        ...

    def touch(self, name: str) -> None:
        """Have an empty file there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file."""
        ...


class Folder:
    """A folder; what is missing of it is made, for its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, source: Path, name: str) -> None:
        """See :meth:`Place.put`."""
        self._place(name, source.read_bytes(), durable=True)

    def read(self, name: str, size: int) -> bytes:
        """See :meth:`Place.read`."""
        # A pipe that somebody has put there would never answer.
        with open(self._path / name, "rb", opener=_at_once) as file:
            return file.read(size + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""

    def has(self, name: str, size: int) -> bool:
        """See :meth:`Place.has`."""
        with suppress(FileNotFoundError):
            return (self._path / name).stat().st_size == size
        return False

    def touch(self, name: str) -> None:
        """See :meth:`Place.touch`."""
        self._place(name, b"", durable=False)

    def remove(self, name: str) -> None:
        """See :meth:`Place.remove`."""
        (self._path / name).unlink()

    def _place(self, name: str, data: bytes, *, durable: bool) -> None:
        part = write_part(self._path / name, data)
        try:
            place((part,), durable=durable)
        except BaseException:
            part.path.unlink(missing_ok=True)
            raise


class ObjectStore:
    """Below a URL.

    Args:
        files: a file system of fsspec.
        base: the path in it.
    """

    def __init__(self, files: Any, base: str) -> None:
        self._files = files
        self._base = base

    def put(self, source: Path, name: str) -> None:
        """See :meth:`Place.put`."""
        self._files.put_file(str(source), f"{self._base}/{name}")

    def read(self, name: str, size: int) -> bytes:
        """See :meth:`Place.read`."""
        data: bytes = self._files.cat_file(f"{self._base}/{name}", start=0, end=size + 1)
        return data

    def has(self, name: str, size: int) -> bool:
        """See :meth:`Place.has`."""
        with suppress(FileNotFoundError):
            return bool(self._files.info(f"{self._base}/{name}")["size"] == size)
        return False

    def touch(self, name: str) -> None:
        """See :meth:`Place.touch`."""
        self._files.pipe_file(f"{self._base}/{name}", b"")

    def remove(self, name: str) -> None:
        """See :meth:`Place.remove`."""
        self._files.rm_file(f"{self._base}/{name}")


def open_place(url: str, setting: str) -> Place:
    """The place that a URL names; ``setting`` is what complaints call it.

    Raises:
        UsageError: there is no such place that this installation knows, or fsspec is missing.
    """
    scheme, separator, rest = url.partition("://")
    if not scheme or not separator:
        raise UsageError(f"{setting} has to be a URL such as s3://bucket/prefix or file:///folder")
    if holds_credentials(url):
        raise UsageError(f"{setting} must not hold a user or a password, nor a query; give them by the environment")
    if url.startswith(_FOLDER):
        if not rest.startswith("/"):
            raise UsageError(f"{setting} has to name a folder by its whole path, such as file:///folder")
        return Folder(Path(rest))
    return _object_store(url, scheme, setting)


def probe(where: Place) -> None:
    """See that something can be written there."""
    where.touch(_PROBE)
    with suppress(Exception):  # some may write who may not remove
        where.remove(_PROBE)


def said(error: Exception) -> str:
    """What a place complains of, in one line."""
    if isinstance(error, trio.TooSlowError):
        return "it does not answer"
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _object_store(url: str, scheme: str, setting: str) -> Place:
    try:
        import fsspec  # noqa: PLC0415 - an extra
        from fsspec.core import url_to_fs  # noqa: PLC0415 - as above
        from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415 - as above
    except ImportError:
        raise UsageError(f"{setting} goes by fsspec; pip install 'headrace[fsspec]'") from None
    try:
        # A listing from before would say that what was copied since is not there.
        files, base = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs another package: {said(error)}") from None
    except Exception as error:  # noqa: BLE001 - every store has errors of its own
        protocols: Sequence[str] = fsspec.available_protocols()
        if scheme.partition("::")[0] in {*fsspec.registry, *protocols}:
            raise UsageError(f"{url} cannot be opened: {said(error)}") from None
        known = ", ".join(sorted(name for name in _KNOWN if name in protocols))
        raise UsageError(f"fsspec knows no {scheme}://; it can be {known} and others") from None
    # fsspec has other names for a folder, and its own copy is neither whole at once nor synced.
    return Folder(Path(base)) if isinstance(files, LocalFileSystem) else ObjectStore(files, base.rstrip("/"))
