"""The journal's rows as a report reads them: one at a time, as of one moment, also while a run is at work."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from headrace.journal.reader import finite, moment, opened
from headrace.journal.stored import restored
from headrace.records import Result, Status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

_ITEMS = "select number, name, prompt, status, result, read_at, ended_at from item where number > ? order by number limit ?"
_ATTEMPTS = """select a.item, a.key, a.pool, a.sent_at, a.ended_at, a.outcome, a.simulated, a.cost_usd, a.waited_s, a.waited_for,
    a.kind, a.status, a.message, i.pictures, i.name from attempt a left join item i on i.number = a.item order by a.number"""
_SINCE = 2
"""The version of a journal that has what a report tells."""
_COMPLETE = "select coalesce(max(since), 0) >= (select coalesce(max(number), 0) from attempt) from job"
_ALL_RUNS = "select started_at, seen_at, settings, books from run order by started_at"
_ASKED = """select i.read_at, coalesce(i.ended_at, max(coalesce(a.ended_at, a.sent_at))) from item i join attempt a on a.item = i.number
    where i.read_at is not null group by i.number"""


@attrs.frozen(kw_only=True)
class Item:
    """One prompt of the job. Times are seconds since 1970."""

    number: int
    name: str
    prompt: str | None
    status: str
    """``ok``, ``failed``, ``skipped``, or ``unfinished``."""
    result: Result | None
    """None where it has none, or none that can be read."""
    ended_at: float | None


@attrs.frozen(kw_only=True)
class Attempt:
    """One call. Times are seconds since 1970."""

    item: int
    key: str
    pool: str
    sent_at: float
    ended_at: float | None
    outcome: str
    """``paid``, ``spoilt``, ``unpaid``, ``unknown`` or ``open``."""
    simulated: bool
    cost_usd: float | None
    waited_s: float
    waited_for: str | None
    kind: str | None
    status: int | None
    message: str | None
    pictures: int
    name: str
    """The id of its prompt."""


@attrs.frozen(kw_only=True)
class Run:
    """One run in the folder. Times are seconds since 1970."""

    started_at: float
    seen_at: float
    settings: dict[str, Any]
    pools: tuple[dict[str, Any], ...]
    """The books of its pools (:class:`headrace.admission.books.PoolStatistics`)."""


@attrs.frozen
class Limit:
    """What was known of one limit of a pool."""

    resource: str
    limit: float
    """A minute; calls at once for ``calls``."""
    source: str
    scale: float
    """Part of it that was tried."""


@attrs.frozen(kw_only=True)
class LimitSeen:
    """What was known of a pool's limits from a moment on."""

    run: int
    at: float
    pool: str
    known: tuple[Limit, ...]


@contextmanager
def journal_rows(folder: Path) -> Iterator[Rows]:
    """The rows of the journal in an output folder, all of one moment.

    Raises:
        UsageError: as in :func:`headrace.journal.reader.opened`.
    """
    with opened(folder, _SINCE) as db:
        yield Rows(db)


class Rows:
    """What the journal holds, row by row.

    Raises:
        sqlite3.Error: from every method, where the file is damaged.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def items(self, after: int = 0, limit: int = -1) -> Iterator[Item]:
        """Every prompt, in the order in which they were read; or so many behind that number."""
        for number, name, prompt, status, text, read_at, ended_at in self._db.execute(_ITEMS, (after, limit)):
            result = None if text is None else restored(text, Result(seq=number, id=name, prompt=prompt, status=Status.OK))
            known = status if status in set(Status) else "unfinished"
            yield Item(
                number=number,
                name=name,
                prompt=prompt,
                status=known,
                result=result,
                ended_at=moment(ended_at) if read_at is not None else None,
            )

    def attempts(self) -> Iterator[Attempt]:
        """Every call, in the order in which they were made."""
        for row in self._db.execute(_ATTEMPTS):
            item, key, pool, sent, ended, outcome, simulated, cost, waited, cause, kind, status, message, pictures, name = row
            yield Attempt(
                item=item,
                key=key,
                pool=pool or key,
                sent_at=moment(sent) or 0.0,
                ended_at=moment(ended),
                outcome=outcome or "open",
                simulated=bool(simulated),
                cost_usd=finite(cost),
                waited_s=finite(waited) or 0.0,
                waited_for=cause,
                kind=kind,
                status=status,
                message=message,
                pictures=pictures or 0,
                name=name or "",
            )

    def asked(self) -> Iterator[tuple[float, float]]:
        """When each prompt that a call was made for was read, and when it had its result; the end of its last call where it has none."""
        for read, ended in self._db.execute(_ASKED):
            yield moment(read) or 0.0, moment(ended) or 0.0

    def complete(self) -> bool:
        """Whether no call was made since a run came to the end of its input."""
        return bool(self._db.execute(_COMPLETE).fetchone()[0])

    def runs(self) -> Iterator[Run]:
        """Every run, the oldest first."""
        for started, seen, settings, books in self._db.execute(_ALL_RUNS):
            begun = moment(started) or 0.0
            ended = max(begun, moment(seen) or 0.0)
            yield Run(started_at=begun, seen_at=ended, settings=_json(settings, dict), pools=_mappings(_json(books, list)))

    def limits(self) -> Iterator[LimitSeen]:
        """Every change of a limit, in order."""
        for run, at, pool, books in self._db.execute("select run, at, pool, books from limit_seen order by at, rowid"):
            yield LimitSeen(run=run, at=moment(at) or 0.0, pool=pool, known=tuple(_limits(_json(books, dict).get("known"))))


def _json(text: str, kind: type[Any]) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return kind()
    return value if isinstance(value, kind) else kind()


def _mappings(value: object) -> tuple[dict[str, Any], ...]:
    return tuple(each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _limits(value: object) -> Iterator[Limit]:
    for each in _mappings(value):
        limit, scale = amount(each.get("limit")), amount(each.get("scale"))
        if limit is not None and scale is not None:
            yield Limit(str(each.get("resource")), limit, str(each.get("source")), scale)


def amount(value: object) -> float | None:
    """A number that is one, and not below 0."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else None
