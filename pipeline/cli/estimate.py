"""``headrace estimate``: what a run would cost and take. Here are its options; ``forecast.py`` shows what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace.cli import completion

if TYPE_CHECKING:
    from headrace.settings import Settings


def estimate(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Prompts, one a line: text or JSONL; - is stdin.")] = "-",
    out_dir: Annotated[Path | None, typer.Option("--out-dir", help="The run's folder; a simulated run has its cache there.")] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="Configuration.  [default: headrace.toml, if there]")] = None,
    form: Annotated[Literal["auto", "text", "jsonl"], typer.Option("--format", help="How input lines are to be read.")] = "auto",
    model: Annotated[str | None, typer.Option(autocompletion=completion.models, help="See 'headrace models'.")] = None,
    size: Annotated[str | None, typer.Option(autocompletion=completion.sizes, help="Such as 1024x1024.")] = None,
    quality: Annotated[
        str | None, typer.Option(autocompletion=completion.qualities, help="low, medium, high; xhigh and max where the model has them.")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="Pictures a prompt, 1 to 10.")] = None,
    output_format: Annotated[str | None, typer.Option(autocompletion=completion.formats, help="png, jpeg or webp.")] = None,
    profile: Annotated[
        str | None, typer.Option(autocompletion=completion.profiles, help="speed, balanced or quality: as far as the model can.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(autocompletion=completion.tiers, help="Usage tier, 1 to 5: the limits of pools that name none.")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="A run with the embedded simulator.")] = False,
    max_in_flight: Annotated[int | None, typer.Option(help="Prompts between being read and being emitted.")] = None,
    cache: Annotated[
        str | None,
        typer.Option(autocompletion=completion.policies, help="off, exact, canonical, verified or cosine.  [default: verified]"),
    ] = None,
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
    from headrace.models import catalogue  # noqa: PLC0415
    from headrace.observe.logs import configure  # noqa: PLC0415

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
            max_cost_usd=None,
            max_in_flight=max_in_flight,
            in_doubt=None,
        )

    found = forecast_of(settings(profile), source, form, {name: settings(name).request for name in catalogue().profiles})
    if json:
        typer.echo(encoder.dumps(found))
    else:
        forecast_tables(found)
    raise typer.Exit(int(found["bad"] > 0))
