"""A line in a thread of its own, for whoever takes its results elsewhere: plain Python, or another event loop."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from headrace.assembly import open_race
from headrace.errors import UsageError, lone
from headrace.records import Result
from headrace.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

    from headrace.cache.encoder import Encoder

T = TypeVar("T")


async def arrival(coming: Future[T]) -> T:
    """Wait, in trio, for what another thread has promised."""
    there, token = trio.Event(), trio.lowlevel.current_trio_token()

    def arrived(_: Future[T]) -> None:
        # A line that was left does not wait for it.
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(there.set)

    coming.add_done_callback(arrived)
    await there.wait()
    return coming.result()


class ThreadedLine:
    """Results of ``prompts``: one each time that :meth:`following` is called, and none is taken out of the line before.

    A thread, and not trio's guest mode, for an event loop as well: a loop can have one guest at a time and there may be two lines in it,
    opening a race blocks for a tenth of a second, and a host that is busy for a while would hold up calls and their deadlines.
    """

    def __init__(self, prompts: AsyncIterable[object] | Iterable[object], settings: Settings | None, encoder: Encoder | None) -> None:
        self.ended: Future[None] = Future()
        """Done when nothing runs any more but the end of the thread itself."""
        self.ended.set_running_or_notify_cancel()  # nobody can cancel it
        self._process = os.getpid()
        self._token: Future[trio.lowlevel.TrioToken] = Future()
        self._scope = trio.CancelScope()
        self._asking, self._asked = trio.open_memory_channel[Future[Result | None]](1)
        self._last: Future[Result | None] = Future()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(prompts, settings, encoder), name="headrace", daemon=True)
        self._thread.start()

    def following(self) -> Future[Result | None]:
        """The next result; None behind the last one; what ended the line, as an exception. Ask again when it is there.

        Raises:
            UsageError: this is a forked process, and the line is in the other one.
        """
        if self._elsewhere:
            raise UsageError("this process was forked while headrace was at work; its results come in the process that began it")
        asked: Future[Result | None] = Future()
        asked.set_running_or_notify_cancel()  # nobody can cancel it: an answer always has a place to go
        self._last = asked
        try:
            self._soon(self._asking.send_nowait, asked)
        except trio.RunFinishedError:
            self._thread.join()
            self._answer()
        return asked

    def end(self) -> None:
        """Cancel what still runs."""
        if not self._elsewhere:
            with suppress(trio.RunFinishedError):
                self._soon(self._scope.cancel)

    def join(self) -> None:
        """Wait until nothing runs."""
        # A generator that nobody holds any more may be closed in whatever thread collects garbage.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def _elsewhere(self) -> bool:
        return os.getpid() != self._process

    def _soon(self, act: Callable[..., object], *args: object) -> None:
        self._token.result().run_sync_soon(act, *args)

    def _run(self, *args: Any) -> None:
        try:
            self._error = trio.run(self._main, *args)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the results are taken
            self._error = lone(error)
        finally:
            if not self._token.done():
                # It ended before it began: out of file descriptors, for instance.
                self._token.set_exception(trio.RunFinishedError())
            self._answer()
            self.ended.set_result(None)

    def _answer(self) -> None:
        """Say how it ended to whoever still waits."""
        if self._last.done():
            return
        if self._error is None:
            self._last.set_result(None)
        else:
            self._last.set_exception(self._error)

    async def _main(
        self, prompts: AsyncIterable[object] | Iterable[object], settings: Settings | None, encoder: Encoder | None
    ) -> BaseException | None:
        self._token.set_result(trio.lowlevel.current_trio_token())
        with self._scope:
            async with open_race(settings or Settings.load(), encoder=encoder) as race, race.results(prompts) as results:
                async for asked in self._asked:
                    try:
                        result = await anext(results, None)
                    except Exception as error:  # noqa: BLE001 - what the input raised is the caller's, a group as well
                        return error
                    if result is None:
                        break
                    asked.set_result(result)
        return None
