"""A disk that fails at the n-th call, for every n of a small run: for a while, for ever, and in its fsync; and one that is really full."""

from __future__ import annotations

import errno
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs

from headrace.simulator import SimulatorSettings
from reliability.checks import attempts, books_agree, called_after_paid, lost, read_lines, torn, untidy
from reliability.images import enlarge, small_disk, without_mounts
from reliability.outcome import Outcome
from reliability.processes import Job, ended, until
from reliability.server import Api, api
from reliability.shim import Trouble, compiled, without_compiler
from reliability.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    from reliability.server import Books

PROMPTS = 6
IN_FLIGHT = 3
PASSING = 3
"""Calls in a row that fail, where the trouble passes."""
AT_ONCE = 8
"""Runs that wait for a disk take no processor."""
WORD_S = 20.0
SHORT = 3
"""Calls that are tried in the short form, spread over the run."""
STEPS_SHORT = 2
FULL_PROMPTS = 150
FULL_MEGABYTES = 2
ROOMY_MEGABYTES = 32
BAD_DISK = 74
SAYS = "disk_full"
OF_SQLITE = ("out", "out/journal.sqlite")
"""SQLite itself passes over a folder that it cannot sync, and over a checkpoint: the log that it would have shortened stays."""

PASSES = "a write fails 3 times, for every n: lost, or wrong word or exit status"
STAYS = "writes fail for ever from the n-th on, then Ctrl-C: lost, or wrong word or exit status"
UNSYNCED = "the n-th fsync fails, for every n: lost, or exit status not 74"
FULL = "a disk that is really full: lost, or wrong word or exit status"
AGAIN = "failing disks: finished prompts called again, or bill and journal disagree"


