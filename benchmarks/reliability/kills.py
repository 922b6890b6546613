"""kill -9 at random moments of a process's whole life, and at every point where the order of what is written matters.

A job is started, killed, started again on the same folder, some five times, and then run to its end. The simulator's bill is the truth.
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import attrs

from headrace.simulator import SimulatorSettings
from reliability.checks import attempts, books_agree, called_after_paid, lost, read_lines, read_stream, torn, uncovered, untidy
from reliability.processes import Job, dice, ended, pause, until
from reliability.server import Api, api
from reliability.tally import Tally

if TYPE_CHECKING:
    from random import Random

    from reliability.outcome import Outcome

KILLS = 320
KILLS_SHORT = 40
IN_FLIGHT = 16
PROMPTS = 120
A_JOB = 6
LATENCY_S = 0.2
START_S = 1.0
"""About so long a process takes to its first call."""
POINTS = ("intent_durable", "answered", "picture_written", "picture_placed", "finished", "line_written", "line_recorded")
STDOUT = "stdout.jsonl"
MANNERS = ("file", "file", "stdout", "cache", "hold")

LOST = "kill -9: prompts lost"
TORN = "kill -9: pictures torn"
AGAIN = "kill -9: finished prompts called again"
TWICE = "kill -9: more in doubt, or paid twice, than were in flight"
NAMED = "kill -9: paid twice and not named by status"
BOOKS = "kill -9: bill and journal disagree"
SAID = "kill -9: tracebacks, keys or wrong exit status"
HELD = "kill -9: paid twice with --in-doubt hold"


@attrs.define(eq=False)
class _Trials:
    api: Api
    folder: Path
    seed: int
    wanted: int
    tally: Tally = attrs.field(factory=Tally)

    def job(self, number: int) -> None:
        """One job with its kills, then to its end."""
        if self.tally.counts["kills"] >= self.wanted:
            return
        rng = dice(self.seed, number)
        manner = MANNERS[number % len(MANNERS)]
        name = f"kills-{self.seed}-{number}"
        cache = "exact" if manner == "cache" else "off"
        job = Job(folder=self.folder / name, api=self.api, name=f"{name}:", size=PROMPTS, at_once=IN_FLIGHT, cache=cache).prepare()
        finished: set[str] = set()
        doubtful: set[str] = set()
        kills = 0
        for _ in range(A_JOB):
            hit = self._killed(job, rng, manner, left=PROMPTS - len(finished))
            journal = attempts(job.out_dir)
            self.tally.broke(AGAIN, [f"{name}: {one} was paid and is not any more" for one in finished if journal.get(one) != "paid"])
            finished = {one for one, outcome in journal.items() if outcome == "paid"}
            if not hit:
                break
            kills += 1
            # Those of earlier kills stay until their prompt is asked again.
            now = {one for one, outcome in journal.items() if outcome is None}
            doubts, doubtful = len(now - doubtful), now
            self.tally.add("kills")
            self.tally.add("doubts", doubts)
            self.tally.broke(TWICE, [f"{name}: {doubts} more in doubt after kill {kills}"] if doubts > IN_FLIGHT else [])
            self.tally.broke(TORN, torn(job.out_dir))
        self._end(job, manner, finished, kills)

    def _killed(self, job: Job, rng: Random, manner: str, left: int) -> bool:
        extra: dict[str, str] = {}
        patience, at_work = None, None
        if rng.random() < 0.4:  # noqa: PLR2004
            extra["HEADRACE_CHAOS"] = f"{rng.choice(POINTS)}:{rng.randint(1, 12)}"
        elif rng.random() < 0.25:  # noqa: PLR2004
            patience = rng.uniform(0, START_S)
        else:
            patience = rng.uniform(0, min(left, PROMPTS // 2) * LATENCY_S / IN_FLIGHT)
            at_work = job.written_at
        options = ["--in-doubt", "hold"] if manner == "hold" else []
        process = job.start(*options, extra=extra, stdout=job.folder / STDOUT if manner == "stdout" else None)
        if patience is None:
            code = ended(process)
            if code == -signal.SIGKILL:
                self.tally.add(extra["HEADRACE_CHAOS"].partition(":")[0])
        else:
            # A start takes longer the more goes on beside it: what is not to fall into it waits for the first rows.
            until(lambda: at_work is None or process.poll() is not None or job.written_at != at_work)
            pause(patience)
            process.kill()
            code = process.wait()
        if manner == "stdout":
            # What the killed one said last may be half a line; the next begins its own.
            with (job.folder / STDOUT).open("ab") as lines:
                lines.write(b"\n")
        if code not in (-signal.SIGKILL, 0) and not (manner == "hold" and code == 1):
            self.tally.broke(SAID, [f"{job.name} ended with {code}: {job.stderr[-500:]!r}"])
        return code == -signal.SIGKILL

    def _end(self, job: Job, manner: str, finished: set[str], kills: int) -> None:
        tally = self.tally
        held = 0
        if manner == "hold":
            held = self._held(job)
        if manner == "stdout":
            code = ended(job.start(stdout=job.folder / STDOUT))
            tally.broke(LOST, lost(job, read_stream(job.folder / STDOUT)))
        else:
            code = job.finish()
            tally.broke(LOST, lost(job, read_lines(job.lines)))
        tally.broke(SAID, [f"{job.name} ended with {code}: {job.stderr[-500:]!r}"] if code else [])
        tally.broke(SAID, untidy(job.stderr))
        books, journal, status = self.api.books(job.name), attempts(job.out_dir), job.status()
        tally.broke(TORN, torn(job.out_dir))
        tally.broke(AGAIN, called_after_paid(books, journal))
        tally.broke(AGAIN, [f"{job.name}: {one} was paid and is not any more" for one in finished if journal.get(one) != "paid"])
        tally.broke(BOOKS, books_agree(books, journal))
        tally.broke(NAMED, uncovered(job, books, status))
        if status["ok"] != job.size or status["unfinished"] or status["in_doubt"] or status["running"]:
            tally.broke(BOOKS, [f"{job.name}: status says {status}"])
        again = books.paid_again
        tally.broke(TWICE, [f"{job.name}: {again} paid twice after {kills} kills"] if again > IN_FLIGHT * kills else [])
        tally.add("jobs")
        tally.add("prompts", job.size)
        tally.add("paid twice", again)
        tally.add("held", held)

    def _held(self, job: Job) -> int:
        """With ``hold`` nothing is paid twice; what is in doubt has a line that says so."""
        code = job.finish("--in-doubt", "hold")
        lines, status, books = read_lines(job.lines), job.status(), self.api.books(job.name)
        held = {line["id"] for line in lines if line["status"] == "skipped" and line["error"]["kind"] == "in_doubt"}
        rest = [line for line in lines if line["id"] not in held]
        missing = [name for name in job.prompts if sum(line["id"] == name for line in lines) != 1]
        self.tally.broke(LOST, [f"{job.name}: {name} has not one line with hold" for name in missing])
        self.tally.broke(LOST, [f"{job.name}: {line['id']} is {line['status']} with hold" for line in rest if line["status"] != "ok"])
        self.tally.broke(HELD, [f"{job.name}: paid {books.paid_again} times too often"] if books.paid_again else [])
        self.tally.broke(HELD, [f"{job.name}: {name} is held, status does not name it" for name in held - _names(status["in_doubt"])])
        self.tally.broke(SAID, [f"{job.name} ended with {code} and {len(held)} held"] if code != bool(held) else [])
        return len(held)


def _names(entries: list[dict[str, str]]) -> set[str]:
    return {entry["id"] for entry in entries}


def outcomes(short: bool, seed: int = 1) -> list[Outcome]:
    """Kill, and see."""
    wanted = KILLS_SHORT if short else KILLS
    settings = SimulatorSettings(latency_s=LATENCY_S, sigma=0.4, pictures="template", picture_bytes=20_000, seed=seed)
    began = time.monotonic()
    with TemporaryDirectory(prefix="headrace-kills-") as folder, api(settings) as server, ThreadPoolExecutor(2) as pool:
        trials = _Trials(server, Path(folder), seed, wanted)
        list(pool.map(trials.job, range(wanted)))
    tally = trials.tally
    counts, kills = tally.counts, tally.counts["kills"]
    took = f"{counts['jobs']} jobs of {PROMPTS} prompts, {IN_FLIGHT} in flight, in {time.monotonic() - began:.0f} s"
    points = ", ".join(f"{point} {counts[point]}" for point in POINTS)
    doubts = (
        f"a kill: {counts['doubts'] / kills:.1f} in doubt (at most {tally.peaks['doubts']}), {counts['paid twice'] / kills:.1f} paid twice"
    )
    return [
        tally.outcome(LOST, kills, took),
        tally.outcome(TORN, kills),
        tally.outcome(AGAIN, kills),
        tally.outcome(TWICE, kills, doubts),
        tally.outcome(NAMED, kills, f"{counts['paid twice']} payments"),
        tally.outcome(BOOKS, kills),
        tally.outcome(SAID, kills, f"kills at points: {points}"),
        tally.outcome(HELD, kills // len(MANNERS), f"{counts['held']} held"),
    ]
