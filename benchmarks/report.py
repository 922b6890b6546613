"""What a report of 1,000, 10,000 and 100,000 results takes: to be made, first and again, and to be opened in Chromium where there is one.

    python benchmarks/report.py [--json FILE] [--sizes 1000 10000 100000]

Each folder is written through the journal's own classes: a fifth are hits by meaning, some fail, and each result that was paid for has a
picture file of its own (hard links to some hundred small pictures that the simulator drew). The time to make a thumbnail of a real, large
picture is measured beside it: the first report of a folder makes one for each picture, and later ones make none.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio
from show import keep, options, table

from headrace.admission.books import Known, PoolStatistics
from headrace.disk import Disk
from headrace.journal.journal import Wait, open_journal
from headrace.journal.line import journal_line
from headrace.models import Limits
from headrace.observe.recorder import Recorder
from headrace.observe.watcher import Snapshot
from headrace.offload import inline
from headrace.records import Kind, Match, Picture, Problem, Prompt, Request, Result, Status, Strategy
from headrace.simulator.pictures import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.journal.journal import Journal
    from headrace.journal.line import JournalLine

SIZES = (1_000, 10_000, 100_000)
DRAWN = 300
AT_ONCE = 1_000
WORDS = ("fox", "heron", "lighthouse", "teapot", "kite", "tram", "violin", "snail", "orchard", "comet")
LARGE = 40
REQUEST = Request(prompt="a fox", model="gpt-image-2.5-flare", size="256x256", quality="low")


def pictures(folder: Path, size: str, count: int) -> list[bytes]:
    """Different pictures as the simulator draws them."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        made.append(drawn(attrs.evolve(REQUEST, prompt=f"{WORDS[number % 10]} number {number}", size=size), 0, 0))
        (folder / f"{number}.png").write_bytes(made[-1])
    return made


class Folder:
    """An output folder in the making."""

    def __init__(self, root: Path, sources: Path) -> None:
        self._root = root
        self._sources = sources

    def picture(self, number: int) -> Picture:
        """A picture file of its own."""
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        path = self._root / "images" / digest[:2] / f"{digest}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(self._sources / f"{number % DRAWN}.png", path)
        size = path.stat().st_size
        return Picture(path=str(path.relative_to(self._root)), sha256=digest, format="png", width=256, height=256, bytes=size)

    async def fill(self, count: int) -> None:
        """So many results."""
        with open_journal(self._root, Disk(inline), fresh=False, hold=False, simulated=True) as journal:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal.writer.run)
                async with journal_line(journal, "http://simulator.localhost/v1", None) as line:
                    recorder = Recorder(journal, {"model": REQUEST.model, "simulated": True}, partial(_snapshot, count))
                    nursery.start_soon(recorder.run)
                    for start in range(0, count, AT_ONCE):
                        async with trio.open_nursery() as some:
                            for number in range(start, min(start + AT_ONCE, count)):
                                some.start_soon(self._result, journal, line, number)
                    recorder.write()
                    await journal.writer.durable()
                nursery.cancel_scope.cancel()

    async def _result(self, journal: Journal, line: JournalLine, number: int) -> None:
        words = f"a {WORDS[number % 10]} and a {WORDS[number // 10 % 10]} beside the {WORDS[number // 100 % 10]}, study number {number}"
        request = attrs.evolve(REQUEST, prompt=words, quality=("low", "medium", "high")[number % 7 % 3])
        record = await line.recall(Prompt(seq=number, id=str(number), request=request))
        assert isinstance(record, Prompt)  # noqa: S101 - the folder is new
        assert record.item is not None  # noqa: S101
        result = Result(
            seq=number, id=str(number), prompt=words, status=Status.OK, item=record.item, model=REQUEST.model, size=REQUEST.size
        )
        result = attrs.evolve(result, quality=request.quality)
        if number % 50 == 49:  # noqa: PLR2004 - two in a hundred
            error = Problem(kind=Kind.MODERATION_BLOCKED, message="Your request was rejected by the safety system.", status=400)
            await line.ended(attrs.evolve(result, status=Status.FAILED, error=error))
        elif number % 5 == 4:  # noqa: PLR2004 - one in five
            match = Match(of=str(number - 1), similarity=0.9 + number % 97 / 1_000, prompt=words.replace("beside", "next to"))
            hit = attrs.evolve(result, strategy=Strategy.CACHE_VERIFIED, images=(self.picture(number),), match=match, saved_usd=0.006)
            await line.ended(hit)
        else:
            intent = await journal.intend(record.item, f"key-{number % 8}", 0.006, Wait(f"pool-{number % 4}", 1.5, "images/min"))
            if number % 40 == 0:
                journal.failed(intent, Problem(kind=Kind.RATE_LIMITED, message="slow down", status=429))
                await journal.intend(record.item, f"key-{number % 8}", 0.006, Wait(f"pool-{number % 4}", 0.5, "images/min"))
            made = attrs.evolve(
                result, strategy=Strategy.PRIMARY, images=(self.picture(number),), latency_s=2 + number % 13 / 4, cost_usd=0.006
            )
            await line.answered(made, 0.006, ())


