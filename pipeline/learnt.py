"""What pools learnt of their limits, kept between runs in one small file beside the cache.

It also holds what the last minute was charged, so that a run that starts where another ended does not start with a burst. No key is in it.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import trio

from headrace.admission.memory import PoolMemory  # noqa: TC001 - read by structure()
from headrace.errors import HeadraceError, OutputError
from headrace.files import PART, locked, place, private_folder, write_part
from headrace.log import log
from headrace.settings import CacheSettings
from headrace.structure import structure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from headrace.admission.memory import MeterMemory
    from headrace.admission.pool import Pool
    from headrace.offload import Offload
    from headrace.settings import Settings

FILE = "limits.json"
LOCK = "limits.lock"
EVERY_S = 2.0
"""Between two writes: a process that is killed loses what it sent in less."""
OLDEST_S = 7 * 86_400.0
"""What was learnt longer ago is forgotten."""
_VERSION = 1
_MOST_BYTES = 16 * 2**20
_MOST = 1e12
_PATIENCE_S = 1.0
"""For the lock: whoever has it needs it for milliseconds."""

Name = tuple[str, str]
"""The address of an API, and the name of a pool of it."""


@attrs.frozen(kw_only=True)
class Entry:
    """What one pool of one API knew, and when."""

    api: str
    written: float
    """By the clock on the wall, in seconds since 1970: no other clock outlives its process."""
    memory: PoolMemory

    def age_s(self, wall: float) -> float:
        """How long ago that was; 0 where the clock was put back since."""
        return max(0.0, wall - self.written)


@attrs.frozen(kw_only=True)
class _Document:
    version: int
    entries: tuple[Entry, ...] = ()


class LearntFile:
    """The file. Everything here blocks, for a few milliseconds.

    Args:
        folder: where it lies; ``~`` is the home folder.
        wall: the clock on the wall.
    """

    def __init__(self, folder: str | os.PathLike[str], wall: Callable[[], float] = time.time) -> None:
        self.folder = Path(folder)
        self.wall = wall
        self._complained = False
        self._void = False
        """Whether what is there is no such file."""

    def read(self) -> dict[Name, Entry]:
        """What is there and young enough; nothing, and a warning, where it is no such file."""
        try:
            document = structure(self._document(), _Document)
            if document.version != _VERSION or not all(_believable(entry.memory) for entry in document.entries):
                raise ValueError("it holds what no run has written")  # noqa: TRY301 - one way out for whatever is wrong with it
        except (OSError, RuntimeError, ValueError, RecursionError, HeadraceError) as error:
            self._complain("limits_unreadable", error, "it is written anew")
            self._void = True
            return {}
        wall = self.wall()
        return {(entry.api, entry.memory.name): entry for entry in document.entries if entry.age_s(wall) <= OLDEST_S}

    def write(self, entries: Sequence[Entry]) -> bool:
        """Put these in the place of what is there of the same pools; returns whether that was possible, and warns once where not."""
        try:
            folder = self.folder.expanduser()
            private_folder(folder)
            with _locked(folder):
                mine = [_written(entry) for entry in entries]
                names = {_name(entry) for entry in mine}
                others = [] if self._void else [entry for entry in self._others() if _name(entry) not in names]
                text = json.dumps({"version": _VERSION, "entries": [*others, *mine]}, allow_nan=False, separators=(",", ":"))
                place([write_part(folder / FILE, text.encode())], durable=False)
        except (OSError, RuntimeError, ValueError, HeadraceError) as error:
            self._complain("limits_not_kept", error, "the next run starts without them")
            return False
        self._void = False
        return True

    def _document(self) -> Any:
        path = self.folder.expanduser() / FILE
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return {"version": _VERSION, "entries": []}
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
        return json.loads(data, parse_constant=_refuse)

    def _others(self) -> Iterator[dict[str, Any]]:
        """The young entries as they are: whoever recalls one looks at it closely."""
        try:
            document = self._document()
            if document["version"] == _VERSION:
                wall = self.wall()
                yield from (entry for entry in document["entries"] if wall - entry["written"] <= OLDEST_S and _name(entry))
        except (ArithmeticError, ValueError, TypeError, KeyError, RecursionError) as error:
            self._complain("limits_unreadable", error, "it is written anew")

    def _complain(self, event: str, error: BaseException, following: str) -> None:
        if not self._complained:
            self._complained = True
            log.warning(event, file=str(self.folder / FILE), error=str(error) or type(error).__name__, next=following)


class Learnt:
    """Keeps what the pools of a run learn.

    Args:
        file: where; None keeps nothing.
        offload: where writing blocks.
    """

    def __init__(self, file: LearntFile | None, offload: Offload) -> None:
        self._file = file
        self._offload = offload
        self.known = {} if file is None else file.read()
        """What is in the file, as of the start and of the end."""
        self._pools: list[tuple[str, Pool]] = []
        self._kept: tuple[int, ...] = ()

    def recall(self, api: str, pools: Iterable[Pool]) -> None:
        """Let the pools of that API start with what is known of them, and keep what they learn."""
        if self._file is None:
            return
        wall, now = self._file.wall(), trio.current_time()
        for pool in pools:
            self._pools.append((api, pool))
            if (entry := self.known.get((api, pool.name))) is not None:
                pool.recall(entry.memory, entry.age_s(wall), now)
        self._kept = self._seen()

    async def run(self) -> None:
        """Keep it every two seconds while calls are made; runs until cancelled."""
        while self._file is not None:
            await trio.sleep(EVERY_S)
            if (seen := self._seen()) != self._kept and await self._offload(self._file.write, self._entries(self._file.wall())):
                self._kept = seen

    def close(self) -> None:
        """Keep what came since; blocks, because at the end of a run nothing waits any more."""
        if self._file is not None and self._seen() != self._kept:
            entries = self._entries(self._file.wall())
            self._file.write(entries)
            self.known.update({(entry.api, entry.memory.name): entry for entry in entries})

    def _seen(self) -> tuple[int, ...]:
        """Something else whenever a call went out or came back."""
        return tuple(number for _, pool in self._pools for number in (pool.sent, pool.calls.out))

    def _entries(self, wall: float) -> list[Entry]:
        now = trio.current_time()
        return [Entry(api=api, written=wall, memory=self._memory(api, pool, now)) for api, pool in self._pools]

    def _memory(self, api: str, pool: Pool, now: float) -> PoolMemory:
        own = pool
        while own.merged_into is not None:
            own = own.merged_into
        memory = own.memory(now)
        if own is not pool:
            # Where two are one, its last minute is counted once.
            memory = attrs.evolve(memory, name=pool.name, meters=tuple(attrs.evolve(meter, recent=()) for meter in memory.meters))
        if (before := self.known.get((api, pool.name))) is None:
            return memory
        # What a server once said stands until it says something else.
        refusals, owners = memory.refusals or before.memory.refusals, memory.owners or before.memory.owners
        return attrs.evolve(memory, refusals=refusals, owners=owners)


def learnt_file(settings: Settings, app: Any = None) -> LearntFile | None:
    """Where runs with these settings keep what they learn; None where their API is made up, which starts anew each time.

    ``app`` stands for an API in this process: it does not belong among what is known of real ones, in the folder that they all use.
    """
    made_up = settings.run.simulate or (app is not None and settings.cache.dir == CacheSettings().dir)
    return None if made_up else LearntFile(settings.cache.dir)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _written(entry: Entry) -> dict[str, Any]:
    written: dict[str, Any] = attrs.asdict(entry)
    for meter in written["memory"]["meters"]:
        meter["recent"] = [(round(ago, 3), cost) for ago, cost in meter["recent"]]
    return written


def _name(entry: dict[str, Any]) -> Name:
    return str(entry["api"]), str(entry["memory"]["name"])


def _believable(memory: PoolMemory) -> bool:
    return (memory.calls is None or 1 <= memory.calls < _MOST) and all(map(_believable_meter, memory.meters))


def _believable_meter(memory: MeterMemory) -> bool:
    # Written so that NaN fails.
    limits = (memory.named, memory.limit, memory.level, memory.offered)
    charges = all(len(charge) == 2 and all(0 <= number < _MOST for number in charge) for charge in memory.recent)  # noqa: PLR2004 - when, how much
    return charges and all(limit is None or 0 < limit < _MOST for limit in limits)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Be the only one who writes, and sweep up what a process that was killed left half written."""
    try:
        with locked(folder / LOCK, _PATIENCE_S):
            for part in folder.glob(f".*{PART}"):
                part.unlink(missing_ok=True)
            yield
    except BlockingIOError:
        raise OutputError(f"another process has had {folder / LOCK} for {_PATIENCE_S:g} s") from None
