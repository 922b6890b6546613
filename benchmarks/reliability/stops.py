"""Signals at random moments: the first lets what is in flight come out, the second cancels; and readers of stdout that go away."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import attrs

from headrace.cli.execute import ONE_SIGNAL_S
from headrace.simulator import SimulatorSettings
from reliability.checks import attempts, books_agree, called_after_paid, lost, read_lines, torn, uncovered, untidy
from reliability.processes import JOURNAL, Job, dice, ended, pause, until
from reliability.server import Api, api
from reliability.tally import Tally

if TYPE_CHECKING:
    from subprocess import Popen

    from reliability.outcome import Outcome

STOPS = 115  # some of them come when the run has ended
STOPS_SHORT = 6
PROMPTS = 64
IN_FLIGHT = 16
LATENCY_S = 0.3
START_S = 0.8
DRAIN_S = 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LOST = "stop: prompts lost"
TWICE = "stop: paid twice, or in doubt"
DRAIN = "stop: longer than the drain"
STATUS = "stop: wrong exit status, or tracebacks"
CANCEL = "second signal: lost, or paid twice and not named"
PIPE = "reader of stdout gone: lost, or paid twice"


@attrs.define(eq=False)
class _Trials:
    api: Api
    folder: Path
    seed: int
    tally: Tally = attrs.field(factory=Tally)
    longest_s: float = 0.0

    def _job(self, kind: str, number: int) -> Job:
        name = f"{kind}-{self.seed}-{number}"
        return Job(folder=self.folder / name, api=self.api, name=f"{name}:", size=PROMPTS, at_once=IN_FLIGHT).prepare()

    def stop(self, number: int) -> None:
        """One signal, at any moment of a run; then the run to its end."""
        rng = dice(self.seed, number)
        job = self._job("stops", number)
        sent = SIGNALS[number % len(SIGNALS)]
        process = job.start("--drain", str(DRAIN_S))
        if number % 4 == 0:
            pause(rng.uniform(0.05, START_S))
        else:
            _at_work(job, process)
            pause(rng.uniform(0, 0.8 * PROMPTS * LATENCY_S / IN_FLIGHT))
        process.send_signal(sent)
        began = time.monotonic()
        code = ended(process)
        took = time.monotonic() - began
        self.longest_s = max(self.longest_s, took)
        self.tally.broke(DRAIN, [f"{job.name}: {took:.1f} s after {sent.name}"] if took > DRAIN_S else [])
        begun = (job.out_dir / JOURNAL).exists()
        # Before headrace has its first word the interpreter ends as every program does.
        right = {128 + sent, 0} if begun else {128 + sent, -sent, 0}
        self.tally.add("stops", code != 0)
        self.tally.broke(STATUS, [f"{job.name}: {code} after {sent.name}: {job.stderr[-800:]!r}"] if code not in right else [])
        self.tally.broke(STATUS, untidy(job.stderr) if begun else [])
        open_or_lost = {name: outcome for name, outcome in attempts(job.out_dir).items() if outcome in (None, "unknown")}
        self.tally.broke(TWICE, [f"{job.name}: after {sent.name} in doubt: {open_or_lost}"] if open_or_lost else [])
        self.tally.broke(LOST, torn(job.out_dir))
        self._end(job, LOST, TWICE)
        again = self.api.books(job.name).paid_again
        self.tally.broke(TWICE, [f"{job.name}: {again} paid twice after {sent.name}"] if again else [])

    def cancel(self, number: int) -> None:
        """Two signals: what was in flight is in doubt and named."""
        rng = dice(self.seed, number, 2)
        job = self._job("cancels", number)
        first, second = rng.choice(SIGNALS), rng.choice(SIGNALS)
        process = job.start("--drain", str(DRAIN_S))
        _at_work(job, process)
        pause(rng.uniform(0.1, 0.5 * PROMPTS * LATENCY_S / IN_FLIGHT))
        process.send_signal(first)
        # The same signal again at once would count as the first.
        soonest_s = ONE_SIGNAL_S + 0.05 if second == first else 0.01
        pause(soonest_s + rng.uniform(0, LATENCY_S / 2))
        began = time.monotonic()
        process.send_signal(second)
        code = ended(process)
        took = time.monotonic() - began
        # Behind its last words nothing is left to be lost, and a signal ends it as it ends every program.
        said = any(words in job.stderr for words in ("goes on from here", "stopped before it began"))
        right = {128 + first, 0, -second} if said else {128 + first, 0}
        if code not in right or took > 5:  # noqa: PLR2004
            self.tally.broke(CANCEL, [f"{job.name}: {code} after {first.name}, {took:.1f} s after {second.name}: {job.stderr[-800:]!r}"])
        doubts = sum(outcome in (None, "unknown") for outcome in attempts(job.out_dir).values())
        self.tally.add("cancelled in doubt", doubts)
        self.tally.broke(CANCEL, [f"{job.name}: {doubts} in doubt"] if doubts > IN_FLIGHT else [])
        self._end(job, CANCEL, CANCEL)
        self.tally.add("cancels")

    def pipe(self, number: int) -> None:
        """Lines go to a reader that leaves after a few."""
        job = self._job("pipes", number)
        process = job.start(stdout=subprocess.PIPE)
        _read_some(process, number % 7)
        code = ended(process)
        self.tally.broke(PIPE, [f"{job.name}: ended with {code}: {job.stderr[-800:]!r}"] if code not in {74, 141, 0} else [])
        doubts = {name: outcome for name, outcome in attempts(job.out_dir).items() if outcome in (None, "unknown")}
        self.tally.broke(PIPE, [f"{job.name}: in doubt: {doubts}"] if doubts else [])
        self._end(job, PIPE, PIPE)
        again = self.api.books(job.name).paid_again
        self.tally.broke(PIPE, [f"{job.name}: {again} paid twice"] if again else [])
        self.tally.add("pipes", code != 0)

    def _end(self, job: Job, lose: str, pay: str) -> None:
        code = job.finish()
        self.tally.broke(lose, [f"{job.name}: the run afterwards ended with {code}: {job.stderr[-800:]!r}"] if code else [])
        self.tally.broke(lose, lost(job, read_lines(job.lines)))
        self.tally.broke(lose, torn(job.out_dir))
        books, journal = self.api.books(job.name), attempts(job.out_dir)
        self.tally.broke(pay, itertools.chain(books_agree(books, journal), called_after_paid(books, journal)))
        if books.paid_again:
            self.tally.broke(pay, uncovered(job, books, job.status()))


def _at_work(job: Job, process: Popen[bytes]) -> None:
    until(lambda: process.poll() is not None or bool(job.written_at))


def _read_some(process: Popen[bytes], lines: int) -> None:
    stdout = process.stdout
    if stdout is not None:
        for _ in range(lines):
            stdout.readline()
        stdout.close()


def outcomes(short: bool, seed: int = 1) -> list[Outcome]:
    """Stop, and see."""
    stops = STOPS_SHORT if short else STOPS
    others = max(2, stops // 5)
    settings = SimulatorSettings(latency_s=LATENCY_S, sigma=0.4, pictures="template", picture_bytes=20_000, seed=seed)
    with TemporaryDirectory(prefix="headrace-stops-") as folder, api(settings) as server, ThreadPoolExecutor(2) as pool:
        trials = _Trials(server, Path(folder), seed)
        tried = [pool.submit(trials.stop, number) for number in range(stops)]
        tried += [pool.submit(trial, number) for trial in (trials.cancel, trials.pipe) for number in range(others)]
        for each in tried:
            each.result()
    tally, counts = trials.tally, trials.tally.counts
    done = counts["stops"]
    return [
        tally.outcome(LOST, done, f"{PROMPTS} prompts, {IN_FLIGHT} in flight; SIGINT, SIGTERM and SIGHUP in turn"),
        tally.outcome(TWICE, done),
        tally.outcome(DRAIN, done, f"the longest took {trials.longest_s:.1f} s of {DRAIN_S}"),
        tally.outcome(STATUS, done, "130, 143 and 129"),
        tally.outcome(CANCEL, counts["cancels"], f"{counts['cancelled in doubt'] / max(1, counts['cancels']):.1f} in doubt each"),
        tally.outcome(PIPE, counts["pipes"]),
    ]
