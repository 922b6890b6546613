"""Pictures inside an asyncio program: rows are pulled as there is room, results are taken as they come, Ctrl-C ends it cleanly.

python examples/asyncio_job.py < prompts.txt
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

import headrace

settings = headrace.Settings(run=headrace.RunSettings(simulate=True, out_dir="headrace-out"))


async def rows() -> AsyncIterator[dict[str, str]]:
    """Stands for a cursor, a queue or a socket of the program."""
    number = 0
    while caption := await asyncio.to_thread(sys.stdin.readline):
        number += 1
        yield {"id": f"row-{number}", "prompt": caption}


async def main() -> None:
    """Takes results while other tasks of the program go on."""
    async with aclosing(headrace.aio.generate(rows(), settings)) as results:
        async for result in results:
            print(result.id, result.status, *(picture.path for picture in result.images))


asyncio.run(main())
