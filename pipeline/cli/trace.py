"""``headrace trace``: the way of one prompt through the runs of an output folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 300
_NEWEST = 10
"""Prompts of one id that are shown."""
_LABEL = 8
"""Columns of the label."""
_SHORT_S = 0.05
"""What took less was no wait."""
_TIERS = {
    "cache_exact": "the same to the letter",
    "cache_canonical": "the same content words",
    "cache_verified": "the same meaning",
    "cache_cosine": "near enough by cosine",
    "cached_similar": "similar, in place of one that failed",
    "coalesced": "it was in flight",
}
_OUTCOMES = {
    "paid": "answered with a picture",
    "spoilt": "billed, and no picture could be used",
    "unpaid": "no picture",
    "unknown": "its answer never came, it may have been paid",
    "in_doubt": "in doubt: the run ended before its answer came, it may have been paid",
    "under_way": "under way",
}


def trace(
    name: Annotated[str, typer.Argument(metavar="ID", help="The prompt's id; by default its place in the input, from 0.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out-dir of a run.")] = Path("headrace-out"),
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell a prompt's way: what it waited for, where it was tried, how that was answered; also while a run is at work there.

    Where inputs of several runs had the same id all are told, the newest last.
    """
    import json as encoder  # noqa: PLC0415 - see main.py

    from headrace.journal.trace import trace as way_of  # noqa: PLC0415

    way = way_of(folder, name, None if json else _NEWEST)
    if json:
        typer.echo(encoder.dumps(way))
    else:
        _show(way)


def _show(way: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415 - see main.py
    from rich.text import Text  # noqa: PLC0415

    from headrace.text import clean  # noqa: PLC0415

    console = Console(highlight=False)
    room = max(20, console.width - _LABEL)
    for place, prompt in enumerate(way["prompts"]):
        if place:
            typer.echo()
        for label, said in _lines(prompt, running=way["running"]):
            told = Text(clean(said, _LONGEST))
            # What goes into a file stays one line, so that paths can be copied.
            parts = told.wrap(console, room, overflow="fold") if console.is_terminal else [told]
            for part in parts:
                typer.echo(f"{label:<{_LABEL}}{part.plain}".rstrip())
                label = ""  # noqa: PLW2901 - of the first line only
    if (earlier := way["count"] - len(way["prompts"])) > 0:
        typer.echo(f"\n{earlier:,} more of this id, all of them earlier; --json has all")


def _lines(prompt: dict[str, Any], *, running: bool) -> Iterator[tuple[str, str]]:
    """Rows of a label and what it is about; a row without a label goes on with the one above."""
    yield "id", prompt["id"]
    if prompt["prompt"] is not None:
        yield "prompt", prompt["prompt"]
    yield "read", _at(prompt["read_at"])
    if prompt["runs"]:
        yield "runs", ", ".join(map(str, prompt["runs"]))
    result = prompt["result"] or {}
    if (match := result.get("match")) is not None:
        yield from _match(match, result)
    for number, call in enumerate(prompt["calls"], 1):
        yield from _call(number, call)
    if prompt["status"] is None:
        yield "result", "none so far" if running else "none: the run ended before it had one"
    else:
        yield from _result(prompt, result)


def _match(match: dict[str, Any], result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    how = _TIERS.get(str(result.get("strategy")), "")
    yield (
        "cache",
        f"picture of prompt {match.get('of')}: {how}, similarity {match.get('similarity')}, saved {_usd(result.get('saved_usd'))}",
    )
    for name in ("prompt", "difference"):
        if match.get(name):
            yield "", f"{'its words' if name == 'prompt' else 'differs in'}: {match[name]}"


def _call(number: int, call: dict[str, Any]) -> Iterator[tuple[str, str]]:
    waited_s, cause = call["waited_s"], call["waited_for"]
    if waited_s is None:
        waited = "not known whether it waited"
    else:
        waited = f"waited {waited_s:.1f} s{f' ({cause})' if cause else ''}" if waited_s >= _SHORT_S else "did not wait"
    if (paused_s := call["paused_s"]) >= _SHORT_S:
        waited = f"paused {paused_s:.1f} s, {waited}"
    pool = "" if call["pool"] is None else f", pool {call['pool']}"
    rung = "" if call["strategy"] in (None, "primary") else f", by {call['strategy']}"
    yield f"call {number}", f"{waited}{pool}, key {call['key']}{rung}{', simulated' if call['simulated'] else ''}"
    yield "", f"sent {_at(call['sent_at'])} as {call['request_id']}"
    after = "" if call["latency_s"] is None else f" after {call['latency_s']:.1f} s"
    cost = f", {_usd(call['cost_usd'])}" if call["outcome"] in ("paid", "spoilt") else ""
    why = " ".join(str(each) for each in (call["status"], call["kind"]) if each is not None)
    said = f"{_OUTCOMES.get(call['outcome'], call['outcome'])}{after}{cost}"
    yield "", f"{said}: {why}" if why else said
    if call["message"]:
        yield "", call["message"]


def _result(prompt: dict[str, Any], result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    strategy, error = result.get("strategy"), result.get("error")
    made = " ".join(str(result[name]) for name in ("model", "size", "quality") if result.get(name))
    yield "result", f"{prompt['status']}{f' by {strategy}' if strategy else ''}, {_usd(result.get('cost_usd'))}, {_at(prompt['ended_at'])}"
    if made:
        yield "", made
    if error is not None:
        yield "", f"{error.get('kind')}: {error.get('message')}"
    for picture in result.get("images", ()):
        yield "", str(picture.get("path"))


def _at(moment: str | None) -> str:
    return "at an unknown time" if moment is None else f"{moment[:10]} {moment[11:23]} UTC"


def _usd(amount: float | None) -> str:
    return "cost unknown" if amount is None else f"${amount:.4f}"
