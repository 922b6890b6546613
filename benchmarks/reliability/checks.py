"""What has to be true of a job's folder, its lines and its bill; every check returns what is wrong, in words."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from PIL import Image

from reliability.processes import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reliability.processes import Job
    from reliability.server import Books

_MAYBE = (None, "unknown")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; what stands after the last line end was never said."""
    if not path.exists():
        return []
    *whole, _ = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in whole]


def read_stream(path: Path) -> list[dict[str, Any]]:
    """The last line of each id among what several runs said, where each may have been killed in the middle of a line."""
    found: dict[str, dict[str, Any]] = {}
    for text in path.read_bytes().split(b"\n") if path.exists() else ():
        with suppress(ValueError):
            line = json.loads(text)
            found[line["id"]] = line
    return list(found.values())


def lost(job: Job, lines: list[dict[str, Any]], *, status: str = "ok") -> Iterator[str]:
    """Prompts without exactly one line, or with one that is not ``status``, or whose picture is not there."""
    found = Counter(line["id"] for line in lines)
    for name in job.prompts.keys() | found.keys():
        if found[name] != 1 or name not in job.prompts:
            yield f"{job.name}: {name} has {found[name]} lines"
    for line in lines:
        if line["status"] != status:
            yield f"{job.name}: {line['id']} is {line['status']}: {line['error']}"
    yield from unpictured(job.out_dir, lines)


def unpictured(out_dir: Path, lines: list[dict[str, Any]]) -> Iterator[str]:
    """Lines that say ok and whose picture is not there, or not whole."""
    for line in lines:
        if line["status"] == "ok":
            if not line["images"]:
                yield f"{out_dir}: {line['id']} is ok and has no picture"
            for picture in line["images"]:
                path = out_dir / picture["path"]
                if not path.exists():
                    yield f"{out_dir}: the picture of {line['id']} is not there"
                elif path.stat().st_size != picture["bytes"]:
                    yield f"{out_dir}: the picture of {line['id']} has {path.stat().st_size} bytes of {picture['bytes']}"


def torn(out_dir: Path) -> Iterator[str]:
    """Picture files whose content is not what their name says, or is no picture."""
    images = out_dir / "images"
    for path in images.rglob("*") if images.is_dir() else ():
        if path.is_file() and path.suffix != ".part":
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != path.stem:
                yield f"{path} is torn: {len(data)} bytes"
            else:
                try:
                    with Image.open(path) as picture:
                        picture.verify()
                except (OSError, SyntaxError) as error:
                    yield f"{path} is no picture: {error}"


def attempts(out_dir: Path) -> dict[str, str | None]:
    """Request id -> outcome, of every attempt in the journal; it is read from a copy, so that nothing changes before the next start."""
    with TemporaryDirectory() as copy:
        for path in out_dir.glob(f"{JOURNAL}*"):
            shutil.copy(path, copy)
        here = Path(copy, JOURNAL)
        if not here.exists():
            return {}
        with closing(sqlite3.connect(here)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'attempt'").fetchone():
                return {}
            return dict(database.execute("SELECT request_id, outcome FROM attempt"))


def books_agree(books: Books, journal: Mapping[str, str | None]) -> Iterator[str]:
    """Whether the bill of every prompt lies between what the journal knows was paid and what it holds possible."""
    for prompt, names in books.calls.items():
        if len(set(names)) != len(names):
            yield f"{prompt!r}: two calls had the same request id"
        for name in names:
            if name not in journal:
                yield f"{prompt!r}: the call {name!r} is not in the journal"
        known = [journal.get(name) for name in names]
        sure = sum(outcome in ("paid", "spoilt") for outcome in known)
        most = sure + sum(outcome in _MAYBE for outcome in known)
        bill = books.bill.get(prompt, 0)
        if not sure <= bill <= most:
            yield f"{prompt!r} was paid {bill} times, the journal says {sure} to {most}: {known}"


def called_after_paid(books: Books, journal: Mapping[str, str | None]) -> Iterator[str]:
    """Prompts for which another call arrived after the one that the journal has as paid."""
    for prompt, names in books.calls.items():
        for name in names[:-1]:
            if journal.get(name) == "paid":
                yield f"{prompt!r} was finished by {name} and called again: {names}"


def uncovered(job: Job, books: Books, status: Mapping[str, Any]) -> Iterator[str]:
    """Prompts that were paid more than once and are not in the list of those that may have been."""
    named = {entry["id"] for entry in (*status["in_doubt"], *status["perhaps_paid"])}
    for name, prompt in job.prompts.items():
        if books.bill.get(prompt, 0) > 1 and name not in named:
            yield f"{prompt!r} was paid {books.bill[prompt]} times, and status does not name {name}"


def untidy(stderr: str) -> Iterator[str]:
    """Tracebacks and keys in what was said."""
    for sign in ("Traceback", "sk-canary", "Exception ignored", "Fatal Python error"):
        if sign in stderr:
            at = stderr.index(sign)
            yield f"stderr holds {sign!r}: ...{stderr[max(0, at - 200) : at + 1500]!r}"
