"""``headrace run``: prompts in, pictures and result lines out. Here are its options; ``execute.py`` does it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from headrace.cli import completion
from headrace.cli.formats import Format, IdColumn, PromptColumn
from headrace.cli.given import Cache, Config, Count, Input, MaxCost, MaxInFlight, Model, OutputFormat, Profile, Quality, Size, Tier


def run(
    source: Input = "-",
    output: Annotated[str, typer.Option("-o", "--output", help="Where result lines go; - is stdout.")] = "-",
    out_dir: Annotated[Path | None, typer.Option("--out-dir", help="Where pictures and the journal go.  [default: headrace-out]")] = None,
    pictures_to: Annotated[str | None, typer.Option(help="Copy pictures to a URL, such as s3://bucket/prefix, too.")] = None,
    shards: Annotated[str | None, typer.Option(help="Pack pictures into a WebDataset, too: set/pictures-%06d.tar.")] = None,
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
    simulate: Annotated[bool, typer.Option("--simulate", help="Use the embedded simulator: no key, no cost.")] = False,
    ordered: Annotated[bool, typer.Option("--ordered", help="Results in the order of the prompts.")] = False,
    max_cost: MaxCost = None,
    max_in_flight: MaxInFlight = None,
    cache: Cache = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over: forget what earlier runs finished in this folder.")] = False,
    in_doubt: Annotated[
        str | None,
        typer.Option(
            "--in-doubt", autocompletion=completion.doubts, help="What a kill left without an answer: retry or hold.  [default: retry]"
        ),
    ] = None,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that calls in flight get after Ctrl-C.")] = 120.0,
    report: Annotated[bool, typer.Option("--report", help="Make DIR/report.html at the end, however it ends.")] = False,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve metrics for Prometheus on this port of 127.0.0.1; 0 takes a free one.")
    ] = None,
    progress: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            help="The live view on stderr; without a terminal an event every 10 s. For a pipe that ends on the same terminal: never."
        ),
    ] = "auto",
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="What is logged on stderr.")] = "warning",
    log_format: Annotated[Literal["auto", "console", "json"], typer.Option(help="How it is logged.")] = "auto",
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Log the words of prompts as well.")] = False,
) -> None:
    """Turn prompts into pictures.

    Exit status: 0 all answered, 1 some prompts failed or were skipped, 2 usage or configuration, 3 no key can work any more or the
    budget is spent, 74 the output could not be written, 129, 130 or 143 stopped by a signal.

    The same command again, with the same --out-dir, goes on where it stopped.
    """
    try:
        # Imports take long enough for a Ctrl-C to fall into them.
        from headrace.cli.execute import Job, execute  # noqa: PLC0415 - see main.py
        from headrace.cli.options import settings_of  # noqa: PLC0415
        from headrace.columns import Columns  # noqa: PLC0415
        from headrace.observe.logs import configure  # noqa: PLC0415

        os.umask(0o077)  # prompts and pictures are their owner's business
        configure(log_level, log_format, prompts=log_prompts)
        asked = {"model": model, "size": size, "quality": quality, "n": n, "output_format": output_format}
        settings = settings_of(
            config,
            request={name: value for name, value in asked.items() if value is not None},
            profile=profile,
            tier=tier,
            cache=cache,
            out_dir=out_dir,
            simulate=simulate,
            ordered=ordered,
            max_cost_usd=max_cost,
            max_in_flight=max_in_flight,
            in_doubt=in_doubt,
            metrics_port=metrics_port,
        )
        job = Job(
            settings=settings,
            source=source,
            output=output,
            format=form,
            columns=Columns(prompt=prompt_column, id=id_column),
            pictures_to=pictures_to,
            shards=shards,
            drain_s=drain,
            progress=progress,
            fresh=fresh,
        )
        with ExitStack() as behind:
            if report:
                from headrace.cli.reporting import reported  # noqa: PLC0415

                behind.enter_context(reported(Path(settings.run.out_dir)))
            status = execute(job)
    except KeyboardInterrupt:
        typer.echo("headrace: stopped before it began", err=True)
        status = 130
    raise typer.Exit(status)
