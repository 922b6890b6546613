"""``headrace cache audit``: what the cache would make of a file of prompts."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

import trio
import typer

from headrace.cache.audit import Audit
from headrace.cache.encoder import load
from headrace.caching import BY_KEY, BY_MEANING, TIERS, judge_of
from headrace.cli.tables import audit_tables
from headrace.forecast.reading import numbered
from headrace.prompts import PromptReader
from headrace.records import Prompt
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.cache.audit import Ruling
    from headrace.settings import Settings
    from headrace.sources import Source

_BATCH = 256


def audit_file(settings: Settings, source: Source, show: int) -> None:
    """Rule over every prompt of a file, and show what came of it; bad lines are named on stderr.

    Raises:
        UsageError: the file cannot be read, or the encoder or the verifier cannot be used.
    """
    encoder = judge = None
    if settings.cache.policy in BY_MEANING:
        judge, encoder = judge_of(settings.cache), load(settings.cache.encoder)
        judge.check(encoder.fingerprint)
    border = _Border(show)
    audit = Audit(encoder, judge, settings.cache.namespace, TIERS.get(settings.cache.policy, BY_KEY))

    async def rule() -> None:
        async for batch in _batches(settings, source):
            for ruling in audit.rule(batch):
                border.take(ruling)

    trio.run(rule)
    border.show()


class _Border:
    """Counts rulings, and keeps those that were closest."""

    def __init__(self, show: int) -> None:
        self._show = show
        self._tiers: Counter[str] = Counter()
        self._hits: list[tuple[float, int, Ruling]] = []
        self._misses: list[tuple[float, int, Ruling]] = []

    def take(self, ruling: Ruling) -> None:
        self._tiers[ruling.tier or "paid for"] += 1
        verdict = ruling.verdict
        if verdict is None:
            return
        score = verdict.cosine if verdict.rule == "cosine" else verdict.score
        if score is not None:
            held = self._hits if verdict.same else self._misses
            heapq.heappush(held, (-score if verdict.same else score, self._tiers.total(), ruling))
            if len(held) > self._show:
                heapq.heappop(held)

    def show(self) -> None:
        hits, misses = ([ruling for *_, ruling in sorted(held, reverse=True)] for held in (self._hits, self._misses))
        audit_tables(self._tiers.total(), self._tiers.most_common(), hits, misses)


async def _batches(settings: Settings, source: Source) -> AsyncIterator[list[Prompt]]:
    batch: list[Prompt] = []
    async for _, item in numbered(PromptReader(settings.request, source.format), source):
        if isinstance(item, Prompt):
            batch.append(item)
        elif item.error is not None:
            typer.echo(f"headrace: {clean(item.error.message)}", err=True)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
