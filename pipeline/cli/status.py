"""``headrace status``: what an output folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_NAMED = 10


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out-dir of a run.")] = Path("headrace-out"),
    json: Annotated[bool, typer.Option("--json", help="One JSON object, with every call that may have been paid.")] = False,
) -> None:
    """Tell what is finished, failed, in doubt and paid in an output folder, also while a run is at work there."""
    import json as encoder  # noqa: PLC0415 - see main.py

    from headrace.journal.status import status as books_of  # noqa: PLC0415
    from headrace.text import clean  # noqa: PLC0415

    books = books_of(folder)
    if json:
        typer.echo(encoder.dumps(books))
        return
    for line in _lines(books):
        typer.echo(clean(line, 2_000))


def _lines(books: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{books[name]:,} {name}" for name in ("ok", "failed", "skipped", "unfinished"))
    calls = ", ".join(f"{count:,} {name}" for name, count in books["attempts"].items() if count)
    lines = [
        f"{books['folder']}: {'a run is at work' if books['running'] else 'no run is at work'}",
        f"prompts: {books['prompts']:,} ({counts}), pictures: {books['pictures']:,}",
        f"calls: {calls or 'none'}",
        f"paid: ${books['paid_usd']:.4f}; perhaps paid besides: ${books['perhaps_paid_usd']:.4f}",
    ]
    for name, what in (("in_doubt", "in doubt (under way when a run was killed)"), ("perhaps_paid", "perhaps paid for nothing")):
        named = books[name]
        lines += [
            f"{what}: prompt {call['id']}, sent {call['sent_at'] or 'at an unknown time'}, request id {call['request_id']}"
            for call in named[:_NAMED]
        ]
        if len(named) > _NAMED:
            lines.append(f"{what}: {len(named) - _NAMED:,} more; --json lists all")
    return lines
