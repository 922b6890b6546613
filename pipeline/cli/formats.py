"""Options of the commands that read prompts: how their input is to be read."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Format = Annotated[
    Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"],
    typer.Option("--format", help="How INPUT is read; auto goes by the ending of its name, then by its first line."),
]
PromptColumn = Annotated[str | None, typer.Option("--prompt-column", help="Of a table: the column of the prompts.  [default: prompt]")]
IdColumn = Annotated[str | None, typer.Option("--id-column", help="Of a table: the column of the ids.  [default: id, if there]")]
