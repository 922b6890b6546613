"""Power cuts: a job works on an ext4 image, is frozen, and the image is copied as it lies on the disk; the copy is what a cut leaves.

What was said before the cut, in a file elsewhere, has to be in the copy. Without fsync it is not: the control has to fail.
"""

from __future__ import annotations

import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs

from headrace.simulator import SimulatorSettings
from reliability.checks import attempts, books_agree, called_after_paid, lost, read_lines, torn, unpictured, untidy
from reliability.images import copy, mounted, new_image, without_mounts
from reliability.outcome import Outcome
from reliability.processes import JOURNAL, Job, dice, pause, until
from reliability.server import Api, api
from reliability.shim import Trouble, compiled, without_compiler
from reliability.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from subprocess import Popen

CUTS = 60
CUTS_SHORT = 3
CONTROLS = 10
PROMPTS = 150
IN_FLIGHT = 16
LATENCY_S = 0.2

ACKNOWLEDGED = "power cut: acknowledged rows lost"
TORN = "power cut: pictures torn"
RESUME = "power cut: lost or called again in the run afterwards"
CONTROL = "power cut, the control without fsync: cuts that lost nothing"
PICTURES = "power cut, the control without fsync of pictures: cuts that tore nothing"


@attrs.define(eq=False)
class _Trials:
    api: Api
    folder: Path
    seed: int
    library: Path | None
    tally: Tally = attrs.field(factory=Tally)

    def cut(self, number: int) -> None:
        """One cut, and a run to the end on what it left."""
        job, base = self._job("cuts", number)
        said = self._frozen(job, base, number, {})
        after = base / "after"
        with mounted(base / "cut.img", after):
            out_dir = after / "out"
            self.tally.broke(ACKNOWLEDGED, _unknown(out_dir, said))
            self.tally.broke(TORN, [*torn(out_dir), *unpictured(out_dir, said)])
            left = attrs.evolve(job, out_dir=out_dir)
            code = left.finish()
            books, journal = self.api.books(job.name), attempts(out_dir)
            self.tally.broke(RESUME, [f"{job.name}: ended with {code}: {job.stderr[-800:]!r}"] if code else [])
            self.tally.broke(RESUME, [*lost(left, read_lines(job.lines)), *torn(out_dir), *untidy(job.stderr)])
            self.tally.broke(RESUME, [*books_agree(books, journal), *called_after_paid(books, journal)])
            again = books.paid_again
            self.tally.broke(RESUME, [f"{job.name}: {again} paid twice"] if again > IN_FLIGHT else [])
        self.tally.add("cuts")
        self.tally.add("acknowledged", len(said))

    def control(self, number: int, question: str, under: str) -> None:
        """The same where fsync does nothing: it has to lose what was acknowledged, or tear it."""
        if self.library is None:
            return
        job, base = self._job("controls" + under.replace("/", "-"), number)
        trouble = Trouble(library=self.library, under=job.out_dir / under if under else job.out_dir, family="lie")
        said = self._frozen(job, base, number, trouble.environ)
        after = base / "after"
        with mounted(base / "cut.img", after):
            out_dir = after / "out"
            broken = [*_unknown(out_dir, said), *torn(out_dir), *unpictured(out_dir, said)]
        self.tally.broke(question, [] if broken else [f"{job.name}: nothing was lost of {len(said)}"])
        self.tally.add(question)
        self.tally.add(f"{question}: lost", len(broken))
        self.tally.add(f"{question}: said", len(said))

    def _job(self, kind: str, number: int) -> tuple[Job, Path]:
        name = f"{kind}-{self.seed}-{number}"
        base = self.folder / name
        out_dir = base / "disk" / "out"
        return Job(folder=base, api=self.api, name=f"{name}:", size=PROMPTS, at_once=IN_FLIGHT, out_dir=out_dir).prepare(), base

    def _frozen(self, job: Job, base: Path, number: int, extra: Mapping[str, str]) -> list[dict[str, Any]]:
        """Run on a new image, freeze at a random moment, copy the image; what had been said until then."""
        rng = dice(self.seed, number)
        image = base / "disk.img"
        new_image(image)
        with mounted(image, base / "disk"):
            process = job.start(extra=extra)
            try:
                until(lambda: bool(read_lines(job.lines)) or process.poll() is not None, 30)
                pause(rng.uniform(0, 0.9 * PROMPTS * LATENCY_S / IN_FLIGHT))
                process.send_signal(signal.SIGSTOP)
                until(lambda: _stopped(process), 10)
                said = read_lines(job.lines)
                copy(image, base / "cut.img")
            finally:
                process.kill()
                process.wait()
        return said


def _stopped(process: Popen[bytes]) -> bool:
    # A call that is in the kernel ends first; the state is the third word, behind a name in brackets.
    path = Path(f"/proc/{process.pid}/task")
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in path.iterdir()]
    return all(state in "TtZX" for state in states)


def _unknown(out_dir: Path, said: list[dict[str, Any]]) -> Iterator[str]:
    """Lines that were said and of which the journal knows nothing."""
    known: set[str] = set()
    if (out_dir / JOURNAL).exists():
        try:
            with closing(sqlite3.connect(out_dir / JOURNAL)) as database:
                known = {name for (name,) in database.execute("SELECT name FROM item WHERE status = 'ok'")}
        except sqlite3.DatabaseError as error:
            yield f"{out_dir}: the journal cannot be read: {error}"
    for line in said:
        if line["id"] not in known:
            yield f"{out_dir}: {line['id']} was said and is not in the journal"


def outcomes(short: bool, seed: int = 1) -> list[Outcome]:
    """Cut the power, and see."""
    why = without_mounts("mkfs.ext4")
    if why:
        return [Outcome(ACKNOWLEDGED, 0, note=f"skipped: {why}")]
    settings = SimulatorSettings(latency_s=LATENCY_S, sigma=0.4, pictures="template", picture_bytes=20_000, seed=seed)
    cuts, controls = (CUTS_SHORT, 1) if short else (CUTS, CONTROLS)
    with TemporaryDirectory(prefix="headrace-power-") as name, api(settings) as server, ThreadPoolExecutor(2) as pool:
        folder = Path(name).resolve()
        no_compiler = without_compiler()
        trials = _Trials(server, folder, seed, None if no_compiler else compiled(folder))
        tried = [pool.submit(trials.cut, number) for number in range(cuts)]
        for question, under in ((CONTROL, ""), (PICTURES, "images")):
            tried += [pool.submit(trials.control, number, question, under) for number in range(controls)]
        for each in tried:
            each.result()
    tally, counts = trials.tally, trials.tally.counts
    acknowledged = counts["acknowledged"]
    found = [
        tally.outcome(ACKNOWLEDGED, counts["cuts"], f"{acknowledged} rows were acknowledged at the cuts"),
        tally.outcome(TORN, counts["cuts"]),
        tally.outcome(RESUME, counts["cuts"]),
    ]
    if no_compiler:
        return [*found, Outcome(CONTROL, 0, note=f"skipped: {no_compiler}")]
    lost_of = {
        question: f"{counts[f'{question}: said']} rows were acknowledged; {counts[f'{question}: lost']} rows and pictures were lost or torn"
        for question in (CONTROL, PICTURES)
    }
    return [*found, *(tally.outcome(question, counts[question], note) for question, note in lost_of.items())]
