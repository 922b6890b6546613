"""headrace inside another program: a generator for plain Python, a context manager for trio."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from headrace.assembly import open_race
from headrace.errors import UsageError, lone
from headrace.settings import Settings
from headrace.threaded import ThreadedLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterable, Mapping

    from headrace.cache.encoder import Encoder
    from headrace.race import Race
    from headrace.records import Result


@asynccontextmanager
async def open(settings: Settings | None = None, *, encoder: Encoder | None = None) -> AsyncIterator[Race]:  # noqa: A001 - the contract's name
    """Open the APIs, the cache and the budget; ``race.results(source)`` then runs a line over prompts.

    ``source`` is an iterable or an async iterable (a channel of the caller's, for instance) of texts or of mappings with the keys of the
    input contract. Lines opened in turn or beside each other share the limits, the cache and what is in flight. What is raised inside
    comes out as it is, unless several things were raised at once: then in an ``ExceptionGroup``.

    It obeys the cancel scopes and deadlines that it is in, and where a wait for a result is cancelled, the next one gets it.

    Example:
        >>> import headrace, trio
        >>> settings = headrace.Settings.from_dict({"run": {"simulate": True}})
        >>> async def main():
        ...     async with headrace.open(settings) as race, race.results(["a lighthouse", "two foxes"]) as results:
        ...         return [str(result.status) async for result in results]
        >>> trio.run(main)
        ['ok', 'ok']

    Args:
        settings: ``Settings.load()`` where absent.
        encoder: compares prompts, in place of the one that the settings name; its verifier is named in the settings.

    Raises:
        UsageError: a key, a folder, a model or a limit cannot be used.
    """
    try:
        async with open_race(settings or Settings.load(), encoder=encoder) as race:
            yield race
    except BaseExceptionGroup as group:
        # That there are nurseries inside is nothing that a caller's `except` should have to know.
        raise lone(group) from None


def generate(
    prompts: Iterable[str | Mapping[str, Any]], settings: Settings | None = None, *, encoder: Encoder | None = None
) -> Generator[Result, None, None]:
    """Results of ``prompts``, as they come.

    The line runs in a thread of its own and works ahead of the caller by ``max_in_flight`` prompts and no more. ``prompts`` is read
    lazily and from other threads, so that results come while it blocks (for an SQLite cursor: ``check_same_thread=False``). Leaving
    the loop early cancels what is in flight, and so does ``close()`` or whoever collects a generator that nobody holds. Either way the
    end waits up to 5 s for alerts that a command or a webhook has not taken yet.

    Example:
        >>> import headrace
        >>> settings = headrace.Settings.from_dict({"run": {"simulate": True, "ordered": True}})
        >>> rows = [{"prompt": "a lighthouse at dawn", "metadata": {"sku": 17}}, {"prompt": "two foxes", "size": "9x9"}]
        >>> for result in headrace.generate(rows, settings):
        ...     print(result.status, result.metadata, [picture.width for picture in result.images])
        ok {'sku': 17} [1024]
        failed None []

    Args:
        prompts: texts, or mappings with the keys of the input contract.
        settings: ``Settings.load()`` where absent.
        encoder: as in :func:`open`.

    Raises:
        UsageError: a key, a folder, a model or a limit cannot be used; this is the event loop of trio; the process was forked meanwhile.
        StoppedError: after the last result, when no key could work any more or the budget was spent.
        OutputError: pictures cannot be written.
        Exception: what ``prompts`` raised, after the results of everything that was read before.
    """
    if trio.lowlevel.in_trio_run():
        raise UsageError("headrace.generate() would block trio's event loop; use headrace.open() there")
    line = ThreadedLine(prompts, settings, encoder)
    try:
        while (result := line.following().result()) is not None:
            yield result
    finally:
        line.end()
        line.join()