@attrs.define(eq=False)
class _Trials:
    api: Api
    folder: Path
    library: Path | None
    tally: Tally = attrs.field(factory=Tally)

    def calls(self, family: str) -> int:
        """How many calls of a family a run without any trouble makes."""
        job = self._job(f"count-{family}")
        count = job.folder / "count"
        code = job.finish(extra=self._trouble(job, family, tally=count).environ)
        if code or not count.exists():
            raise RuntimeError(f"a run on a good disk ended with {code}: {job.stderr[-800:]}")
        return len(count.read_text().splitlines())

    def passes(self, first: int, error: int) -> None:
        """Some calls fail, then all is well: the run has to come through."""
        job = self._job(f"passes-{first}-{errno.errorcode[error]}")
        count = job.folder / "count"
        code = job.finish(extra=self._trouble(job, "write", first=first, times=PASSING, error=error, tally=count).environ)
        if code == 0 and set(_failed(count)) <= set(OF_SQLITE) and SAYS not in job.stderr:
            # The log is copied into the file at the end; where that fails, the log stays and nothing is missing.
            self.tally.add(f"{PASSES}: passed over")
            self.tally.broke(PASSES, [*lost(job, read_lines(job.lines)), *untidy(job.stderr)])
        elif code == 0:
            self._waited(job, PASSES)
            self.tally.broke(PASSES, lost(job, read_lines(job.lines)))
        else:
            self._refused(job, code, PASSES)
            self._healthy(job, PASSES)
        self._books(job, PASSES)
        self.tally.add("passes")

    def stays(self, first: int, error: int) -> None:
        """All calls fail from the n-th on until Ctrl-C; then the disk works and the run goes on."""
        job = self._job(f"stays-{first}-{errno.errorcode[error]}")
        bad = job.folder / "bad"
        bad.touch()
        process = job.start("--drain", "0.5", extra=self._trouble(job, "write", first=first, error=error, while_there=bad).environ)
        heard = until(lambda: process.poll() is not None or SAYS in job.stderr, WORD_S)
        self.tally.broke(STAYS, [] if heard else [f"{job.name}: not a word about the disk"])
        process.send_signal(signal.SIGINT)
        if process.poll() is None:
            # The first lets what is in flight come out, which it cannot; nor can it be told for ever.
            until(lambda: process.poll() is not None, 3)
            process.send_signal(signal.SIGINT)
        code = ended(process, WORD_S)
        if code not in {128 + signal.SIGINT, BAD_DISK, 0}:
            self._refused(job, code, STAYS)
        self.tally.broke(STAYS, untidy(job.stderr))
        bad.unlink()
        self._healthy(job, STAYS)
        self._books(job, STAYS)
        self.tally.add("stays")

    def unsynced(self, first: int) -> None:
        """One fsync fails: nothing can be trusted, the run ends, and the next one repairs."""
        job = self._job(f"unsynced-{first}")
        count = job.folder / "count"
        code = job.finish(extra=self._trouble(job, "sync", first=first, times=1, error=errno.EIO, tally=count).environ)
        failed = _failed(count)
        words = [line for line in job.stderr.splitlines() if any(word in line for word in ("fsync", "I/O error", "write-ahead log"))]
        if code == 0 and not failed:
            self.tally.add("beyond the last")  # how many there are depends on what is committed together
        elif code == 0 and not words and (failed[0] in OF_SQLITE or _at_the_end(count)):
            self.tally.add("passed over")
        elif code != BAD_DISK or len(words) != 1:
            self.tally.broke(UNSYNCED, [f"{job.name}: {failed} failed, it ended with {code}: {job.stderr[-500:]!r}"])
        self._healthy(job, UNSYNCED)
        self._books(job, UNSYNCED)
        self.tally.add("unsynced")

    def full(self, *, ends: bool) -> None:
        """A file system of 2 MB for 3 MB of pictures: it gets room, or the run is ended and started again."""
        kind = "ends" if ends else "grows"
        base = self.folder / f"full-{kind}"
        with small_disk(base / "disk", FULL_MEGABYTES):
            name = f"full-{kind}"
            job = Job(folder=base, api=self.api, name=f"{name}:", size=FULL_PROMPTS, out_dir=base / "disk" / "out").prepare()
            process = job.start("--drain", "0.5")
            heard = until(lambda: process.poll() is not None or SAYS in job.stderr, WORD_S)
            self.tally.broke(FULL, [] if heard and process.poll() is None else [f"{name}: no word, or ended: {job.stderr[-800:]!r}"])
            if ends:
                process.send_signal(signal.SIGINT)
                code = ended(process, WORD_S)
                self.tally.broke(FULL, [f"{name}: ended with {code}: {job.stderr[-800:]!r}"] if code not in {130, BAD_DISK} else [])
            enlarge(base / "disk", ROOMY_MEGABYTES)
            if ends:
                self._healthy(job, FULL)
            else:
                code = ended(process)
                self.tally.broke(FULL, [f"{name}: ended with {code}: {job.stderr[-800:]!r}"] if code else [])
                self.tally.broke(FULL, lost(job, read_lines(job.lines)))
                self._waited(job, FULL)
                again = self.api.books(job.name).paid_again
                self.tally.broke(AGAIN, [f"{name}: {again} paid twice"] if again else [])
            self._books(job, FULL)
        self.tally.add("full")

    def _job(self, kind: str) -> Job:
        base = self.folder / kind
        (base / "disk").mkdir(parents=True)
        disk = base / "disk"
        told = Job(
            folder=base, api=self.api, name=f"{kind}:", size=PROMPTS, at_once=IN_FLIGHT, out_dir=disk / "out", lines=disk / "lines.jsonl"
        )
        return told.prepare()

    def _trouble(self, job: Job, family: str, **told: Any) -> Trouble:
        return Trouble(library=self.library or Path(), under=job.folder / "disk", family=family, **told)

    def _waited(self, job: Job, question: str) -> None:
        self.tally.broke(question, [] if SAYS in job.stderr else [f"{job.name}: nothing was said of the disk: {job.stderr[-300:]!r}"])
        self.tally.broke(question, untidy(job.stderr))

    def _refused(self, job: Job, code: int, question: str) -> None:
        """At the very start there is nothing to wait for yet: one line says so, and nothing was called."""
        self.tally.add(f"{question}: refused")
        calls = self.api.books(job.name).calls
        words = [line for line in job.stderr.splitlines() if "headrace: " in line]
        if code not in {2, BAD_DISK} or calls or len(words) != 1:
            self.tally.broke(question, [f"{job.name}: ended with {code} after {len(calls)} calls: {job.stderr[-800:]!r}"])

    def _healthy(self, job: Job, question: str) -> None:
        code = job.finish()
        self.tally.broke(question, [f"{job.name}: on a good disk it ended with {code}: {job.stderr[-800:]!r}"] if code else [])
        self.tally.broke(question, lost(job, read_lines(job.lines)))

    def _books(self, job: Job, question: str) -> None:
        books, journal = self.api.books(job.name), attempts(job.out_dir)
        self.tally.broke(question, [*torn(job.out_dir), *untidy(job.stderr)])
        self.tally.broke(AGAIN, [*books_agree(books, journal), *called_after_paid(books, journal), *_too_often(job, books)])
        self.tally.add("books")


