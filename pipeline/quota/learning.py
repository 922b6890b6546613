"""What processes that share a pool teach each other: its limits as they were found, and keys that the API will not take.

Of several processes that are refused at the same moment the first one teaches and the others go on with what it says: one refusal cuts
once. A bench is news for whoever is at work and nothing more: a run that starts asks the API itself, and so a bill that is paid, or a key
that is mended, needs nobody who takes anything back. Pure but for the log.
"""

from __future__ import annotations

import hmac
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import attrs

from headrace.admission.lesson import Lesson
from headrace.errors import HeadraceError
from headrace.log import log
from headrace.records import Kind
from headrace.structure import structure
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace.admission.pool import Pool
    from headrace.quota.exchange import Answer
    from headrace.secret import Secret

_MOST = 1e12
_OF_KEYS = frozenset({Kind.AUTH, Kind.FORBIDDEN, Kind.BILLING})
"""What is said of a key or of who pays for it; that an address is not found may be one machine's network, or its version of the API."""


@attrs.frozen(kw_only=True)
class Bench:
    """A key, or a whole pool, that the API will not serve."""

    kind: str
    """A :class:`~headrace.records.Kind`."""
    by: str
    """Who was told so."""


class Learning:
    """One process and one pool.

    Args:
        pool: what learns.
        fingerprints: of its keys, by their names.
    """

    def __init__(self, pool: Pool, fingerprints: Mapping[str, str]) -> None:
        self._pool = pool
        self._fields = {_bench_field(name, print_): name for name, print_ in {**fingerprints, "": ""}.items()}
        self._stamp: int | None = None
        """Of what was heard last; None before anything was."""
        self._said: dict[str, str] = {}
        """By field, what the others know of us, or we of them."""
        self._telling: dict[str, str] = {}

    def told(self) -> dict[str, Any]:
        """What is told, for the script; :meth:`heard` follows where it answers."""
        self._telling = {} if self._pool.merged_into is not None else dict(self._news())
        return {"heard": self._stamp or 0, "taught": self._telling}

    def heard(self, answer: Answer, now: float) -> bool:
        """What the others have learnt; returns whether that changes what may start."""
        joined, self._stamp = self._stamp is not None, answer.stamp
        self._said.update(self._telling)
        if not answer.news or self._pool.merged_into is not None:
            return False
        ours = {field: document for field, document, _ in self._lessons()}
        changed = False
        for field, document in answer.news.items():
            if field in self._fields:
                # Of before our time: it may have been mended since.
                changed |= joined and self._bench(self._fields[field], document)
            elif document != ours.get(field):
                changed |= self._take_up(document, now)
        # What the settings here make of it is ours, and no news for anybody.
        self._said.update((field, document) for field, document, _ in self._lessons() if field in answer.news)
        return changed

    @property
    def has_news(self) -> bool:
        """Whether there is anything that the others have not been told."""
        return self._pool.merged_into is None and any(self._news())

    def forgotten(self) -> None:
        """The store has lost everything: it is told again, but for benches, which are old by now."""
        self._said = {field: document for field, document in self._said.items() if field in self._fields}

    def _news(self) -> Iterator[tuple[str, str]]:
        for field, document, plain in self._lessons():
            if document != self._said.get(field) and not (plain and field not in self._said):
                yield field, document
        for field, name in self._fields.items():
            if self._pool.denied.get(name) in _OF_KEYS and field not in self._said:
                yield field, json.dumps({"kind": self._pool.denied[name], "by": _who()})

    def _lessons(self) -> Iterator[tuple[str, str, bool]]:
        for lesson in self._pool.lessons():
            named = "" if lesson.named is None else f"{lesson.named:.17g}"
            yield f"{lesson.resource} {named}", json.dumps(attrs.asdict(lesson)), lesson.plain

    def _take_up(self, document: str, now: float) -> bool:
        try:
            lesson = structure(json.loads(document), Lesson)
        except (HeadraceError, ValueError, RecursionError):
            return False  # of another version
        standing = lesson.standing
        numbers = (lesson.limit, standing.level, standing.good, standing.held, standing.step)
        if not all(number is None or 0 < number < _MOST for number in numbers):  # written so that NaN fails
            return False
        return self._pool.take_up(attrs.evolve(lesson, source=clean(lesson.source, 20)), now)

    def _bench(self, name: str, document: str) -> bool:
        try:
            bench = structure(json.loads(document), Bench)
            kind = Kind(bench.kind)
        except (HeadraceError, ValueError, RecursionError):
            return False
        by = clean(bench.by, 100)
        news = self._pool.bench(name, f"{by} was told that it is of no use ({kind})")
        if news:
            log.warning("benched_elsewhere", pool=self._pool.name, key=name or None, by=by, because=str(kind))
        return news


def fingerprint(prefix: str, name: str, secret: Secret) -> str:
    """Of a key: enough to tell it from another of the same name, and no more of it than 16 bits: one guess in 65,536 fits."""
    return hmac.digest(secret.reveal().encode(), f"{prefix}:{name}".encode(), "sha256").hex()[:4]


def _bench_field(name: str, print_: str) -> str:
    return f"bench {name} {print_}".strip()


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
