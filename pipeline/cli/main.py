"""The command line: what there is, and how it ends. Whatever takes long to import is imported by the command that needs it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli import completion
from headrace.cli.cache import app as cache
from headrace.cli.doctor import doctor
from headrace.cli.estimate import estimate
from headrace.cli.init import init
from headrace.cli.models import models
from headrace.cli.report import report
from headrace.cli.roi import roi
from headrace.cli.run import run
from headrace.cli.simulate import simulate
from headrace.cli.status import status
from headrace.cli.trace import trace
from headrace.errors import HeadraceError

app = typer.Typer(
    name="headrace",
    help="Turn a stream of image prompts into pictures, at the full speed the limits allow.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def common(
    version: bool = typer.Option(False, "--version", help="Show the version.", callback=_version, is_eager=True),
) -> None:
    """Turn a stream of image prompts into pictures, at the full speed the limits allow."""


def limits(
    config: Annotated[Path | None, typer.Option("-c", "--config", help="Configuration.  [default: headrace.toml, if there]")] = None,
    tier: Annotated[
        str | None, typer.Option(autocompletion=completion.tiers, help="Usage tier, 1 to 5: the limits of pools that name none.")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="The pools of the embedded simulator: no key, no cost.")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="Make the cheapest call there is with each pool, which costs money.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show each pool's limits, where each number came from, what was learnt and how long ago, and the last refusals.

    --probe says first what it asks for and what that costs. On a terminal it waits for a yes; elsewhere --probe is the yes. What the
    answers say is kept for the next run, the pictures are not.

    Exit status: 0; 1 where a probe got an answer that says nothing about limits, or none; 2 usage or configuration.
    """
    import json as encoder  # noqa: PLC0415 - see above

    from headrace.cli.limits import report_of, told_nothing  # noqa: PLC0415
    from headrace.cli.tables import limits_table  # noqa: PLC0415
    from headrace.observe.logs import configure  # noqa: PLC0415

    configure("warning", "auto")
    report = report_of(config, tier=tier, simulate=simulate, probe=probe)
    if json:
        typer.echo(encoder.dumps(report))
    else:
        limits_table(report)
    raise typer.Exit(int(told_nothing(report)))


app.command()(run)
app.command(short_help="Tell what a run would cost and take; pays nothing.")(estimate)
app.command(short_help="Tell what an output folder holds and what was paid.")(status)
app.command(short_help="Tell a prompt's way: what it waited for, where it was tried, how that was answered.")(trace)
app.command(short_help="Show what is known of each pool's limits.")(limits)
app.command(short_help="Make a page that shows what a run came to.")(report)
app.command(short_help="Tell what the cache is worth, by what a run measured.")(roi)
app.command()(simulate)
app.command(short_help="Write a headrace.toml with every setting and what it means.")(init)
app.command(short_help="Check what a run needs, and say what to do.")(doctor)
app.command(short_help="Show the models: qualities, tokens and prices.")(models)
app.add_typer(cache)


def main() -> None:
    """Run the command; a :class:`HeadraceError`, and what typer complains about, is one line on stderr and its exit code."""
    _keep_the_standard_numbers()
    # pyarrow's own pool keeps what it has freed for each thread apart, and threads take turns here: memory would creep up. What is set in
    # Python does not reach all of it; this is looked at once, when it is loaded.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        sys.exit(app(prog_name="headrace", standalone_mode=False))
    except HeadraceError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        from headrace.cli.mistakes import line_of  # noqa: PLC0415 - see above

        _complain(line_of(error))
        sys.exit(error.exit_code)
    except typer.Abort:
        _complain("ended without an answer")
        sys.exit(1)
    finally:
        _let_stderr_go()


def _complain(text: str) -> None:
    with suppress(OSError):
        typer.echo(text if text.startswith("Usage:") else f"headrace: {text}", err=True)


def _keep_the_standard_numbers() -> None:
    # A descriptor that was closed would be given to the next file that is opened, and results written into that.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the process lives


def _let_stderr_go() -> None:
    # What a full disk did not take would change the exit status to 120.
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
