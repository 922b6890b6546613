"""Answers that outlive a run: SQLite is the truth, pictures are files named by their content.

Everything here blocks. Reading has a connection of its own: under a write-ahead log it waits for no writer, and a look-up takes 40 us,
a tenth of what a thread for it would cost.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from headrace.cache.database import READ_S, connect, prepare, transaction
from headrace.cache.entry import SELECT, entry_of
from headrace.cache.pictures import Pictures
from headrace.errors import OutputError, UsageError
from headrace.log import log

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from headrace.cache.entry import Entry
    from headrace.records import Vector

_TRIES = 5
"""Times that an answer is tried to be kept while others sweep."""
_COMPLAINTS = 100
"""Different complaints that are told."""
AT_ONCE = 200
"""Entries or files that one step of evicting removes: others want to write as well."""


class Store:
    """Answers below one folder.

    Raises:
        UsageError: the folder cannot hold a cache, or holds one of another version.
    """

    def __init__(self, folder: str | os.PathLike[str], ttl_s: float) -> None:
        self._ttl_s = ttl_s
        try:
            self.folder = Path(folder).expanduser()
            with ExitStack() as opened:
                self._db = opened.enter_context(closing(prepare(self.folder)))
                self._reading = opened.enter_context(closing(connect(self.folder, READ_S)))
                self._opened = opened.pop_all()
        except (OSError, ValueError, RuntimeError, sqlite3.Error) as error:
            raise UsageError(f"the cache in {folder} cannot be used: {error}; choose another folder or --cache off") from None
        self.pictures = Pictures(self.folder)
        self._told: set[tuple[str, str]] = set()

    def get(self, key: str) -> Entry | None:
        """The answer under an exact key; None where there is none that is young."""
        return self._find("key = ?", key)

    def get_canonical(self, key: str) -> Entry | None:
        """The latest answer under a canonical key; None where there is none that is young."""
        return self._find("canonical = ?", key)

    def get_number(self, number: int) -> Entry | None:
        """The answer of that number; None where it is gone, or no longer young."""
        return self._find("id = ?", number)

    def prompts(self, scope: str, limit: int) -> list[str]:
        """The prompts of a scope, at most so many."""
        with self._complaining("cache_unreadable"):
            return [text for (text,) in self._reading.execute("select prompt from entry where scope = ? limit ?", (scope, limit))]
        return []

    def version(self) -> int:
        """Another number whenever anybody has written."""
        with self._complaining("cache_unreadable"):
            return int(self._reading.execute("pragma data_version").fetchone()[0])
        return 0

    def young(self, entry: Entry) -> bool:
        """Whether it may still be served."""
        return entry.created > self._oldest()

    def entries(self) -> Iterator[Entry]:
        """All that are young and can be read, the oldest first."""
        return (entry for _, entry in self.rows() if entry is not None)

    def rows(self) -> Iterator[tuple[int, Entry | None]]:
        """Numbers and entries of all that are young, the oldest first; None for one that cannot be read."""
        last = 0
        while True:
            rows = self._reading.execute(
                f"{SELECT} where e.id > ? and e.created > ? group by e.id order by e.id limit 500",
                (last, self._oldest()),
            ).fetchall()
            for row in rows:
                entry = None
                with self._complaining("cache_unreadable"):
                    entry = entry_of(*row)
                yield row[0], entry
            if not rows:
                return
            last = rows[-1][0]

    def put(self, entry: Entry, root: Path, vector: Vector | None = None) -> Entry:
        """Keep an answer whose picture files lie below ``root``, and number it; a cache that cannot be written costs a warning only."""
        paths = {(picture.path,) for picture in entry.pictures}
        with self._complaining("cache_unwritable"):
            for _ in range(_TRIES):
                # A file is known to be loose before it is there: a crash leaves none of which nobody knows.
                self._db.executemany("insert or ignore into loose values (?)", paths)
                with transaction(self._db):
                    if not all(self._db.execute("select 1 from loose where path = ?", path).fetchone() for path in paths):
                        continue  # somebody swept in between
                    whole = self.pictures.keep(entry.pictures, root)
                    return attrs.evolve(entry, number=self._insert(entry, vector)) if whole else entry
            log.warning("cache_unwritable", folder=str(self.folder), error="others sweep without end")
        return entry

    def drop(self, number: int) -> None:
        """Forget an answer; its pictures go when no other has them."""
        with self._complaining("cache_unwritable"):
            self._db.execute("delete from entry where id = ?", (number,))

    def touch(self, hits: Mapping[int, int]) -> None:
        """Book how often entries were used since the last time."""
        with self._complaining("cache_unwritable"), transaction(self._db):
            now = time.time()
            self._db.executemany(
                "update entry set used = max(used, ?), hits = hits + ? where id = ?",
                [(now, count, number) for number, count in hits.items()],
            )

    def evict(self, max_entries: int | None, max_bytes: int | None) -> bool:
        """Remove a few entries: the too old, or where there are too many those used least recently; whether there may be more."""
        with self._complaining("cache_unwritable"):
            with transaction(self._db):
                gone = self._delete("created <= ?", "created", AT_ONCE, self._oldest())
                for _ in range(AT_ONCE):
                    entries, size = self._db.execute("select entries, bytes from total").fetchone()
                    if (max_entries is None or entries <= max_entries) and (max_bytes is None or size <= max_bytes):
                        break
                    gone += self._delete("true", "used", 1)
            return self.sweep() or bool(gone)
        return False

    def crowded(self, max_entries: int | None, max_bytes: int | None) -> bool:
        """Whether there is more than that."""
        with self._complaining("cache_unreadable"):
            entries, size = self._reading.execute("select entries, bytes from total").fetchone()
            return (max_entries is not None and entries > max_entries) or (max_bytes is not None and size > max_bytes)
        return False

    def sweep(self) -> bool:
        """Remove a few of the files that no entry points to; whether there were any."""
        with transaction(self._db):
            rows = self._db.execute("select path, exists (select 1 from picture p where p.path = l.path) from loose l limit ?", (AT_ONCE,))
            swept = 0
            for path, wanted in rows.fetchall():
                with self._complaining("cache_unwritable"):
                    if not wanted:
                        self.pictures.remove(path)
                    swept += self._db.execute("delete from loose where path = ?", (path,)).rowcount
        return bool(swept)

    def remove_strays(self) -> int:
        """Remove the files below the folder of pictures that no entry points to; how many there were."""
        count = 0
        for path in list(self.pictures.files()):
            with transaction(self._db):
                # A name that is no text is none that an entry has.
                name = path.encode("utf-8", "replace").decode()
                if not self._db.execute("select 1 from picture where path = ?", (name,)).fetchone():
                    self.pictures.discard(path)
                    count += 1
        return count

    def close(self) -> None:
        """Close the database."""
        self._opened.close()

    @contextmanager
    def _complaining(self, event: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OutputError, OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
            # Once: the next million look-ups would say the same.
            if (event, str(error)) not in self._told and len(self._told) < _COMPLAINTS:
                self._told.add((event, str(error)))
                log.warning(event, folder=str(self.folder), error=str(error))

    def _find(self, condition: str, value: str | int) -> Entry | None:
        with self._complaining("cache_unreadable"):
            # Most look-ups find nothing, and those shall be quick.
            latest = f"select id from entry where {condition} and created > ? order by created desc limit 1"  # noqa: S608 - ours
            found = self._reading.execute(latest, (value, self._oldest())).fetchone()
            if found is None:
                return None
            row = self._reading.execute(f"{SELECT} where e.id = ? group by e.id", found).fetchone()
            return None if row is None else entry_of(*row)
        return None

    def _insert(self, entry: Entry, vector: Vector | None) -> int:
        usage = (entry.usage.input_tokens, entry.usage.output_tokens) if entry.usage else (None, None)
        # The scope knows the input pictures; nobody needs their paths, or their bytes.
        request = attrs.asdict(attrs.evolve(entry.request, images=(), mask=None))
        del request["images"], request["mask"]
        prompt = request.pop("prompt")
        now = time.time()
        created = min(entry.created or now, now)
        words = (entry.key, entry.scope, entry.canonical, entry.namespace, prompt, json.dumps(request), entry.origin)
        self._db.execute("delete from entry where key = ?", (entry.key,))
        number = self._db.execute(
            "insert into entry values (null, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*words, *usage, entry.cost_usd, created, min(max(created, entry.used), now), entry.hits),
        ).lastrowid
        for position, each in enumerate(entry.pictures):
            picture = (number, position, each.path, each.sha256, each.format, each.width, each.height, each.bytes)
            self._db.execute("insert into picture values (?, ?, ?, ?, ?, ?, ?, ?)", picture)
            self._db.execute("delete from loose where path = ?", (each.path,))
        if vector is not None:
            self._db.execute("insert into vector values (?, ?, ?)", (number, vector.encoder, vector.values))
        return number or 0

    def _delete(self, condition: str, order: str, limit: int, *values: float) -> int:
        chosen = f"select id from entry where {condition} order by {order} limit ?"  # noqa: S608 - both are ours
        return self._db.execute(f"delete from entry where id in ({chosen})", (*values, limit)).rowcount  # noqa: S608

    def _oldest(self) -> float:
        return time.time() - self._ttl_s
