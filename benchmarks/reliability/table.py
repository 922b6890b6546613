"""The scorecard: a table for the terminal, and the page ``docs/reliability.md``."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reliability.outcome import Outcome

SHOWN = 3
LONGEST = 300


@attrs.frozen
class Section:
    """What one module tried."""

    title: str
    meaning: str
    """What was done, and what counts as a loss."""
    outcomes: tuple[Outcome, ...]


def bound(outcome: Outcome) -> str:
    """The share of trials that may fail, with 95 % confidence."""
    if not outcome.trials:
        return "-"
    return "broken" if outcome.bound is None else f"< {outcome.bound:.2%}"


def as_text(sections: Iterable[Section], shown: int = SHOWN) -> str:
    """The table for a terminal, with the first that broke below it."""
    lines = []
    for section in sections:
        lines.append(f"\n{section.title}")
        for outcome in section.outcomes:
            losses = len(outcome.failures)
            lines.append(f"  {outcome.name:<88} {outcome.trials:>7,} {losses:>5,} {bound(outcome):>9}  {outcome.note}")
            lines += [f"      {failure[:LONGEST]}" for failure in outcome.failures[:shown]]
            if losses > shown:
                lines.append(f"      and {losses - shown} more: --all shows them")
    return "\n".join(lines)


def as_page(sections: Iterable[Section], titles: Sequence[str], before: str = "") -> str:
    """The page, its sections in the order of ``titles``; what was not tried anew stands as it stood in the page ``before``."""
    bodies = dict(part.split("\n", 1) for part in before.split("\n## ")[1:])
    bodies |= {section.title: _body(section) for section in sections}
    told = [f"## {title}\n{bodies[title].rstrip()}\n" for title in titles if title in bodies]
    return "\n".join([_HEAD.format(machine=_machine()), *told, _FOOT])


def _body(section: Section) -> str:
    rows = [
        f"| {_cell(outcome.name)} | {outcome.trials:,} | {len(outcome.failures):,} | {bound(outcome)} | {_cell(outcome.note)} |"
        for outcome in section.outcomes
    ]
    head = "| what counts as a loss | trials | losses | true share, 95 % | |\n|---|--:|--:|--:|---|"
    return "\n".join(["", section.meaning, "", head, *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


_HEAD = """\
# Reliability

Nothing accepted is lost; nothing finished is paid for again; no fault stops a run without a word. A hard kill leaves at most the
requests in flight in doubt, and names them; a graceful stop leaves none.

This page is written by `make reliability`, which tries that out; here on {machine}. The simulated API keeps the bill, so that
what was paid is known from the other side. A zero in n trials says, with 95 % confidence, that fewer than 3 in n such events lose anything
(the rule of three); that is the fourth column.
"""

_FOOT = """\
## How to repeat it

`make reliability` does all of it and writes this page. `make test` runs a small form, and so does
`.venv/bin/python benchmarks/reliability --short`; with names of parts, such as `kills disk`, it runs those alone, and writes their sections
anew. The power cuts and
the full disk need root to mount, the failing disk a C compiler; where they are missing the line says so. The command ends with 1 if
anything was lost.

## What is not promised

- **Exactly one payment.** The API takes no idempotency key: whether a call was paid whose answer never came cannot be known. Such calls are
  counted and named (`headrace status`), and `--in-doubt hold` leaves them alone.
- **A disk that lies.** A drive that says that data is safe before it is loses it with the power, as the controls above do without fsync.
  The cuts are of the file system's cache on ext4; other file systems and the caches of drives were not cut.
- **Lines on stdout exactly once.** A reader behind a pipe gets each line at least once; a file named with `-o` has each exactly once.
- **A folder that others change.** A journal or pictures that are removed by hand during a run are noticed and told, not restored.
"""
