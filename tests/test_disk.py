from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from headrace.disk import EVERY_S, Disk
from headrace.errors import OutputError, UnsyncedError
from headrace.offload import inline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FULL = OSError(errno.ENOSPC, "No space left on device")


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


class Door:
    def __init__(self) -> None:
        self.held: str | None = None
        self.times = 0

    def hold(self, reason: str) -> None:
        self.times += self.held is None
        self.held = reason

    def resume(self) -> None:
        self.held = None


class Write:
    """Fails with these errors, one after the other, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "written"


def caused(cause: OSError, kind: type[OutputError] = OutputError) -> OutputError:
    error = kind("it cannot be written")
    error.__cause__ = cause
    return error


def of_sqlite(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(name)
    error.sqlite_errorname = name
    return error


PASSING = [
    FULL,
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EIO, "Input/output error"),
    caused(FULL),
    of_sqlite("SQLITE_FULL"),
    of_sqlite("SQLITE_IOERR_WRITE"),
]
LASTING = [
    OSError(errno.EROFS, "Read-only file system"),
    caused(OSError(errno.EACCES, "Permission denied")),
    caused(OSError(errno.EIO, "Input/output error"), UnsyncedError),
    of_sqlite("SQLITE_IOERR_FSYNC"),
    of_sqlite("SQLITE_IOERR_DIR_FSYNC"),
    of_sqlite("SQLITE_CORRUPT"),
    OutputError("without a cause"),
    ValueError("not the disk's"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
@pytest.mark.parametrize("here", [True, False])
def test_what_may_pass_is_tried_again_until_it_does_and_the_doors_are_held_meanwhile(error: Exception, here: bool) -> None:
    async def main() -> None:
        disk, door, write = Disk(inline), Door(), Write(error, error, error)
        disk.guard(door)
        async with trio.open_nursery() as nursery:

            async def writing() -> None:
                assert await disk.write(write, here=here) == "written"

            nursery.start_soon(writing)
            await trio.sleep(EVERY_S / 2)
            assert (write.calls, door.held) == (1, "the disk is full or fails")
        assert trio.current_time() == pytest.approx(3 * EVERY_S, abs=0.01)
        assert (write.calls, door.held, door.times) == (4, None, 1)

    run(main)


@pytest.mark.parametrize("error", LASTING, ids=lambda error: f"{error!r} of {error.__cause__!r}")
@pytest.mark.parametrize("after", [0, 2])
def test_what_will_not_pass_is_raised_at_once_and_the_doors_are_let_go(error: Exception, after: int) -> None:
    async def main() -> None:
        disk, door, write = Disk(inline), Door(), Write(*[FULL] * after, error)
        disk.guard(door)
        with pytest.raises(type(error)) as raised:
            await disk.write(write)
        assert raised.value is error
        assert (write.calls, door.held) == (after + 1, None)

    run(main)


def test_doors_are_held_until_the_last_writer_has_room_and_one_voice_tells_of_it_every_few_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        disk, door = Disk(inline), Door()
        disk.guard(door)
        async with trio.open_nursery() as nursery:
            for times in (1, 4):
                nursery.start_soon(disk.write, Write(*[FULL] * times))
            await trio.sleep(2.5 * EVERY_S)
            assert door.held
        assert door.held is None
        told = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
        assert told == ["disk_full"] * 4 + ["disk_goes_on"]

    run(main)


def test_a_writer_that_is_cancelled_while_it_waits_holds_nothing() -> None:
    async def main() -> None:
        disk, door = Disk(inline), Door()
        disk.guard(door)
        with trio.move_on_after(2 * EVERY_S):
            await disk.write(Write(*[FULL] * 99))
        assert door.held is None

    run(main)
