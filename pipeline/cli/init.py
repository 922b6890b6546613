"""``headrace init``: a configuration file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("headrace.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a headrace.toml with every setting and what it means."""
    from importlib import resources  # noqa: PLC0415 - see main.py

    from headrace.errors import OutputError, UsageError  # noqa: PLC0415

    text = resources.files("headrace.cli").joinpath("template.toml").read_text("utf-8")
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already; choose another name or add --force") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    typer.echo(f"{path} is written; say there which keys and limits you have, then: headrace run prompts.jsonl -o results.jsonl", err=True)
