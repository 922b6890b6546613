"""What ``headrace cache`` shows, as tables; foreign text comes in clean, and never as markup."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cache.canonical import canonical
from headrace.cache.difference import difference
from headrace.cache.keys import exact_key
from headrace.caching import BY_KEY, TIERS
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from headrace.cache.audit import Ruling
    from headrace.cache.entry import Entry
    from headrace.cache.inventory import Statistics
    from headrace.cache.judge import Verdict

_LONGEST = 300


def statistics_table(folder: Path, found: Statistics) -> None:
    """What the cache holds."""
    table = Table(show_header=False)
    table.add_row("folder", _text(str(folder)))
    table.add_row("entries", f"{found.entries:,} in {found.scopes:,} scopes")
    table.add_row("pictures", f"{found.pictures:,}, {found.bytes:,} bytes")
    table.add_row("paid", f"${found.spent_usd:,.4f}")
    table.add_row("hits", f"{found.hits:,}, which saved ${found.saved_usd:,.4f}")
    if found.oldest is not None and found.newest is not None:
        table.add_row("from", f"{_day(found.oldest)} to {_day(found.newest)}")
    for name, count in found.namespaces:
        table.add_row("namespace", _text(f"{name}: {count:,} entries"))
    for name, count in found.encoders:
        table.add_row("encoder", _text(f"{name}: {count:,} vectors"))
    _console().print(table)


def neighbours_table(folder: Path, found: Sequence[tuple[float, Entry]]) -> None:
    """Entries with their cosines."""
    table = Table("cosine", "#", "prompt", "request", "picture")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[4].overflow = "fold"  # a path is there to be copied
    for cosine, entry in found:
        request = entry.request
        table.add_row(
            f"{cosine:.3f}",
            str(entry.number),
            _text(request.prompt),
            _text(f"{request.model} {request.size} {request.quality}"),
            _text("\n".join(str(folder / picture.path) for picture in entry.pictures)),
        )
    _console().print(table)


def chain_table(asked: str, known: str, policy: str, verdict: Verdict | None) -> None:
    """Each step of the decision about two prompts, as far as the policy goes; the verdict is that of the policies by meaning."""
    table = Table("step", "finding")
    table.add_row("policy", policy)
    table.add_row("difference", _text(difference(asked, known) or "none"))
    found = {"exact": exact_key("", asked) == exact_key("", known), "canonical": canonical(asked) == canonical(known)}
    tiers = TIERS.get(policy, BY_KEY)
    if "exact" in tiers:
        table.add_row("exact", "the same to the letter" if found["exact"] else "not the same to the letter")
    if "canonical" in tiers:
        table.add_row("canonical A", _text(canonical(asked)))
        table.add_row("canonical B", _text(canonical(known)))
        table.add_row("canonical", "the same content words" if found["canonical"] else "other content words")
    if verdict is not None:
        table.add_row("cosine", f"{verdict.cosine:.4f}")
        table.add_row("rule", _text(f"{verdict.rule}: {verdict.detail}"))
        if verdict.score is not None and verdict.threshold is not None:
            table.add_row("score", f"{verdict.score:.4f}; {verdict.threshold:.4f} is enough")
    same = any(found[tier] for tier in tiers) or (verdict is not None and verdict.same)
    table.add_row("so", "A gets the picture of B" if same else "A is paid for")
    _console().print(table)


def audit_tables(total: int, tiers: Iterable[tuple[str, int]], hits: Sequence[Ruling], misses: Sequence[Ruling]) -> None:
    """How many prompts would share a picture, and the pairs that it was closest for."""
    table = Table("answered by", "prompts", "share")
    for name, count in tiers:
        table.add_row(name, f"{count:,}", f"{count / max(total, 1):.1%}")
    console = _console()
    console.print(table)
    for title, rulings in (("hits nearest to the border", hits), ("misses nearest to the border", misses)):
        if rulings:
            pairs = Table("score", "cosine", "asked", "known", "difference", "rule", title=title, show_lines=True)
            for ruling in rulings:
                verdict = ruling.verdict
                score = "" if verdict is None or verdict.score is None else f"{verdict.score:.3f}"
                cosine = "" if verdict is None else f"{verdict.cosine:.3f}"
                known, rule = ruling.known or "", "" if verdict is None else verdict.rule
                pairs.add_row(score, cosine, _text(ruling.prompt), _text(known), _text(difference(ruling.prompt, known)), rule)
            console.print(pairs)


def _console() -> Console:
    return Console(highlight=False)


def _text(foreign: str) -> Text:
    return Text("\n".join(clean(line, _LONGEST) for line in foreign.splitlines()))


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
