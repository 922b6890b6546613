"""Prompts of a file or of stdin, one after the other, with the numbers of their lines or rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import UsageError
from headrace.lines import open_input

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.prompts import PromptReader
    from headrace.records import Prompt, Result
    from headrace.sources import Source

_STDIN = 0


async def numbered(reader: PromptReader, source: Source) -> AsyncIterator[tuple[int, Prompt | Result]]:
    """What the reader makes of each line that is not blank, or of each row.

    Raises:
        UsageError: it cannot be read.
    """
    if source.name == "-" and sys.stdin is None:
        raise UsageError("stdin is closed; name a file with one prompt a line, or pipe prompts in")
    async with source.reading(_STDIN if source.name == "-" else open_input(Path(source.name))) as reading:
        async for line in reading.items:
            item = reader.read(line)
            if item is not None:
                yield line.number, item
