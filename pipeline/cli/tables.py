"""What ``headrace cache`` and ``headrace limits`` show, as tables; foreign text comes in clean, and never as markup."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cache.canonical import canonical
from headrace.cache.difference import difference
from headrace.cache.keys import exact_key
from headrace.caching import BY_KEY, TIERS
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from headrace.cache.audit import Ruling
    from headrace.cache.entry import Entry
    from headrace.cache.inventory import Statistics
    from headrace.cache.judge import Verdict

_LONGEST = 300
_FROM = {
    "header": "headers of answers",
    "refusal": "a refusal's text",
    "refusals": "refusals",
    "guess": "what got through",
}
"""What the words for where a limit came from mean, where they do not say it themselves."""


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


def limits_table(report: Mapping[str, Any]) -> None:
    """What is known of each pool's limits, and what the pools that were asked have answered."""
    console = _console()
    table = Table("pool", "limit of", "a minute", "from", "tried")
    table.columns[2].justify = table.columns[4].justify = "right"
    for pool in report["pools"]:
        for place, known in enumerate(pool["limits"]):
            limit = "?" if known["limit"] is None else f"{known['limit']:,.0f}"
            at_once = " at once" if known["resource"] == "calls" and known["limit"] is not None else ""
            tried = "" if known["limit"] is None else f"{known['scale']:.0%}"
            source = _FROM.get(known["source"], known["source"])
            table.add_row(_text(pool["name"] if place == 0 else ""), known["resource"], limit + at_once, _text(source), tried)
        table.add_section()
    console.print(table)
    for pool in report["pools"]:
        for number, line in enumerate(_of_pool(pool)):
            console.print(Text.assemble("" if number == 0 else "  ", _text(line)), soft_wrap=True)
    for answer in report["probe"]:
        console.print(_text(_of_answer(answer)), soft_wrap=True)
        if answer["message"]:
            console.print(Text.assemble("  ", _text(answer["message"])), soft_wrap=True)


def _of_pool(pool: Mapping[str, Any]) -> Iterator[str]:
    about = [f"keys {', '.join(pool['keys'])}", f"for {', '.join(pool['models'])}" if pool["models"] else "for all models"]
    about += ["learning starts at its limits"] if pool["exceed"] else []
    about += [f"limits asked of project {pool['project']}"] if pool["project"] else []
    about.append("nothing learnt so far" if pool["learnt_s_ago"] is None else f"what was learnt is {_age(pool['learnt_s_ago'])} old")
    yield f"{pool['name']}: {'; '.join(about)}"
    if pool["owners"]:
        yield f"by the API's own word it belongs to {', '.join(pool['owners'])}"
    for known in pool["limits"]:
        if known["offered"] is not None:
            yield f"the API speaks of {known['offered']:,.0f} {known['resource']} a minute, the settings allow {known['limit']:,.0f}"
    if pool["state"].startswith("benched"):
        yield f"it is {pool['state']}"
    for refusal in pool["refusals"]:
        yield f"refused: {refusal}"


def _of_answer(answer: Mapping[str, Any]) -> str:
    status = "no answer" if answer["status"] is None else str(answer["status"])
    cost = "" if not answer["cost_usd"] else f", ${answer['cost_usd']:.4f}"
    told = [f"{answer['outcome']} ({status}) in {answer['seconds']:.1f} s{cost}"]
    told += [f"{name} {answer[name]}" for name in ("organisation", "project", "family") if answer[name]]
    told += [f"{level['resource']} {level['remaining']:,.0f} of {level['limit']:,.0f} left" for level in answer["levels"]]
    if refusal := answer["refusal"]:
        told += [f"refused for {refusal['resource'] or 'what it does not say'}"]
        told += [f"{name} {refusal[name]:,g}" for name in ("limit", "used", "requested") if refusal[name] is not None]
    if not answer["levels"] and not answer["refusal"]:
        told.append("nothing about limits")
    return f"asked {answer['pool']}: {'; '.join(told)}"


def _age(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.0f} s"


def _console() -> Console:
    return Console(highlight=False)


def _text(foreign: str) -> Text:
    return Text("\n".join(clean(line, _LONGEST) for line in foreign.splitlines()))


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
