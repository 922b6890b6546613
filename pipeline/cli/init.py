"""``headrace init``: a configuration file to start from, with what is found in the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

_POOL = """\
[[pool]]
name = "default"
tier = 1                             # assumed: say which one your organisation's page of limits at the vendor names

[[key]]
name = "default"                     # the name that results and logs show
pool = "default"
env = "{variable}"               # it was set when this file was written

# Others are added like these:
"""
"""Stands before the first example of a pool."""
_EXAMPLE = "\n# [[pool]]\n"


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("headrace.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a headrace.toml with every setting and what it means; it names the key in OPENAI_API_KEY where there is one."""
    from importlib import resources  # noqa: PLC0415 - see main.py

    from headrace.errors import OutputError, UsageError  # noqa: PLC0415
    from headrace.settings import KEY_VARIABLE  # noqa: PLC0415

    text = resources.files("headrace.cli").joinpath("template.toml").read_text("utf-8")
    found = bool(os.environ.get(KEY_VARIABLE, "").strip())
    if found:
        text = text.replace(_EXAMPLE, f"\n{_POOL.format(variable=KEY_VARIABLE)}{_EXAMPLE[1:]}", 1)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already; choose another name or add --force") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    if found:
        typer.echo(f"{path} is written: it takes the key in {KEY_VARIABLE} for one of tier 1; say there what it may do", err=True)
    else:
        typer.echo(f"{path} is written; say there which keys and limits you have: {KEY_VARIABLE} is not set", err=True)
    named = "" if path == Path("headrace.toml") else f" -c {path}"
    typer.echo(
        f"then: headrace doctor{named}, and: headrace run{named} prompts.jsonl -o results.jsonl (--simulate costs nothing)", err=True
    )
