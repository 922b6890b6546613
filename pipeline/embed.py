"""headrace inside another program: a generator for plain Python, a context manager for trio."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import trio

from headrace.assembly import open_race
from headrace.errors import UsageError, lone
from headrace.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from headrace.cache.encoder import Encoder
    from headrace.outcome import Results
    from headrace.race import Race
    from headrace.records import Result


@asynccontextmanager
async def open(settings: Settings | None = None, *, encoder: Encoder | None = None) -> AsyncIterator[Race]:  # noqa: A001 - the contract's name
    """Open the APIs, the cache and the budget; ``race.results(source)`` then runs a line over prompts.

    ``source`` is an iterable or an async iterable (a channel of the caller's, for instance) of texts or of mappings with the keys of the
    input contract. Lines opened in turn or beside each other share the limits, the cache and what is in flight. What is raised inside
    comes out as it is, unless several things were raised at once: then in an ``ExceptionGroup``.

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
) -> Iterator[Result]:
    """Results of ``prompts``, as they come.

    The line runs in a thread of its own and works ahead of the caller by ``max_in_flight`` prompts and no more. ``prompts`` is read
    lazily and from other threads, so that results come while it blocks (for an SQLite cursor: ``check_same_thread=False``). Leaving
    the loop early cancels what is in flight.

    Args:
        prompts: texts, or mappings with the keys of the input contract.
        settings: ``Settings.load()`` where absent.
        encoder: as in :func:`open`.

    Raises:
        UsageError: a key, a folder, a model or a limit cannot be used.
        StoppedError: after the last result, when no key could work any more or the budget was spent.
        OutputError: pictures cannot be written.
        Exception: what ``prompts`` raised, after the results of everything that was read before.
    """
    if trio.lowlevel.in_trio_run():
        raise UsageError("headrace.generate() would block trio's event loop; use headrace.open() there")
    line = _Line(prompts, settings or Settings.load(), encoder)
    try:
        while (result := line.following()) is not None:
            yield result
    finally:
        line.end()


class _Line:
    """A line in a thread of its own, seen from outside."""

    def __init__(self, prompts: Iterable[str | Mapping[str, Any]], settings: Settings, encoder: Encoder | None) -> None:
        self._encoder = encoder
        self._started = threading.Event()
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._results: Results | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(prompts, settings), name="headrace", daemon=True)
        self._thread.start()
        self._started.wait()

    def following(self) -> Result | None:
        """The next result; None behind the last one. Raises what ended the line."""
        if self._results is not None and self._token is not None:
            # Where the line broke, its own error says why.
            with suppress(trio.ClosedResourceError, trio.RunFinishedError, trio.Cancelled):
                return trio.from_thread.run(_next_of, self._results, trio_token=self._token)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return None

    def end(self) -> None:
        """Cancel what still runs, and wait until nothing does."""
        if self._token is not None and self._thread.is_alive():
            with suppress(trio.RunFinishedError):
                trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join()

    def _run(self, prompts: Iterable[str | Mapping[str, Any]], settings: Settings) -> None:
        try:
            trio.run(self._main, prompts, settings)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self._error = lone(error)
        finally:
            self._started.set()

    async def _main(self, prompts: Iterable[str | Mapping[str, Any]], settings: Settings) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with open_race(settings, encoder=self._encoder) as race, race.results(prompts) as self._results:
                self._started.set()
                await trio.sleep_forever()


async def _next_of(results: Results) -> Result | None:
    return await anext(results, None)
