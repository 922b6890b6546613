"""headrace inside an asyncio program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

from headrace.errors import UsageError
from headrace.threaded import ThreadedLine, arrival

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headrace.cache.encoder import Encoder
    from headrace.records import Result
    from headrace.settings import Settings


async def generate(
    prompts: AsyncIterable[str | Mapping[str, Any]] | Iterable[str | Mapping[str, Any]],
    settings: Settings | None = None,
    *,
    encoder: Encoder | None = None,
) -> AsyncGenerator[Result, None]:
    """Results of ``prompts``, as they come.

    The line runs in a thread of its own, so it neither holds up the event loop nor is held up by it, and works ahead of the caller by
    ``max_in_flight`` prompts and no more. A task that is cancelled while it waits for a result ends the line, and so does leaving the
    loop: at once under ``aclosing``, otherwise as soon as the event loop finds that nobody holds the generator. However it ends, that waits
    up to 5 s for alerts that a command or a webhook has not taken yet.

    Example:
        >>> import asyncio, contextlib, headrace
        >>> settings = headrace.Settings.from_dict({"run": {"simulate": True}})
        >>> async def main():
        ...     async with contextlib.aclosing(headrace.aio.generate(["a lighthouse", "two foxes"], settings)) as results:
        ...         return [str(result.status) async for result in results]
        >>> asyncio.run(main())
        ['ok', 'ok']

    Args:
        prompts: texts, or mappings with the keys of the input contract, read as the line has room for them: an async iterable by one task
            of this event loop, which closes a generator at the end, a plain one in other threads, so that it may block.
        settings: ``Settings.load()`` where absent.
        encoder: as in :func:`headrace.open`.

    Raises:
        UsageError: a key, a folder, a model or a limit cannot be used.
        StoppedError: after the last result, when no key could work any more or the budget was spent.
        OutputError: pictures cannot be written.
        Exception: what ``prompts`` raised, after the results of everything that was read before.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError("headrace.aio.generate() is for the event loop of asyncio; use headrace.open() under trio") from None
    given = _Given(prompts) if isinstance(prompts, AsyncIterable) else None
    line = ThreadedLine(prompts if given is None else given, settings, encoder)
    reading = None if given is None else asyncio.create_task(given.read())
    try:
        while (result := await asyncio.wrap_future(line.following())) is not None:
            yield result
    finally:
        line.end()
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        await asyncio.wrap_future(line.ended)
        line.join()
        if reading is not None and not reading.cancelled():
            # What a source raises as it is closed is not lost.
            reading.result()


class _Given:
    """An async iterable of asyncio's as the line sees it from its thread: an item is pulled when the line asks for it.

    One task pulls them all and closes a generator that is left: it may hold a timeout or a task group from one item to the next.
    """

    def __init__(self, items: AsyncIterable[object]) -> None:
        self._items = aiter(items)
        self._loop = asyncio.get_running_loop()
        self._wanted: asyncio.Queue[Future[object]] = asyncio.Queue()

    async def read(self) -> None:
        """Pull an item each time that one is asked for; in asyncio."""
        try:
            while True:
                wanted = await self._wanted.get()
                try:
                    item = await anext(self._items)
                except BaseException as error:
                    wanted.set_exception(error)
                    if isinstance(error, Exception):
                        return
                    raise
                wanted.set_result(item)
        finally:
            if isinstance(self._items, AsyncGenerator):
                await self._items.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        """Ask for an item and wait for it; in trio."""
        wanted: Future[object] = Future()
        self._loop.call_soon_threadsafe(self._wanted.put_nowait, wanted)
        return await arrival(wanted)
