"""A simulated API in a process of its own that keeps books: every call with its prompt and request id, and the bill."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

import attrs
import trio

from headrace.simulator import SimulatorSettings, World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATIENCE_S = 30.0
TICK_S = 0.02


@attrs.frozen
class Books:
    """What the API saw of the prompts of one job."""

    bill: dict[str, int]
    """Prompt -> times paid."""
    calls: dict[str, list[str]]
    """Prompt -> the request id of every call, in the order of their arrival."""
    open: int
    """Calls that are being worked on."""

    @property
    def paid_again(self) -> int:
        """Payments beyond one a prompt."""
        return sum(times - 1 for times in self.bill.values())


@attrs.frozen
class Api:
    """A running server."""

    url: str

    def books(self, start: str) -> Books:
        """What it saw of prompts that begin with ``start``, once it works on none of them any more."""
        root = self.url.removesuffix("/v1")
        end = time.monotonic() + PATIENCE_S
        while True:
            with urllib.request.urlopen(f"{root}/_books?start={quote(start)}", timeout=PATIENCE_S) as answer:  # noqa: S310 - loopback
                books = Books(**json.load(answer))
            if not books.open or time.monotonic() > end:
                return books
            threading.Event().wait(TICK_S)


@contextmanager
def api(settings: SimulatorSettings) -> Iterator[Api]:
    """A server that lives as long as the block."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(settings, there), daemon=True)
    process.start()
    try:
        yield Api(f"http://127.0.0.1:{here.recv()}/v1")
    finally:
        process.terminate()
        process.join()


def _serve(settings: SimulatorSettings, parent: Connection) -> None:
    async def main() -> None:
        world = World(settings)
        async with trio.open_nursery() as nursery:
            parent.send(await nursery.start(serve, _Bookkeeper(make_app(world), world), "127.0.0.1", 0))

    trio.run(main)


class _Bookkeeper:
    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world
        self._calls: dict[str, list[str]] = {}
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/_books":
            await self._show(parse_qs(scope["query_string"].decode())["start"][0], send)
        elif scope["type"] == "http" and scope["method"] == "POST":
            await self._note(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _note(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        prompt = _prompt(body)
        name = dict(scope["headers"]).get(b"x-client-request-id", b"").decode()
        self._calls.setdefault(prompt, []).append(name)
        first = True

        async def again() -> Message:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        self._open[prompt] += 1
        try:
            await self._app(scope, again, send)
        finally:
            self._open[prompt] -= 1

    async def _show(self, start: str, send: Send) -> None:
        books: dict[str, Any] = {
            "bill": {prompt: times for prompt, times in self._world.bill.items() if prompt.startswith(start)},
            "calls": {prompt: names for prompt, names in self._calls.items() if prompt.startswith(start)},
            "open": sum(calls for prompt, calls in self._open.items() if prompt.startswith(start)),
        }
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(books).encode()})


def _prompt(body: bytes) -> str:
    try:
        return str(json.loads(body)["prompt"])
    except (ValueError, KeyError, TypeError):
        return ""
