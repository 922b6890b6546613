"""``headrace roi``: what the cache of a measured run is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def roi(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out-dir of a run.")] = Path("headrace-out"),
    volume: Annotated[float | None, typer.Option(min=0, help="Prompts a day.  [default: those of DIR, once a day]")] = None,
    setup_cost: Annotated[float, typer.Option(min=0, help="USD that it cost to set up.")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell what the cache saves a month, when it has paid for its setup, and the yearly return, from what was measured in DIR.

    The comparison is the same job without the cache, every answered prompt paid for. The formula is shown with its numbers.
    """
    import json as encoder  # noqa: PLC0415 - see main.py

    from headrace.report.roi import lines, return_of  # noqa: PLC0415
    from headrace.text import clean  # noqa: PLC0415

    found = return_of(folder, volume, setup_cost)
    if json:
        typer.echo(encoder.dumps(found.as_dict()))
        return
    for line in lines(found, clean(str(folder))):
        typer.echo(line)
