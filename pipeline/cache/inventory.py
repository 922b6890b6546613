"""What a cache folder holds, seen from outside a run: counted, checked against its files, exported, imported, forgotten.

Everything here blocks. One file, though it is a long one: a command of ``headrace cache`` each, over the same rows.
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
import unicodedata
from array import array
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs

from headrace.cache.database import BUSY_S, connect
from headrace.cache.entry import Entry
from headrace.cache.keys import canonical_key, exact_key
from headrace.errors import OutputError, UsageError
from headrace.files import private_folder
from headrace.records import Picture, Request, Usage, Vector
from headrace.structure import structure
from headrace.text import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.cache.store import Store

MANIFEST = "entries.jsonl"
TAKEN, THERE = "taken", "there already"
_SCOPE = re.compile(r"[0-9a-f]{64}")
_MANY = 10**9
_LENGTH = 0.01
_DIGITS = 20
"""More than SQLite's integers have."""


@attrs.frozen(kw_only=True)
class Statistics:
    """The sums of a cache."""

    entries: int
    pictures: int
    bytes: int
    hits: int
    saved_usd: float
    """What the hits would have cost."""
    spent_usd: float
    oldest: float | None
    """Seconds since 1970."""
    newest: float | None
    scopes: int
    namespaces: tuple[tuple[str, int], ...]
    """Names and entries, the largest first."""
    encoders: tuple[tuple[str, int], ...]
    """Fingerprints and vectors."""


@attrs.frozen(kw_only=True)
class Exported:
    """One line of an export; pictures lie beside it under their paths."""

    scope: str
    namespace: str
    request: Request
    origin: str
    pictures: tuple[Picture, ...]
    created: float
    used: float
    hits: int
    usage: Usage | None = None
    cost_usd: float | None = None
    encoder: str | None = None
    vector: str | None = None
    """Float32 in base64."""


def statistics(store: Store) -> Statistics:
    """Count what is there.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with closing(connect(store.folder, BUSY_S)) as db:
        entries, hits, saved, spent, oldest, newest, scopes = db.execute(
            "select count(*), coalesce(sum(hits), 0), coalesce(sum(hits * cost_usd), 0.0), coalesce(sum(cost_usd), 0.0),"
            " min(created), max(created), count(distinct scope) from entry"
        ).fetchone()
        (pictures,) = db.execute("select count(distinct path) from picture").fetchone()
        (size,) = db.execute("select bytes from total").fetchone()
        namespaces = db.execute("select namespace, count(*) from entry group by namespace order by 2 desc, 1").fetchall()
        encoders = db.execute("select encoder, count(*) from vector group by encoder order by 2 desc, 1").fetchall()
    return Statistics(
        entries=entries,
        pictures=pictures,
        bytes=size,
        hits=hits,
        saved_usd=saved,
        spent_usd=spent,
        oldest=oldest,
        newest=newest,
        scopes=scopes,
        namespaces=tuple(namespaces),
        encoders=tuple(encoders),
    )


def problems(store: Store) -> Iterator[str]:
    """Where the store and its files disagree, a line each.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    with closing(connect(store.folder, BUSY_S)) as db:
        for (complaint,) in db.execute("pragma quick_check"):
            if complaint != "ok":
                yield f"the database: {complaint}"
        for number, entry in store.rows():
            if entry is None:
                yield f"entry {number} cannot be read"
                continue
            broken = [clean(picture.path) for picture in entry.pictures if not store.pictures.whole(picture)]
            if broken:
                yield f"entry {number}: {', '.join(broken)} is missing or broken"
        known = {path for (path,) in db.execute("select path from picture union select path from loose")}
        yield from (f"{clean(ascii(path)[1:-1])} belongs to no entry" for path in store.pictures.files() if path not in known)


def mend(store: Store) -> tuple[int, int]:
    """Drop entries whose pictures are missing or broken, and files of no entry; how many of each."""
    broken = [
        number for number, entry in store.rows() if entry is None or not all(store.pictures.whole(picture) for picture in entry.pictures)
    ]
    for number in broken:
        store.drop(number)
    while store.sweep():
        pass
    return len(broken), store.remove_strays()


