"""One answer that was paid for, and how a row of the store becomes one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from headrace.records import Hit, Match, Picture, Request, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.records import Strategy

SELECT = """select e.id, e.key, e.scope, e.canonical, e.namespace, e.prompt, e.request, e.origin, e.input_tokens, e.output_tokens,
    e.cost_usd, e.created, e.used, e.hits, json_group_array(json_array(p.position, p.path, p.sha256, p.format, p.width, p.height, p.bytes))
    from entry e join picture p on p.entry = e.id"""
"""Entries with their pictures; to be followed by a condition and ``group by e.id``."""


@attrs.frozen(kw_only=True)
class Entry:
    """One answer that was paid for."""

    key: str
    """Its exact key (:mod:`headrace.cache.keys`)."""
    scope: str
    canonical: str
    namespace: str
    request: Request
    origin: str
    """The id of the prompt that paid for it."""
    pictures: tuple[Picture, ...]
    usage: Usage | None
    cost_usd: float | None
    number: int = 0
    """Its number in the store; 0 before it is there."""
    created: float = 0.0
    """Seconds since 1970."""
    used: float = 0.0
    hits: int = 0

    def hit(self, strategy: Strategy, similarity: float = 1.0, difference: str | None = None) -> Hit:
        """The same pictures for another prompt."""
        return Hit(
            strategy=strategy,
            pictures=self.pictures,
            prompt=self.request.prompt,
            model=self.request.model,
            size=self.request.size,
            quality=self.request.quality,
            cost_usd=self.cost_usd,
            match=Match(of=self.origin, similarity=similarity, difference=difference, prompt=self.request.prompt),
        )


def entry_of(*row: Any) -> Entry:
    """The entry of a row that :data:`SELECT` gave.

    Raises:
        ValueError, TypeError, RecursionError: a stranger wrote it.
    """
    number, key, scope, canonical, namespace, prompt, request, origin, tokens_in, tokens_out, cost_usd, created, used, hits, pictures = row
    return Entry(
        number=number,
        key=key,
        scope=scope,
        canonical=canonical,
        namespace=namespace,
        request=Request(prompt=prompt, **json.loads(request)),
        origin=origin,
        pictures=tuple(_pictures(json.loads(pictures))),
        usage=None if tokens_in is None or tokens_out is None else Usage(input_tokens=tokens_in, output_tokens=tokens_out),
        cost_usd=cost_usd,
        created=created,
        used=used,
        hits=hits,
    )


def _pictures(rows: Iterable[Any]) -> Iterator[Picture]:
    for _, path, sha256, kind, width, height, size in sorted(rows):
        yield Picture(path=path, sha256=sha256, format=kind, width=width, height=height, bytes=size)
