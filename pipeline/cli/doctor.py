"""``headrace doctor``: one line for each thing that a run needs, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.doctor.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_WIDTHS = (9, 15)
"""Columns of the state and of the check's name."""


def doctor(
    config: Annotated[Path | None, typer.Option("-c", "--config", help="Configuration.  [default: headrace.toml, if there]")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Look at what a simulation needs: no key, nothing is sent.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check keys, provider, clock, limits, models, disk, encoder, alerts, metrics and terminal.

    Each API is asked once with each key for its list of models, which costs nothing. Nothing is changed anywhere.

    Exit status: 0; 1 where something failed that a run needs; 2 usage.
    """
    import json as encoder  # noqa: PLC0415 - see main.py
    import os  # noqa: PLC0415

    import attrs  # noqa: PLC0415
    import trio  # noqa: PLC0415

    from headrace.doctor.checkup import checkup  # noqa: PLC0415
    from headrace.doctor.finding import State  # noqa: PLC0415

    async def look() -> list[Finding]:
        return await checkup(config, os.environ, simulate=simulate)

    findings = trio.run(look)
    failed = sum(finding.state is State.FAILED for finding in findings)
    if json:
        typer.echo(
            encoder.dumps({"ok": not failed, "checks": [attrs.asdict(finding) | {"next": finding.next or None} for finding in findings]})
        )
    else:
        _show(findings)
    raise typer.Exit(int(failed > 0))


def _show(findings: Sequence[Finding]) -> None:
    import textwrap  # noqa: PLC0415 - see main.py
    from collections import Counter  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    first, second = _WIDTHS
    for finding in findings:
        lines = [finding.message, f"-> {finding.next}"] if finding.next else [finding.message]
        if console.is_terminal:
            room = max(20, console.width - sum(_WIDTHS))
            lines = [part for line in lines for part in textwrap.wrap(line, room, break_on_hyphens=False)]
        else:
            lines = [" ".join(lines)]  # what goes into a file stays one line
        told = f"\n{' ' * sum(_WIDTHS)}".join(lines)
        state, check = f"{finding.state:<{first}}", f"{finding.check:<{second}}"
        console.print(Text.assemble((state, _STYLES[finding.state]), check, told), soft_wrap=True)
    counts = Counter(finding.state for finding in findings)
    told = ", ".join(f"{count:,} {state}{'s' if state == 'warning' and count > 1 else ''}" for state, count in counts.items())
    typer.echo(f"headrace: {told}", err=True)
