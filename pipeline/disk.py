"""A disk that is full or fails for a while: what was paid for waits in memory, and nothing new is started until there is room."""

from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING, Protocol, TypeVar, TypeVarTuple

import trio

from headrace.errors import UnsyncedError
from headrace.log import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.offload import Offload

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EVERY_S = 5.0
"""Between two tries, and between two words about it."""
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE})
_UNSYNCED = ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC")


class Door(Protocol):
    """Where new work comes in."""

    def hold(self, reason: str) -> None:
        """Let nothing in."""
        ...

    def resume(self) -> None:
        """Let it in again."""
        ...


class Disk:
    """Blocking writes that wait for room; as long as one waits, every door is held.

    Args:
        offload: where they block.
    """

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._doors: list[Door] = []
        self._waiting = 0
        self._told_at = float("-inf")

    def guard(self, door: Door) -> None:
        """Hold this one too while the disk is full."""
        self._doors.append(door)

    async def write(self, function: Callable[[*Ts], T], *args: *Ts, here: bool = False) -> T:
        """What ``function(*args)`` returns as soon as the disk takes it; it may be called several times.

        ``here`` tries it on the event loop first, for what takes less time than a thread would.

        Raises:
            UnsyncedError: an fsync failed; that is never tried again.
            Exception: whatever else than a full or failing disk.
        """
        try:
            return function(*args) if here else await self._offload(function, *args)
        except Exception as error:
            if not _may_pass(error):
                raise
            trouble = str(error)
        self._waiting += 1
        try:
            while True:
                self._hold(trouble)
                await trio.sleep(EVERY_S)
                try:
                    result = await self._offload(function, *args)
                except Exception as error:
                    if not _may_pass(error):
                        raise
                    trouble = str(error)
                else:
                    if self._waiting == 1:
                        log.warning("disk_goes_on")
                    return result
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._release()

    def _hold(self, trouble: str) -> None:
        for door in self._doors:
            door.hold("the disk is full or fails")
        if trio.current_time() >= self._told_at + EVERY_S:
            self._told_at = trio.current_time()
            log.warning("disk_full", error=trouble, waiting=self._waiting, next="it goes on as soon as there is room; Ctrl-C ends it")

    def _release(self) -> None:
        for door in self._doors:
            door.resume()


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        return name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and name not in _UNSYNCED)
    cause = error if isinstance(error, OSError) else error.__cause__
    return not isinstance(error, UnsyncedError) and isinstance(cause, OSError) and cause.errno in _PASSING
