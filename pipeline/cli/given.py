"""Options that a run and its estimate share: what is asked for, and within which limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.cli import completion

Input = Annotated[str, typer.Argument(metavar="INPUT", help="Prompts: text or JSONL lines, or a table; - is stdin.")]
Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration.  [default: headrace.toml, if there]")]
Model = Annotated[str | None, typer.Option(autocompletion=completion.models, help="See 'headrace models'.")]
Size = Annotated[str | None, typer.Option(autocompletion=completion.sizes, help="Such as 1024x1024.")]
Quality = Annotated[
    str | None, typer.Option(autocompletion=completion.qualities, help="low, medium, high; xhigh and max where the model has them.")
]
Count = Annotated[int | None, typer.Option("--n", help="Pictures a prompt, 1 to 10.")]
OutputFormat = Annotated[str | None, typer.Option(autocompletion=completion.formats, help="png, jpeg or webp.")]
Profile = Annotated[
    str | None, typer.Option(autocompletion=completion.profiles, help="speed, balanced or quality: as far as the model can.")
]
Tier = Annotated[str | None, typer.Option(autocompletion=completion.tiers, help="Usage tier, 1 to 5: the limits of pools that name none.")]
MaxCost = Annotated[float | None, typer.Option("--max-cost", help="Stop before the job has cost more USD, earlier runs included.")]
MaxInFlight = Annotated[int | None, typer.Option(help="Prompts between being read and being emitted.")]
Cache = Annotated[
    str | None, typer.Option(autocompletion=completion.policies, help="off, exact, canonical, verified or cosine.  [default: verified]")
]
