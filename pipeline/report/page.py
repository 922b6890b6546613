"""The page itself: one HTML file that needs nothing but itself."""

from __future__ import annotations

import base64
import os
import secrets
import warnings
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from headrace.errors import OutputError, UsageError
from headrace.money import money
from headrace.report import charts, words
from headrace.report.books import read_books
from headrace.report.gallery import EMBEDDED, Gallery, packed
from headrace.report.rows import journal_rows
from headrace.report.thumbnails import Thumbnails
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.records import Picture
    from headrace.report.rows import Rows

FILE = "report.html"
_HERE = Path(__file__).parent
_AT_ONCE = 1_000
_OURS = ("journal.", "limits.")


def write_report(folder: Path, target: Path | None = None, told: Callable[[int], None] = lambda _: None) -> Path:
    """Make the report of an output folder, also while a run is at work there; returns where it is.

    Args:
        folder: the output folder of a run.
        target: the file; ``report.html`` in the folder where absent.
        told: hears how many pictures have been looked at: their thumbnails take longest.

    Raises:
        UsageError: there is no journal, or it cannot be read; or the target is no place for a report.
        OutputError: the page or a thumbnail cannot be written.
    """
    path = folder / FILE if target is None else target
    # What is no file, such as /dev/null, would be replaced by one.
    if path.name == "-" or path.name.startswith(_OURS) or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} cannot be the report; name a file such as {FILE}")
    thumbnails = Thumbnails(folder)
    with warnings.catch_warnings():
        # What Pillow has to say of a broken file, and Matplotlib of a name in letters that it has not, is not for whoever wants a report.
        warnings.simplefilter("ignore")
        thumbnails.prepare(_pictures(folder), told)
        with journal_rows(folder) as rows:
            _write(path, _pieces(rows, folder, path, Gallery(thumbnails)))
    return path


def _pictures(folder: Path) -> Iterator[Picture]:
    # To read for the minutes that thumbnails take would keep the log of a run at work from being cut: it looks in again and again.
    last = 0
    while True:
        with journal_rows(folder) as rows:
            some = list(rows.items(last, _AT_ONCE))
        if not some:
            return
        last = some[-1].number
        for item in some:
            if item.result is not None:
                yield from item.result.images


def _pieces(rows: Rows, folder: Path, path: Path, gallery: Gallery) -> Iterator[str]:
    books = read_books(rows, folder)
    style, script = ((_HERE / name).read_text("utf-8") for name in ("report.css", "report.js"))
    values: dict[str, Any] = {
        "books": books,
        "name": folder.resolve().name,
        "charts": charts.draw(books),
        "embedded": EMBEDDED,
        "blocks": gallery.blocks(rows.items()),
        "config": packed({"root": _relative(folder, path), "total": books.answers.total, "names": words.NAMES}),
        "style": Markup(style),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704
        "policy": _policy(style, script),
    }
    yield from _environment().get_template("template.html").generate(values)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    told = {name: getattr(words, name) for name in ("share", "duration", "moment", "number", "named")} | {"money": money}
    environment.filters |= told | {"clean": lambda text, longest=500: clean(str(text or ""), longest)}
    return environment


def _policy(style: str, script: str) -> str:
    hashes = {name: base64.b64encode(sha256(text.encode()).digest()).decode() for name, text in (("style", style), ("script", script))}
    return (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src data: 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _relative(folder: Path, path: Path) -> str:
    """The way from the page to the output folder, as the beginning of a URL."""
    way = os.path.relpath(folder.resolve(), path.parent.resolve())  # a link in the place of the page is replaced, not followed
    return f"{quote(os.fsencode(way))}/"  # a name may be of bytes that are no text


def _write(path: Path, pieces: Iterator[str]) -> None:
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - a descriptor, not a path
            file.writelines(pieces)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink()