def _snapshot(count: int) -> Snapshot:
    pools = tuple(_pool(f"pool-{number}", count // 4) for number in range(4))
    return Snapshot(pools=pools, depths={}, in_flight=0, max_in_flight=1, spent_usd=0.0, max_cost_usd=None)


def _pool(name: str, count: int) -> PoolStatistics:
    return PoolStatistics(
        name=name,
        limits=Limits(),
        keys=(name,),
        admitted={"images": count, "tokens": 200 * count, "requests": count},
        in_flight=0,
        busy_s=3.0 * count,
        calls=count,
        refused=0,
        first_at=0.0,
        last_at=1.0,
        state="ready",
        known=(Known(resource="images", limit=50_000, source="settings"),),
        bound={"images/min": 60.0},
    )


def made(folder: Path) -> tuple[float, float]:
    """Seconds and peak megabytes of a report, made in a process of its own."""
    code = f"""
import resource, sys, time
from pathlib import Path
from headrace.report.page import write_report
started = time.perf_counter()
write_report(Path({str(folder)!r}))
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    seconds, megabytes = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.split()  # noqa: S603 - our own
    return float(seconds), float(megabytes)


def opened(page: Path) -> dict[str, float] | None:
    """Seconds until Chromium shows the first gallery page, the last one, and what a search over all finds; None without a Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - where there is a browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        window = browser.new_page()
        started = time.perf_counter()
        window.goto(page.absolute().as_uri(), wait_until="commit")
        window.locator("#cards .card").first.wait_for(timeout=120_000)
        first = time.perf_counter() - started
        started = time.perf_counter()
        field = window.locator("#pager").get_by_role("spinbutton")
        field.fill("999999")
        field.press("Enter")
        window.locator("#pager").get_by_role("button", name="Next page", disabled=True).wait_for()
        last = time.perf_counter() - started
        started = time.perf_counter()
        window.get_by_label("Words").fill("study number 777")
        window.get_by_text(" of ").filter(has_text="prompts").filter(has_not_text="Searching").first.wait_for()
        window.locator("#cards .words", has_text="study number 777").first.wait_for(timeout=120_000)
        search = time.perf_counter() - started
        browser.close()
    return {"first": first, "last": last, "search": search}


def large(scratch: Path) -> float:
    """Seconds that a thumbnail of a picture of 1024 x 1024 takes, several made at once."""
    from headrace.report.thumbnails import Thumbnails  # noqa: PLC0415 - not where folders are filled

    pictures(scratch / "sources", "1024x1024", LARGE)
    folder = Folder(scratch, scratch / "sources")
    found = []
    for number in range(LARGE):
        shutil.copy(scratch / "sources" / f"{number}.png", scratch / "sources" / f"{number}.copy")
        found.append(folder.picture(number))
    started = time.perf_counter()
    Thumbnails(scratch).prepare(found, lambda _: None)
    return (time.perf_counter() - started) / LARGE


def measure(count: int, scratch: Path, sources: Path) -> dict[str, Any]:
    """One row."""
    root = scratch / f"{count}"
    root.mkdir(mode=0o700)
    trio.run(Folder(root, sources).fill, count)
    first_s, first_mb = made(root)
    again_s, again_mb = made(root)
    page = root / "report.html"
    found = {
        "results": count,
        "first_s": first_s,
        "again_s": again_s,
        "peak_mb": max(first_mb, again_mb),
        "page_mb": page.stat().st_size / 1e6,
        "thumbnails_mb": sum(each.stat().st_size for each in (root / "thumbnails").rglob("*.webp")) / 1e6,
        "opened": opened(page),
    }
    print(json.dumps(found), file=sys.stderr)
    return found


def shown(row: dict[str, Any]) -> Sequence[str]:
    """One row in words."""
    seconds = row["opened"] or {}
    browser = [f"{seconds[name]:.1f} s" if name in seconds else "-" for name in ("first", "last", "search")]
    made_in = [f"{row['first_s']:.1f} s", f"{row['again_s']:.1f} s", f"{row['peak_mb']:.0f} MB", f"{row['page_mb']:.1f} MB"]
    return [f"{row['results']:,}", *made_in, f"{row['thumbnails_mb']:.0f} MB", *browser]


def main() -> None:
    """Make the folders and the reports."""
    parser = options(__doc__, seed=None)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        pictures(scratch / "sources", REQUEST.size, DRAWN)
        rows = [measure(count, scratch, scratch / "sources") for count in asked.sizes]
        large_s = large(scratch / "large")
    columns = ("results", "first", "again", "peak", "page", "thumbnails", "first gallery page", "last page", "search in all")
    table("Report: seconds to make it, its size, and in Chromium", columns, map(shown, rows))
    print(f"the thumbnail of a PNG of 1024 x 1024 takes {1000 * large_s:.1f} ms, where several are made at once")
    keep(asked.json, {"rows": rows, "large_thumbnail_s": large_s})


if __name__ == "__main__":
    main()
