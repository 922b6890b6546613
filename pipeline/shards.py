"""Pictures as a WebDataset: tar files in which each sample is ``KEY.png`` and ``KEY.json``, its line.

A tar file that somebody is still writing is none, so that a shard grows beside its name and gets it when it is full, or at the end. Like a
Parquet file a set is written anew by each run: the journal has every result.
"""

from __future__ import annotations

import os
import re
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from headrace.errors import OutputError, UsageError
from headrace.files import PART, open_alone, place
from headrace.output import line, write_all
from headrace.records import Part, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from headrace.disk import Disk
    from headrace.records import Result

SAMPLES = 10_000
BYTES = 2**30
"""A shard is full when it has so many of one of them."""
_NUMBER = re.compile(r"%0([1-9])d")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 60
_END = bytes(2 * tarfile.BLOCKSIZE)


@attrs.define
class _Shard:
    part: Part
    handle: int
    samples: int = 0
    bytes: int = 0
    """Of whole samples."""


class ShardWriter:
    """Writes the pictures of results that have any; when that fails it says so once, and nothing is written any more.

    Args:
        pattern: path of a shard, with ``%06d`` in its name for the number.
        root: the output folder.
        failed: called once when shards cannot be written any more.

    Raises:
        UsageError: the pattern has no number, its folder is not there, or another process writes there.
        OutputError: nothing can be written there.
    """

    def __init__(self, pattern: Path, root: Path, failed: Callable[[], None]) -> None:
        if len(_NUMBER.findall(pattern.name)) != 1 or pattern.suffix != ".tar":
            raise UsageError("--shards has to be a path such as set/pictures-%06d.tar: %06d is the number of the shard")
        if not pattern.parent.is_dir():
            raise UsageError(f"the folder {pattern.parent} of the shards is not there; make it first")
        self._pattern = pattern
        self._root = root
        self._failed = failed
        self._disk: Disk | None = None
        self._shard: _Shard | None = None
        self._number = 0
        self.error: OutputError | None = None
        # Those of an earlier run are removed however many digits their numbers have.
        self._lock = pattern.with_name(f".{_NUMBER.sub('%d', pattern.name)}.lock")
        try:
            self._held = open_alone(self._lock, str(pattern), os.O_NOFOLLOW)
        except OSError as error:
            raise OutputError(f"{pattern} cannot be written: {error.strerror}") from None

    def start(self, disk: Disk) -> None:
        """Begin with no shards: those of an earlier run are removed. On a full disk samples wait for room.

        Raises:
            OutputError: they cannot be removed.
        """
        self._disk = disk
        try:
            for path in self._there():
                path.unlink()
        except OSError as error:
            raise OutputError(f"{self._pattern} cannot be written: {error.strerror}") from None

    async def write(self, results: Sequence[Result]) -> bool:
        """Add some results; False where that failed, and for all that come later."""
        assert self._disk is not None  # noqa: S101 - a run starts it first
        for result in results:
            if self.error is not None:
                return False
            if result.status is not Status.OK or not result.images:
                continue
            try:
                left = [await self._disk.write(self._sample, result)]
                shard = await self._disk.write(self._open)
                size = len(left[0])
                await self._disk.write(write_all, shard.handle, left)
                shard.samples, shard.bytes = shard.samples + 1, shard.bytes + size
                if shard.samples >= SAMPLES or shard.bytes >= BYTES:
                    left = [_END]
                    await self._disk.write(write_all, shard.handle, left)
                    await self._disk.write(self._place, shard)
            except (OSError, OutputError) as error:
                self._give_up(error)
        return self.error is None

    def close(self) -> None:
        """Give the last shard its name. Blocks; whether that worked is in ``error``."""
        if self._shard is not None:
            self._end(self._shard)
        with suppress(OSError):
            self._lock.unlink()
        os.close(self._held)

    def _end(self, shard: _Shard) -> None:
        try:
            if self.error is None and shard.samples:
                # A run that is cancelled may have written half a sample.
                os.ftruncate(shard.handle, shard.bytes)
                os.lseek(shard.handle, 0, os.SEEK_END)
                write_all(shard.handle, [_END])
                self._place(shard)
        except (OSError, OutputError) as error:
            self._give_up(error)
        if self._shard is not None:
            with suppress(OSError):
                shard.part.path.unlink()
            os.close(shard.handle)

    def _sample(self, result: Result) -> bytes:
        key = key_of(result)
        several = len(result.images) > 1
        members = [_member(f"{key}.json", line(result))]
        for index, picture in enumerate(result.images):
            ending = f"{index}.{picture.format}" if several else picture.format
            members.append(_member(f"{key}.{ending}", (self._root / picture.path).read_bytes()))
        return b"".join(members)

    def _open(self) -> _Shard:
        if self._shard is None:
            final = self._pattern.with_name(_NUMBER.sub(lambda match: f"{self._number:0{match[1]}d}", self._pattern.name))
            path = final.with_name(f".{final.name}{PART}")
            self._shard = _Shard(Part(path, final), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
            self._number += 1
        return self._shard

    def _place(self, shard: _Shard) -> None:
        place((shard.part,), durable=True)
        os.close(shard.handle)
        self._shard = None

    def _there(self) -> Iterator[Path]:
        before, _, behind = _NUMBER.split(self._pattern.name)
        name = re.compile(rf"(?:{re.escape(before)}[0-9]+{re.escape(behind)}|\.{re.escape(before)}[0-9]+{re.escape(behind)}{PART})\Z")
        return (path for path in self._pattern.parent.iterdir() if name.match(path.name))

    def _give_up(self, error: OSError | OutputError) -> None:
        if self.error is None:
            why = error.strerror if isinstance(error, OSError) else str(error)
            self.error = OutputError(f"{self._pattern} cannot be written: {why}; the pictures are in {self._root}")
            self._failed()


def key_of(result: Result) -> str:
    """The key of a sample: its place in the input, which no other has, and what of its id a file name may hold.

    Without a dot: the first one ends the key.
    """
    if result.id == str(result.seq):
        return f"{result.seq:09d}"
    return f"{result.seq:09d}-{_UNSAFE.sub('_', result.id)[:_LONGEST]}"


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
