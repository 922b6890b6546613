"""Picture files copied to an fsspec URL, an object store for instance, before the lines that name them are written (``headrace[fsspec]``).

The output folder keeps its files: the journal and the cache go by them. The copies have the same names below the URL, which are hashes of
their content, so that to copy one twice changes nothing, and whatever is there in its full length needs no copy.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import trio
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from headrace.errors import OutputError, UsageError
from headrace.files import place, write_part
from headrace.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.offload import Offload
    from headrace.records import Picture, Result

AT_ONCE = 16
"""Copies under way."""
PATIENCE_S = 300.0
"""A copy is tried again for so long; whoever waits for it holds its slot meanwhile."""
LONGEST_S = 30.0
"""Between two tries."""
KNOWN = 10_000
"""Pictures that are remembered to be there."""
_PROBE = ".headrace"


class Mirror:
    """Has the pictures of results lie below a URL as well; when that fails it says so once, and nothing is copied any more.

    Args:
        url: such as ``s3://bucket/prefix``; credentials are the environment's.
        root: the output folder.
        offload: where copying blocks; it bounds how many are under way.
        failed: called once when pictures cannot be copied any more.

    Raises:
        UsageError: there is no such place that this installation can write to.
    """

    def __init__(self, url: str, root: Path, offload: Offload, failed: Callable[[], None]) -> None:
        self._files, self._base = _opened(url)
        self._url = url.rstrip("/")
        self._root = root
        self._offload = offload
        self._failed = failed
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._known: OrderedDict[str, None] = OrderedDict()
        self.error: OutputError | None = None

    async def check(self) -> None:
        """See that something can be written there, before anything is paid for.

        Raises:
            OutputError: it cannot.
        """
        try:
            with trio.fail_after(PATIENCE_S):
                await self._offload(self._probe)
        except Exception as error:  # noqa: BLE001 - every store has errors of its own
            raise OutputError(f"{self._url} cannot be written: {_said(error)}") from None

    async def copy(self, results: Sequence[Result]) -> bool:
        """Have the pictures of some results there; False where that failed, and for all that come later."""
        missing = {
            picture.path: (picture, result.recalled or result.match is not None)
            for result in results
            for picture in result.images
            if not result.written and picture.path not in self._known
        }
        async with trio.open_nursery() as nursery:
            for picture, older in missing.values():
                nursery.start_soon(self._in_turn, picture, older)
        return self.error is None

    async def _in_turn(self, picture: Picture, older: bool) -> None:
        # Patience is for the store: a slow one that has many to take is given all the time it needs.
        async with self._turns:
            await self._one(picture, older)

    async def _one(self, picture: Picture, older: bool) -> None:
        until, pause_s = trio.current_time() + PATIENCE_S, 1.0
        while self.error is None:
            try:
                with trio.fail_at(until):
                    await self._offload(self._put, picture, older)
            except Exception as error:  # noqa: BLE001 - every store has errors of its own
                if trio.current_time() + pause_s > until:
                    self._give_up(error)
                    return
                log.warning("copy_failed", picture=picture.path, error=_said(error), retry_s=pause_s)
                await trio.sleep(pause_s)
                pause_s, older = min(2 * pause_s, LONGEST_S), True
            else:
                self._known[picture.path] = None
                if len(self._known) > KNOWN:
                    self._known.popitem(last=False)
                return

    def _give_up(self, error: Exception) -> None:
        if self.error is None:
            self.error = OutputError(f"{self._url} cannot be written: {_said(error)}; the pictures are in {self._root}")
            self._failed()

    def _put(self, picture: Picture, older: bool) -> None:
        source, target = self._root / picture.path, f"{self._base}/{picture.path}"
        # What was made just now is nowhere yet.
        if older and self._is_there(target, picture.bytes):
            return
        if isinstance(self._files, LocalFileSystem):
            # Its own copy is neither whole at once nor synced.
            place((write_part(Path(target), source.read_bytes()),), durable=True)
        else:
            self._files.put_file(str(source), target)

    def _is_there(self, target: str, size: int) -> bool:
        with suppress(FileNotFoundError):
            return bool(self._files.info(target)["size"] == size)
        return False

    def _probe(self) -> None:
        target = f"{self._base}/{_PROBE}"
        if isinstance(self._files, LocalFileSystem):
            place((write_part(Path(target), b""),), durable=False)
        else:
            self._files.pipe_file(target, b"")
        with suppress(Exception):  # some may write who may not remove
            self._files.rm_file(target)


def _opened(url: str) -> tuple[Any, str]:
    """The file system and the path in it."""
    scheme, separator, _ = url.partition("://")
    if not scheme or not separator:
        raise UsageError("--pictures-to has to be a URL such as s3://bucket/prefix or file:///folder")
    # One URL may be chained to another: simplecache::s3://bucket.
    if re.search("://[^/]*@", url):
        raise UsageError("--pictures-to must not hold a user or a password; give them by the environment")
    try:
        # A listing from before would say that what was copied since is not there.
        files, base = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs another package: {_said(error)}") from None
    except Exception as error:  # noqa: BLE001 - every store has errors of its own
        if scheme.split("::")[0] in {*fsspec.registry, *fsspec.available_protocols()}:
            raise UsageError(f"{url} cannot be opened: {_said(error)}") from None
        known = ", ".join(sorted(name for name in ("s3", "gs", "az", "file", "sftp") if name in fsspec.available_protocols()))
        raise UsageError(f"fsspec knows no {scheme}://; it can be {known} and others") from None
    return files, base.rstrip("/")


def _said(error: Exception) -> str:
    if isinstance(error, trio.TooSlowError):
        return "it does not answer"
    return next(iter(str(error).splitlines()), "") or type(error).__name__
