"""``headrace estimate``: what a run would cost and take. Here are its options; ``forecast.py`` shows what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.formats import Format, IdColumn, PromptColumn
from headrace.cli.given import Cache, Config, Count, Input, MaxCost, MaxInFlight, Model, OutputFormat, Profile, Quality, Size, Tier

if TYPE_CHECKING:
    from headrace.settings import Settings


def estimate(
    source: Input = "-",
    out_dir: Annotated[
        Path | None,
        typer.Option("--out-dir", help="The run's folder: what is finished there is not paid for again.  [default: headrace-out]"),
    ] = None,
    config: Config = None,
    form: Format = "auto",
    prompt_column: PromptColumn = None,
    id_column: IdColumn = None,
    model: Model = None,
    size: Size = None,
    quality: Quality = None,
    n: Count = None,
    output_format: OutputFormat = None,
    profile: Profile = None,
    tier: Tier = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="A run with the embedded simulator.")] = False,
    max_cost: MaxCost = None,
    max_in_flight: MaxInFlight = None,
    cache: Cache = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell what a run would cost and how long it would take.

    Give it the options of the run. It pays nothing, calls nobody and needs no key. It takes for granted that every prompt is answered at
    the first try, in the time that its model and quality usually take.

    Exit status: 0; 1 where some lines are no prompts that the run could do; 2 usage or configuration.
    """
    import json as encoder  # noqa: PLC0415 - see main.py

    from headrace.cli.forecast import forecast_of, forecast_tables  # noqa: PLC0415
    from headrace.cli.options import settings_of  # noqa: PLC0415
    from headrace.columns import Columns  # noqa: PLC0415
    from headrace.models import catalogue  # noqa: PLC0415
    from headrace.observe.logs import configure  # noqa: PLC0415
    from headrace.sources import Source  # noqa: PLC0415

    configure("warning", "auto")
    asked = {"model": model, "size": size, "quality": quality, "n": n, "output_format": output_format}
    given = {name: value for name, value in asked.items() if value is not None}

    def settings(profile: str | None) -> Settings:
        return settings_of(
            config,
            request=given,
            profile=profile,
            tier=tier,
            cache=cache,
            out_dir=out_dir,
            simulate=simulate,
            ordered=False,
            max_cost_usd=max_cost,
            max_in_flight=max_in_flight,
            in_doubt=None,
        )

    prompts = Source(source, form, Columns(prompt=prompt_column, id=id_column))
    found = forecast_of(settings(profile), prompts, {name: settings(name).request for name in catalogue().profiles})
    if json:
        typer.echo(encoder.dumps(found))
    else:
        forecast_tables(found)
    raise typer.Exit(int(found["bad"] > 0))
