"""A journal that was damaged, or is something else: the run tells it in one line or goes well, and ``--fresh`` gets out of it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from hypothesis import strategies as st

from headrace.assembly import open_race
from headrace.errors import HeadraceError, UsageError, lone
from headrace.journal.database import FILE
from headrace.journal.outputs import output_file
from headrace.journal.status import status
from headrace.offload import inline
from headrace.records import Result, Status
from headrace.settings import CacheSettings, FallbackSettings, PoolSettings, RequestSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings
from reliability.invariants import unexplained
from reliability.mutations import one_line_of_text
from reliability.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn

    from headrace.journal.outputs import OutputFile
    from headrace.race import Race

PROMPTS = tuple(f"a cat {number}" for number in range(8))
PAGE = 4096
LOG = f"{FILE}-wal"
_FOREIGN = {
    "a database of somebody else": ("create table item (a, b)", "insert into item values (1, 2)"),
    "one of another version": ("pragma application_id=1751474532", "pragma user_version=99"),
    "one that says it is a journal": ("pragma application_id=1751474532", "pragma user_version=1"),
    "one with other columns": (
        "pragma application_id=1751474532",
        "pragma user_version=1",
        *(f"create table {t} (a)" for t in ("item", "attempt", "output")),
    ),
}
_PLAIN = {
    "a text": b"these are my notes\n" * 50,
    "nothing": b"",
    "zeros": bytes(3 * PAGE),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40,
}
KINDS = (*_FOREIGN, *_PLAIN)


@cache
def _whole(*, closed: bool) -> dict[str, bytes]:
    """The files of a journal with finished prompts and with calls under way: as a kill leaves it, or with everything in one file."""
    with tempfile.TemporaryDirectory() as folder:
        simulation = Simulation(1, _settings(folder), SimulatorSettings(latency_s=10, sigma=0))
        found = dict[str, bytes]()

        async def main() -> None:
            async with simulation.open() as race:
                with trio.move_on_after(15), _output(race, folder) as output:
                    async with race.results(PROMPTS, output=output) as line:
                        async for _ in line:
                            pass
                found.update(_files(Path(folder)))

        simulation.run(main)
        if closed:
            with closing(sqlite3.connect(Path(folder, FILE))) as db:
                db.execute("pragma wal_checkpoint(truncate)")
            found = _files(Path(folder))
        return found


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@st.composite
def _damaged(draw: DrawFn) -> dict[str, bytes]:
    files = dict(_whole(closed=draw(st.booleans())))
    victim = draw(st.sampled_from([name for name in (FILE, LOG) if files.get(name)]))
    data = bytearray(files[victim])
    for _ in range(draw(st.integers(1, 4))):
        used = [at for at, byte in enumerate(data) if byte]
        if not used:
            break
        at = used[int(draw(st.floats(0, 1, exclude_max=True)) * len(used))]
        change = draw(st.sampled_from(("flip", "flip", "write over", "cut", "lose a page", "double a page", "text")))
        if change == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "write over":
            data[at : at + 16] = draw(st.binary(min_size=16, max_size=16))
        elif change == "cut":
            del data[at:]
        elif change == "text":
            data[at : at + 2] = b"\xff\xfe"
        else:
            start = at // PAGE * PAGE
            other = bytes(PAGE) if change == "lose a page" else bytes(data[:PAGE])
            data[start : start + PAGE] = other
    return files | {victim: bytes(data)}


JOURNALS = st.tuples(_damaged(), st.sampled_from(("retry", "hold")))


def damaged(example: tuple[dict[str, bytes], str]) -> list[str]:
    """A journal of which something was changed."""
    files, in_doubt = example
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return _tried(folder, in_doubt)


def replaced(kind: str) -> list[str]:
    """Something else under the journal's name."""
    with tempfile.TemporaryDirectory() as folder:
        replace(Path(folder), kind)
        return _tried(folder, "retry")


def replace(folder: Path, kind: str) -> None:
    """Put something else where the journal is looked for."""
    path = folder / FILE
    if kind in _PLAIN:
        path.write_bytes(_PLAIN[kind])
    else:
        with closing(sqlite3.connect(path)) as db:
            for statement in _FOREIGN[kind]:
                db.execute(statement)
            db.commit()


def _tried(folder: str, in_doubt: str) -> list[str]:
    broken = [*_status(folder)]
    told = _run(folder, in_doubt, broken, fresh=False)
    broken += _status(folder)
    if (again := _run(folder, in_doubt, broken, fresh=True)) is not None:
        broken.append(f"--fresh does not get out of it: {again}; at first {told}")
    return broken


def _run(folder: str, in_doubt: str, broken: list[str], *, fresh: bool) -> str | None:
    """What it says where it does not go well."""
    results, simulation = list[Result](), Simulation(1, _settings(folder, in_doubt), SimulatorSettings(latency_s=10, sigma=0))

    async def main() -> None:
        async with open_race(simulation.settings, environ={}, offload=inline, app=simulation.door, fresh=fresh) as race:
            with _output(race, folder) as output:
                async with race.results(PROMPTS, output=output) as line:
                    results.extend([result async for result in line])

    try:
        simulation.run(main)
    except Exception as error:  # noqa: BLE001 - whatever it is, a user would see it as a traceback
        named = _named(error)
        if named is None or not one_line_of_text(str(named)):
            broken.append(f"it raises {lone(error)!r}")
        return str(named)
    held = {Status.SKIPPED} if in_doubt == "hold" and not fresh else set()
    if Counter(result.prompt for result in results) != Counter(PROMPTS):
        broken.append(f"results: {[result.prompt for result in results]}")
    broken += [f"{result.prompt}: {result.error}" for result in results if result.status not in {Status.OK, *held}]
    broken += unexplained(results, Path(folder))
    return None


@contextmanager
def _output(race: Race, folder: str) -> Iterator[OutputFile | None]:
    """The file that lines go into, as far as the journal knows it."""
    path = Path(folder, "lines.jsonl")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield None if race.journal is None else output_file(race.journal, path, handle, "in")
    finally:
        os.close(handle)


def _named(error: BaseException) -> BaseException | None:
    """What the command line tells: the first that has a name, where several things failed for one reason."""
    if isinstance(error, BaseExceptionGroup):
        return next((named for each in error.exceptions if (named := _named(each)) is not None), None)
    return error if isinstance(error, HeadraceError) else None


def _status(folder: str) -> list[str]:
    try:
        status(folder)
    except UsageError as error:
        return [] if one_line_of_text(str(error)) else [f"status says {error!s}"]
    except Exception as error:  # noqa: BLE001 - see above
        return [f"status raises {error!r}"]
    return []


def _settings(folder: str, in_doubt: str = "retry") -> Settings:
    return Settings(
        request=RequestSettings(size="816x816", output_format="webp"),
        pool=(PoolSettings(name="one", max_concurrency=3),),
        cache=CacheSettings(policy="off"),
        fallback=FallbackSettings(ladder=()),
        run=RunSettings(out_dir=folder, journal=True, simulate=True, in_doubt=in_doubt),
    )
