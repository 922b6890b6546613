"""The machine: its Python and packages, its clock, its terminal."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from headrace.doctor.finding import Finding, State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_TELLING = ("trio", "httpx", "faiss-cpu", "sentence-transformers")
_YEARS = range(2026, 2100)
_NARROW = 60
OFF_S = 60.0
"""Seconds between two clocks from which on they are worth a word."""


def python() -> list[Finding]:
    """Versions, and packages that are missing."""
    here = f"headrace {version('headrace')}, Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    versions = {name: _version(name) for name in _required()}
    missing = [name for name, found in versions.items() if found is None]
    findings = [Finding("python", State.OK, here)]
    if missing:
        return [*findings, Finding("packages", State.FAILED, f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")]
    told = ", ".join(f"{name} {versions[name]}" for name in _TELLING if name in versions)
    return [*findings, Finding("packages", State.OK, f"all {len(versions)} are there: {told}")]


def clock(now: datetime, off_s: float | None) -> list[Finding]:
    """The time, which is UTC, and by how much the provider's clock is ahead of it; None where it was not asked."""
    about = f"{now:%Y-%m-%d %H:%M} UTC"
    if now.year not in _YEARS:
        return [Finding("clock", State.FAILED, f"it is {about} here", "set the clock: certificates and the ends of models go by it")]
    if off_s is None:
        return [Finding("clock", State.OK, f"{about}, compared with no other clock")]
    if abs(off_s) < OFF_S:
        return [Finding("clock", State.OK, f"{about}, as the provider's")]
    way = "behind" if off_s > 0 else "ahead of"
    return [Finding("clock", State.WARNING, f"{about} is {abs(off_s):,.0f} s {way} the provider's clock", "set it, by NTP if you can")]


def terminal(environ: Mapping[str, str]) -> list[Finding]:
    """What can be shown on stderr."""
    from rich.console import Console  # noqa: PLC0415 - the only check that needs it

    encoding = (getattr(sys.stderr, "encoding", None) or "ascii").lower()
    columns = shutil.get_terminal_size().columns
    console = Console(stderr=True)
    if not console.is_terminal:
        about = "stderr is no terminal: there is no live view"
    else:
        colours = "no colours (NO_COLOR)" if environ.get("NO_COLOR") else f"colours: {console.color_system or 'none'}"
        about = f"{columns} columns, {colours}, {encoding}"
    if not encoding.startswith("utf"):
        return [Finding("terminal", State.WARNING, f"{about}; text goes out as {encoding}", "export LANG=C.UTF-8")]
    if console.is_terminal and columns < _NARROW:
        return [Finding("terminal", State.WARNING, about, f"make it {_NARROW} columns or wider")]
    return [Finding("terminal", State.OK, about)]


def _required() -> list[str]:
    lines = [line for line in requires("headrace") or () if "extra ==" not in line]
    return [name[0] for line in lines if (name := re.match(r"[A-Za-z0-9._-]+", line))]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
