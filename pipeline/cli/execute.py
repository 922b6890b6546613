"""One run from start to end: signals, the live view, the summary, the exit status."""

from __future__ import annotations

import math
import os
import signal
import stat
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.assembly import open_race
from headrace.cli.options import refuse_impossible
from headrace.cli.outputs import Outputs
from headrace.columns import Columns
from headrace.errors import StoppedError, UsageError, lone
from headrace.journal.database import FILE, LOCK
from headrace.lines import open_input
from headrace.observe.counters import Counters
from headrace.observe.show import Progress, Show
from headrace.observe.summary import doubts, summary
from headrace.records import Status
from headrace.sources import Source
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.outcome import Results
    from headrace.race import Race
    from headrace.records import Result
    from headrace.settings import Settings

_STDIN = 0
ONE_SIGNAL_S = 0.25
"""The same signal again within so many seconds of the first counts as one: GNU timeout sends its own to us and to our group as well."""


@attrs.frozen(kw_only=True)
class Job:
    """What one ``headrace run`` is to do."""

    settings: Settings
    source: str
    output: str
    format: str
    drain_s: float
    progress: Progress
    fresh: bool
    columns: Columns = attrs.field(factory=Columns)
    """Of a table."""
    pictures_to: str | None = None
    """Where pictures are copied to."""
    shards: str | None = None
    """Where they are packed into tar files."""


def execute(job: Job) -> int:
    """Run it; returns the exit status.

    Raises:
        HeadraceError: it could not start, or had to end early.
    """
    refuse_impossible(job.settings.request)
    try:
        return trio.run(_Run(job).main)
    except BaseExceptionGroup as group:
        raise lone(group) from None


class _Run:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._counters = Counters()
        self._signal: int | None = None
        self._whole = trio.CancelScope()
        self._race: Race | None = None
        self._results: Results | None = None
        self._outputs = Outputs(Path(job.settings.run.out_dir), self._drain_in_time)
        self._stopped: StoppedError | None = None
        self._show: Show | None = None

    async def main(self) -> int:
        job = self._job
        if job.source == "-" and sys.stdin is None:
            raise UsageError("stdin is closed; name a file with one prompt a line, or pipe prompts in")
        handle = _STDIN if job.source == "-" else open_input(Path(job.source))
        _refuse_to_overwrite(handle, job.output, job.settings.run.out_dir)
        if handle == _STDIN and sys.stdin is not None and os.isatty(_STDIN):
            _say("reading prompts from the terminal, one a line; Ctrl-D ends them")
        # From the first moment to the last a signal is ours: none may end the run without a word.
        async with trio.open_nursery() as beside:
            await beside.start(self._signals)
            with self._whole:
                await self._line(handle)
            beside.cancel_scope.cancel()
        if self._stopped is not None:
            raise self._stopped
        if (error := self._outputs.error) is not None:
            raise error
        if self._signal is not None:
            return 128 + self._signal
        return 0 if self._counters.by_status.keys() <= {Status.OK} else 1

    async def _line(self, handle: int) -> None:
        job, started = self._job, trio.current_time()
        async with AsyncExitStack() as stack:
            # The file is closed behind the journal, which has its last lines synced.
            stack.callback(self._outputs.close)
            reading = await stack.enter_async_context(Source(job.source, job.format, job.columns).reading(handle))
            if reading.layout is not None:
                _say(reading.layout.told())
            self._race = race = await stack.enter_async_context(open_race(job.settings, fresh=job.fresh))
            self._counters = race.counters
            if race.metrics_url is not None:
                _say(f"metrics: {race.metrics_url}")
            if job.pictures_to is not None:
                await self._outputs.copy_to(job.pictures_to)
            if job.shards is not None:
                self._outputs.pack_into(job.shards)
            file = await self._outputs.open(job.output, race, _what_is_asked(job, handle, race.url))
            self._show = Show(job.progress, handle, writes_stdout=job.output == "-", count=reading.count)
            try:
                race_line = race.results(reading.items, format=job.format, write=self._write, output=file)
                shown = self._show.running(self._counters, race.snapshot, race.alerts)
                async with race_line as self._results, shown:
                    await self._consume(self._results)
                if file is not None and self._results.complete and self._outputs.error is None:
                    file.complete()
            finally:
                self._tell(race, trio.current_time() - started, unwritten=self._outputs.error is not None)

    async def _write(self, results: Sequence[Result]) -> None:
        assert self._show is not None  # noqa: S101 - it was made before there is anything to write
        if await self._outputs.ready(results):
            async with self._show.aside():
                await self._outputs.write(results)

    async def _consume(self, results: Results) -> None:
        try:
            async for _ in results:
                pass
        except StoppedError as error:
            self._stopped = error

    async def _signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        came = -math.inf
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            task_status.started()
            async for number in received:
                if number == self._signal and trio.current_time() - came < ONE_SIGNAL_S:
                    continue
                if self._signal is not None:
                    _say("cancelled; calls that were under way may have been paid")
                    if self._race is not None:
                        self._race.give_up_telling()
                    self._whole.cancel()
                    continue
                self._signal, came = number, trio.current_time()
                if self._results is None:
                    _say("stopped before it began")
                    self._whole.cancel()
                    continue
                in_flight = self._results.in_flight
                _say(f"stopping: {in_flight} prompts in flight come out within {self._job.drain_s:g} s; again to cancel them")
                self._drain_in_time()

    def _drain_in_time(self) -> None:
        if self._results is not None:
            self._whole.deadline = trio.current_time() + self._job.drain_s
            self._results.drain()

    def _tell(self, race: Race, elapsed_s: float, *, unwritten: bool) -> None:
        for text in summary(self._counters, race.statistics(), elapsed_s, race.max_in_flight):
            _say(text)
        folder = self._job.settings.run.out_dir
        left = self._results.in_flight if self._results is not None else 0
        for text in doubts(race.journal, left, folder):
            _say(text)
        if self._signal is not None or self._stopped is not None or left or unwritten:
            how = "the same command without --fresh" if self._job.fresh else "the same command"
            _say(f"{how} goes on from here: what is finished is not paid for again")
        if self._counters.pictures_made or self._counters.free:
            _say(f"pictures: {Path(folder) / 'images'}")


def _what_is_asked(job: Job, handle: int, url: str) -> str | None:
    """Changes whenever lines of an earlier run may not be those of this one; None where what is read cannot be known, as from a pipe."""
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        return None
    read = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, job.format, job.columns, job.pictures_to)
    settings = job.settings
    return repr((read, url, settings.request, settings.cache.namespace, settings.run.ordered))


def _refuse_to_overwrite(handle: int, output: str, folder: str) -> None:
    try:
        there, source = os.stat(output), os.fstat(handle)  # noqa: PTH116 - beside a descriptor
    except OSError:
        return
    if output != "-" and os.path.samestat(there, source) and stat.S_ISREG(source.st_mode):
        raise UsageError(f"{output} holds the prompts; choose another file for the results")
    for name in (FILE, f"{FILE}-wal", f"{FILE}-shm", LOCK):
        with suppress(OSError):
            if output != "-" and Path(output).samefile(Path(folder) / name):
                raise UsageError(f"{output} is the journal; choose another file for the results")


def _say(text: str) -> None:
    try:
        print(f"headrace: {clean(text)}", file=sys.stderr, flush=True)  # noqa: T201 - this is what a person reads
    except OSError:
        # Without a stderr there is nobody to tell, and the run is none the worse.
        return
