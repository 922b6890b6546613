"""Prompts of a file or of stdin, one after the other, with the numbers of their lines."""

from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import UsageError
from headrace.lines import open_input, read_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.prompts import PromptReader
    from headrace.records import Prompt, Result

_STDIN = 0


async def numbered(reader: PromptReader, source: str) -> AsyncIterator[tuple[int, Prompt | Result]]:
    """What the reader makes of each line that is not blank; ``-`` is stdin.

    Raises:
        UsageError: it cannot be read.
    """
    if source == "-" and sys.stdin is None:
        raise UsageError("stdin is closed; name a file with one prompt a line, or pipe prompts in")
    async with aclosing(read_lines(_STDIN if source == "-" else open_input(Path(source)))) as lines:
        async for line in lines:
            item = reader.read(line)
            if item is not None:
                yield line.number, item
