from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from reliability import disk
from reliability.shim import Trouble, compiled, without_compiler

if TYPE_CHECKING:
    from pathlib import Path

NO_COMPILER = without_compiler()
WRITES = """
import os, sys
for number in range(6):
    try:
        handle = os.open(f"{sys.argv[1]}/{number}", os.O_CREAT | os.O_WRONLY)
        os.write(handle, b"x")
        os.close(handle)
    except OSError as error:
        print(number, error.errno)
"""


def test_a_disk_that_fails_at_any_call_loses_nothing_that_was_paid() -> None:
    found = {outcome.name: outcome for outcome in disk.outcomes(short=True)}
    assert {name: outcome.failures for name, outcome in found.items() if outcome.failures} == {}


@pytest.mark.skipif(NO_COMPILER is not None, reason=str(NO_COMPILER))
@pytest.mark.parametrize(("first", "times", "failing"), [(0, 0, []), (3, 1, [1]), (3, 3, [1, 2, 3]), (9, 0, [4, 5])])
def test_the_library_fails_the_calls_that_it_is_told_to(tmp_path: Path, first: int, times: int, failing: list[int]) -> None:
    (tmp_path / "there").mkdir()
    library = compiled(tmp_path)
    trouble = Trouble(library=library, under=tmp_path / "there", family="write", first=first, times=times, error=errno.EIO)
    command = [sys.executable, "-c", WRITES]
    for folder, expected in (("there", [f"{number} {errno.EIO}" for number in failing]), (".", [])):
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, str(tmp_path / folder)], env=dict(trouble.environ), capture_output=True, text=True, timeout=20, check=True
        )
        assert done.stdout.splitlines() == expected