def _failed(count: Path) -> list[str]:
    """The files on which calls failed."""
    return [line.removeprefix("! ./") for line in count.read_text().splitlines() if line.startswith("!")]


def _at_the_end(count: Path) -> bool:
    """Whether what failed was of the last checkpoint, behind the last commit: what it copies was synced before, in the log."""
    lines = count.read_text().splitlines()
    first = next((at for at, line in enumerate(lines) if line.startswith("!")), len(lines))
    return all(line.endswith(("/journal.sqlite", "/journal.sqlite-wal")) for line in lines[first:])


def _too_often(job: Job, books: Books) -> Iterator[str]:
    if books.paid_again > job.at_once:
        yield f"{job.name}: {books.paid_again} paid twice, {job.at_once} were in flight"


def _spread(calls: int, *, short: bool) -> Sequence[int]:
    """Every call of a run, or some of them from the first to the last."""
    if not short:
        return range(1, calls + 1)
    return sorted({1 + (calls - 1) * step // (SHORT - 1) for step in range(SHORT)})


def _at_calls(trials: _Trials, pool: Executor, *, short: bool) -> tuple[int, int]:
    writes, syncs = pool.map(trials.calls, ("write", "sync"))
    errors = (errno.ENOSPC,) if short else (errno.ENOSPC, errno.EIO)
    which = _spread(writes, short=short)
    waiting = [pool.submit(trials.passes, first, error) for first, error in product(which, errors)]
    waiting += [pool.submit(trials.stays, first, error) for first, error in product(which[:: 2 if short else 1], errors[:1])]
    waiting += [pool.submit(trials.unsynced, first) for first in _spread(syncs, short=short)]
    for each in waiting:
        each.result()
    return writes, syncs


def outcomes(short: bool) -> list[Outcome]:
    """Let the disk fail, and see."""
    settings = SimulatorSettings(latency_s=0.05, sigma=0, pictures="template", picture_bytes=20_000)
    no_compiler, no_mounts = without_compiler(), without_mounts()
    found: list[Outcome] = []
    with TemporaryDirectory(prefix="headrace-disk-") as name, api(settings) as server, ThreadPoolExecutor(AT_ONCE) as pool:
        # The library compares names with what the kernel says, in which there are no links.
        folder = Path(name).resolve()
        trials = _Trials(server, folder, None if no_compiler else compiled(folder))
        tally, counts = trials.tally, trials.tally.counts
        full = [] if no_mounts else [pool.submit(trials.full, ends=ends) for ends in (False, True)]
        if no_compiler:
            found.append(Outcome(PASSES, 0, note=f"skipped: {no_compiler}"))
        else:
            writes, syncs = _at_calls(trials, pool, short=short)
            note = (
                f"of {writes} calls in a run of {PROMPTS} prompts; {counts[f'{PASSES}: refused']} were refused at the start, "
                f"{counts[f'{PASSES}: passed over']} passed over by SQLite at the end"
            )
            found += [
                tally.outcome(PASSES, counts["passes"], note),
                tally.outcome(STAYS, counts["stays"], f"of {writes} calls; {counts[f'{STAYS}: refused']} were refused at the start"),
                tally.outcome(UNSYNCED, counts["unsynced"], f"of {syncs} calls; {counts['passed over']} were passed over by SQLite"),
            ]
        if no_mounts:
            found.append(Outcome(FULL, 0, note=f"skipped: {no_mounts}"))
        else:
            for each in full:
                each.result()
            found.append(tally.outcome(FULL, counts["full"], f"{FULL_PROMPTS} prompts on {FULL_MEGABYTES} MB"))
        found.append(tally.outcome(AGAIN, counts["books"]))
    return found
