"""The records of a report in blocks that a browser unpacks when it shows them: 100,000 of them stay usable."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import attrs

from headrace.report.answers import in_other_words
from headrace.report.marks import marked
from headrace.report.thumbnails import Seen
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.records import Match, Picture, Result
    from headrace.report.rows import Item
    from headrace.report.thumbnails import Thumbnails

RECORDS = 500
"""Records of a block."""
THUMBNAILS = 50
"""Thumbnails of a block."""
EMBEDDED = 2_000
"""Thumbnails that are in the page itself; the others are loaded from beside it."""
EMBEDDED_BYTES = 8_000_000
_LONGEST = 32_000
_FIRST_CODE = 0x21
_ABSENT = ("seq", "metadata", "match", "images", "error", "prompt", "id")


@attrs.frozen
class Block:
    """One block of data in the page."""

    name: str
    data: str
    """Base64, or JSON of base64: nothing in it can be taken for markup."""


class Gallery:
    """Records become blocks, one pass over them.

    Args:
        thumbnails: of their pictures.
    """

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails
        self._numbers: dict[str, int] = {}
        self._bytes = 0
        self._small: list[str] = []
        self._codes: dict[tuple[str, str | None], int] = {}
        self._all = bytearray()
        self._pairs: list[tuple[float, int]] = []
        self.seen = dict.fromkeys(Seen, 0)
        """Pictures by how they were found, those that were given twice counted twice."""

    def blocks(self, items: Iterable[Item]) -> Iterator[Block]:
        """The blocks of all records, and behind them the index."""
        records: list[dict[str, Any]] = []
        count = 0
        for number, item in enumerate(items):
            records.append(self._record(number, item))
            if len(records) == RECORDS:
                yield Block(f"records-{count}", packed(records))
                count, records = count + 1, []
            if len(self._small) >= THUMBNAILS:
                yield self._thumbs()
        if records:
            yield Block(f"records-{count}", packed(records))
        while self._small:
            yield self._thumbs()
        yield Block("index", packed(self._index()))

    def _index(self) -> dict[str, Any]:
        pairs = [number for _, number in sorted(self._pairs)]
        return {"codes": list(self._codes), "all": self._all.decode("latin-1"), "pairs": pairs, "seen": self.seen}

    def _record(self, number: int, item: Item) -> dict[str, Any]:
        result = item.result
        strategy = result.strategy.value if result is not None and result.strategy else None
        code = self._codes.setdefault((item.status, strategy), len(self._codes))
        self._all.append(_FIRST_CODE + code)
        record: dict[str, Any] = {"id": clean(item.name, _LONGEST), "prompt": clean(item.prompt or "", _LONGEST), "status": item.status}
        if result is None:
            return record
        record |= _fields(result)
        record["images"] = [self._picture(picture) for picture in result.images]
        if result.match is not None:
            record["match"] = _match(result.match, record["prompt"])
            if in_other_words(result):
                self._pairs.append((result.match.similarity, number))
        return record

    def _picture(self, picture: Picture) -> dict[str, Any]:
        """What a browser needs to show it: the thumbnail's number where the page has it, else where it lies."""
        seen = self._thumbnails.find(picture)
        self.seen[seen] += 1
        path = self._thumbnails.path(picture)
        shown: dict[str, Any] = {"width": picture.width, "height": picture.height, "bytes": picture.bytes, "format": clean(picture.format)}
        if path is None or seen is Seen.MISSING:
            return shown | {"seen": Seen.MISSING.value, "path": clean(picture.path)}
        shown["path"] = picture.path
        if seen is Seen.BROKEN:
            return shown | {"seen": seen.value}
        embedded = self._embedded(picture)
        return shown | ({"thumb": path} if embedded is None else {"embedded": embedded})

    def _embedded(self, picture: Picture) -> int | None:
        if picture.path in self._numbers:
            return self._numbers[picture.path]
        if len(self._numbers) >= EMBEDDED or self._bytes >= EMBEDDED_BYTES:
            return None
        data = self._thumbnails.read(picture)
        if data is None:
            return None
        number = self._numbers[picture.path] = len(self._numbers)
        self._bytes += len(data)
        self._small.append(base64.b64encode(data).decode())
        return number

    def _thumbs(self) -> Block:
        number = (len(self._numbers) - len(self._small)) // THUMBNAILS
        some, self._small = self._small[:THUMBNAILS], self._small[THUMBNAILS:]
        return Block(f"thumbnails-{number}", json.dumps(some, separators=(",", ":")))


def packed(value: Any) -> str:
    """A value as base64 of gzipped JSON."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(gzip.compress(text, 6, mtime=0)).decode()


def _fields(result: Result) -> dict[str, Any]:
    given = {name: value for name, value in result.as_dict().items() if name not in _ABSENT and value is not None}
    given = {name: clean(value) if isinstance(value, str) else value for name, value in given.items()}
    if result.error is not None:
        error = result.error
        given["error"] = {"kind": error.kind.value, "message": clean(error.message), "status": error.status, "retryable": error.retryable}
    return given


def _match(match: Match, asked: str) -> dict[str, Any]:
    told: dict[str, Any] = {"of": clean(match.of), "similarity": round(match.similarity, 4)}
    if match.difference:
        told["difference"] = clean(match.difference)
    if match.prompt is not None:
        known = clean(match.prompt, _LONGEST)
        told["asked"], told["known"] = marked(asked, known)
    return told
