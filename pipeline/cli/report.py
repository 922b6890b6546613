"""``headrace report``: one HTML page about an output folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out-dir of a run.")] = Path("headrace-out"),
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The page.  [default: DIR/report.html]")] = None,
) -> None:
    """Make a page that shows what a run came to: also of one that was interrupted or is at work.

    It opens from disk without a network. Thumbnails are made once and kept in DIR/thumbnails; full pictures are shown from DIR/images, so
    keep the page where it is made.
    """
    import os  # noqa: PLC0415 - see main.py

    from headrace.cli.reporting import report_on  # noqa: PLC0415
    from headrace.text import clean  # noqa: PLC0415

    os.umask(0o077)  # prompts and pictures are their owner's business
    typer.echo(clean(f"{report_on(folder, output)}"))
