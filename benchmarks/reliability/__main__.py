"""The command behind ``make reliability``: every part, one table, one page.

Usage: python benchmarks/reliability [--short] [--no-page] [--all] [PART ...]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHMARKS = HERE.parent
PAGE = BENCHMARKS.parent / "docs" / "reliability.md"

# In the order of the page. A part is a module with ``outcomes(short) -> list[Outcome]``; its docstring says on the page what was done.
PARTS = {
    "kills": "kill -9",
    "stops": "Signals and pipes",
    "power": "Power cuts",
    "disk": "Failing and full disks",
    "matrix": "Every fault of the API, in virtual time",
    "soak": "Random runs of one virtual hour",
    "inputs": "Bad input",
    "secrecy": "Keys stay secret",
    "cost": "What durability costs",
}


def main() -> int:
    """Run the parts; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description="Tries out what headrace loses when things go wrong.")
    parser.add_argument("--short", action="store_true", help="a small form of everything, for a minute or two")
    parser.add_argument("--no-page", action="store_true", help="leave docs/reliability.md as it is")
    parser.add_argument("--all", action="store_true", help="show everything that was lost, not the first few")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all without")
    asked = parser.parse_args()
    unknown = [part for part in asked.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    # The parts import each other as a package; started as a folder, their names would stand in the way of others.
    sys.path[:] = [str(BENCHMARKS), *(path for path in sys.path if Path(path).resolve() != HERE)]
    table = importlib.import_module("reliability.table")
    sections = []
    for part in asked.parts or PARTS:
        began = time.monotonic()
        module = importlib.import_module(f"reliability.{part}")
        section = table.Section(PARTS[part], (module.__doc__ or "").strip(), tuple(module.outcomes(asked.short)))
        sections.append(section)
        print(table.as_text([section], sys.maxsize if asked.all else table.SHOWN), flush=True)
        print(f"  ({part}: {time.monotonic() - began:.0f} s)", file=sys.stderr)
    if not asked.short and not asked.no_page:
        before = PAGE.read_text("utf-8") if PAGE.exists() else ""
        PAGE.write_text(table.as_page(sections, tuple(PARTS.values()), before), encoding="utf-8")
        print(f"\nwritten: {PAGE}")
    losses = sum(len(outcome.failures) for section in sections for outcome in section.outcomes)
    print(f"\n{losses} losses in {sum(outcome.trials for section in sections for outcome in section.outcomes):,} trials")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