def matching(store: Store, words: str) -> list[Entry]:
    """Entries that paid for a prompt of that id or those very words; ``#7`` is the entry of that number."""
    text = unicodedata.normalize("NFC", words)
    number = int(text[1:]) if text.startswith("#") and text[1:].isdecimal() and len(text) < _DIGITS else None
    return [
        entry
        for entry in store.entries()
        if entry.number == number or entry.origin == words or unicodedata.normalize("NFC", entry.request.prompt) == text
    ]


def export(store: Store, folder: Path) -> int:
    """Write all entries below an empty ``folder``: one JSON line each, and their pictures; returns how many.

    Raises:
        UsageError: there is something in the folder already.
        OutputError: it cannot be written.
    """
    count = 0
    try:
        private_folder(folder)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; export into a new folder")
        with closing(connect(store.folder, BUSY_S)) as db, (folder / MANIFEST).open("x", encoding="utf-8") as lines:
            for entry in store.entries():
                if store.pictures.fetch(entry.pictures, folder):
                    lines.write(json.dumps(attrs.asdict(_exported(entry, db))) + "\n")
                    count += 1
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from None
    return count


def import_from(store: Store, folder: Path) -> Iterator[str]:
    """Keep what :func:`export` wrote; for each line ``taken``, ``there already``, or what is wrong with it.

    Raises:
        UsageError: the folder holds no export.
    """
    try:
        lines = (folder / MANIFEST).open("rb")
    except OSError as error:
        raise UsageError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from None
    with lines:
        for number, line in enumerate(lines, 1):
            try:
                entry, vector = _read_export(line)
            except UsageError as error:
                yield clean(f"line {number}: {error}")
                continue
            if store.get(entry.key) is not None:
                yield THERE
            elif not store.young(entry):
                yield f"line {number}: it is too old to be served (ttl_days)"
            else:
                kept = store.put(entry, folder, vector).number
                yield TAKEN if kept else f"line {number}: a picture of it is missing or broken, or the cache cannot be written"


def _read_export(line: bytes) -> tuple[Entry, Vector | None]:
    # Keys are computed anew: a file that was tampered with shall not answer for other words than it says.
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"it is not JSON ({error})") from None
    one = structure(document, Exported)
    if _SCOPE.fullmatch(one.scope) is None or not one.pictures:
        raise UsageError("it has no scope or no pictures")
    sizes = [size for picture in one.pictures for size in (picture.width, picture.height, picture.bytes)]
    tokens = (one.usage.input_tokens, one.usage.output_tokens) if one.usage else ()
    if (
        not all(0 <= value <= _MANY for value in (one.hits, one.cost_usd or 0, *sizes, *tokens))
        or not 0 <= one.created + one.used < math.inf
    ):
        raise UsageError("it holds a number that cannot be")
    now = time.time()
    entry = Entry(
        key=exact_key(one.scope, one.request.prompt),
        scope=one.scope,
        canonical=canonical_key(one.scope, one.request.prompt),
        namespace=one.namespace,
        request=one.request,
        origin=one.origin,
        pictures=one.pictures,
        usage=one.usage,
        cost_usd=one.cost_usd,
        created=min(one.created, now) or now,
        used=min(one.used, now),
        hits=one.hits,
    )
    return entry, _vector(one)


def _exported(entry: Entry, db: sqlite3.Connection) -> Exported:
    row = db.execute("select encoder, value from vector where entry = ? limit 1", (entry.number,)).fetchone()
    fields: dict[str, Any] = {name: getattr(entry, name) for name in attrs.fields_dict(Exported) if name not in ("encoder", "vector")}
    if row is not None:
        fields |= {"encoder": row[0], "vector": base64.b64encode(row[1]).decode()}
    return Exported(**fields)


def _vector(one: Exported) -> Vector | None:
    if one.encoder is None or one.vector is None:
        return None
    try:
        values = base64.b64decode(one.vector, validate=True)
    except ValueError:
        raise UsageError("its vector is not base64") from None
    if not values or len(values) % 4 or not abs(math.hypot(*array("f", values)) - 1) < _LENGTH:
        raise UsageError("its vector is not float32 of length 1")
    return Vector(one.encoder, values)
