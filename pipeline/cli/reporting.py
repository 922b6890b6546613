"""A report with a word on the terminal of how far it is: thumbnails of 100,000 pictures take minutes."""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from headrace.errors import HeadraceError
from headrace.journal.database import FILE
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def report_on(folder: Path, target: Path | None = None) -> Path:
    """Make the report of a folder; see :func:`headrace.report.page.write_report`.

    Raises:
        UsageError: there is no journal, or it cannot be read; or the target is no place for a report.
        OutputError: the page or a thumbnail cannot be written.
        SystemExit: a signal came; nothing half written is left.
    """
    from headrace.report.page import write_report  # noqa: PLC0415 - loads matplotlib

    columns = (SpinnerColumn(), TextColumn("report: {task.completed:,} pictures seen to"))
    console = Console(stderr=True)
    shown = Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal)
    with _signals_unwind(), shown as progress:
        task = progress.add_task("report", total=None)
        return write_report(folder, target, lambda done: progress.update(task, completed=done))


@contextmanager
def _signals_unwind() -> Iterator[None]:
    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before: dict[signal.Signals, Any] = {}
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as of nohup
            before[each] = signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def reported(folder: Path) -> Iterator[None]:
    """Make the report of a run behind it, however it ends; what becomes of the report changes nothing about how the run ended."""
    try:
        yield
    finally:
        if (folder / FILE).is_file():
            try:
                said = f"report: {report_on(folder)}"
            except HeadraceError as error:
                said = f"no report: {error}"
            except (KeyboardInterrupt, SystemExit):
                said = f"no report, it was stopped; headrace report {folder} makes it"
            with suppress(OSError):
                typer.echo(f"headrace: {clean(said)}", err=True)
