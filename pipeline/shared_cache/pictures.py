"""Picture files at the place that processes share: put there when they are paid for, brought when another has paid, and checked then."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio

from headrace.files import place, write_part
from headrace.log import log
from headrace.places import Folder, open_place, said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.disk import Disk
    from headrace.offload import Offload
    from headrace.places import Place
    from headrace.records import Picture

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SETTING = "[cache] shared"
AT_ONCE = 16
"""Files on their way."""
PATIENCE_S = 60.0
"""A file is tried again for so long; whoever waits for it holds its slot meanwhile."""
LONGEST_S = 8.0
"""Between two tries."""
AGAIN_S = 30.0
"""A place that is lost is tried again so often."""


class PlaceLostError(Exception):
    """The place does not do what it should."""


class SharedPictures:
    """The way to the place; when that is lost it says so once, and a file is tried now and then until it is back.

    Args:
        shared: the place.
        name: what it is called in warnings.
        root: the output folder.
        offload: where the place blocks.
        disk: waits for room in the output folder.
    """

    def __init__(self, shared: Place, name: str, root: Path, offload: Offload, disk: Disk) -> None:
        self._place = shared
        self._name = name
        self._root = root
        self._offload = offload
        self._disk = disk
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._again_at = float("-inf")
        self.lost = False

    async def put(self, pictures: Sequence[Picture]) -> bool:
        """Have them there, whole and for good; False where that cannot be had."""
        with suppress(PlaceLostError, FileNotFoundError):
            for picture in pictures:
                await self._patiently(self._place.put, self._root / picture.path, picture.path)
            return True
        return False

    async def bring(self, pictures: Sequence[Picture]) -> bool:
        """Have them below the output folder, as their hashes say; False where one of them is missing or broken there.

        Raises:
            PlaceLostError: nobody knows.
            OutputError: the output folder cannot be written.
        """
        for picture in pictures:
            try:
                data = await self._patiently(self._read, picture)
            except FileNotFoundError:
                return False
            if data is None:
                return False
            await self._disk.write(_file, self._root / picture.path, data)
        return True

    def _read(self, picture: Picture) -> bytes | None:
        data = self._place.read(picture.path, picture.bytes)
        return data if len(data) == picture.bytes and hashlib.sha256(data).hexdigest() == picture.sha256 else None

    async def _patiently(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        # Patience is for the place: a slow one that has many to take is given all the time it needs.
        async with self._turns:
            until, pause_s = trio.current_time() + PATIENCE_S, 1.0
            while True:
                self._refuse()
                try:
                    with trio.fail_at(until):
                        result = await self._offload(function, *args)
                except FileNotFoundError:
                    raise
                except Exception as error:  # noqa: BLE001 - every store has errors of its own
                    if self.lost or trio.current_time() + pause_s > until:
                        self._lose(error)
                        raise PlaceLostError from None
                    await trio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_S)
                else:
                    self._find()
                    return result

    def _refuse(self) -> None:
        if self.lost:
            if trio.current_time() < self._again_at:
                raise PlaceLostError
            self._again_at = trio.current_time() + AGAIN_S

    def _lose(self, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            self._again_at = trio.current_time() + AGAIN_S
            log.warning("shared_place_lost", place=self._name, error=said(error), next="this process goes on with its own cache")

    def _find(self) -> None:
        if self.lost:
            self.lost = False
            log.warning("shared_place_back", place=self._name)


def place_at(where: str) -> Place:
    """The place that ``[cache] shared`` names, a folder or a URL. Blocks: some stores are called when they are opened.

    Raises:
        UsageError: this installation knows no such place.
    """
    return open_place(where, SETTING) if "://" in where else Folder(Path(where).expanduser())


def _file(final: Path, data: bytes) -> None:
    place((write_part(final, data),), durable=True)
