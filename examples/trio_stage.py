"""A stage between a program's own trio channels: a slow sink slows the source down, and what is not there in time is left.

python examples/trio_stage.py < prompts.txt
"""

import sys

import trio

import headrace

settings = headrace.Settings.from_dict({"run": {"simulate": True, "out_dir": "headrace-out"}})


async def read(rows: trio.MemorySendChannel[str]) -> None:
    """The source: whatever the program reads from."""
    with rows:
        while caption := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            await rows.send(caption)


async def draw(rows: trio.MemoryReceiveChannel[str], pictures: trio.MemorySendChannel[headrace.Result]) -> None:
    """The stage."""
    with rows, pictures:
        async with headrace.open(settings) as race, race.results(rows) as results:
            async for result in results:
                await pictures.send(result)


async def main() -> None:
    """Puts the line together; whatever is cancelled or fails ends all of it."""
    rows, captions = trio.open_memory_channel[str](0)
    drawn, pictures = trio.open_memory_channel[headrace.Result](0)
    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, rows)
            nursery.start_soon(draw, captions, drawn)
            async for result in pictures:
                print(result.id, result.status, *(picture.path for picture in result.images))


trio.run(main)
