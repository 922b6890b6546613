"""A simulated API that repeats the key it was given: in a header of every answer, and anywhere in those that are asked for.

A prompt with ``[[echo:NAME]]`` gets that answer the first time, and a picture from then on.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import re
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

_MARKER = re.compile(r"\[\[echo:([a-z0-9_]+)\]\]")


def _json(status: int, value: Any, slashed: bool = False) -> Answer:
    body = json.dumps(value).encode()
    return status, [(b"content-type", b"application/json")], body.replace(b"/", rb"\/") if slashed else body


def _said(key: str) -> dict[str, Any]:
    return {"error": {"message": f"Incorrect API key provided: Bearer {key}.", "type": key, "code": f"x {key}", "param": [key]}}


def _picture(key: str, **item: str) -> dict[str, Any]:
    return {"data": [{"revised_prompt": key, **item}], "usage": {"input_tokens": key, key: 1}, "size": key, key: key}


ECHOES: dict[str, Callable[[str], Answer]] = {
    "error_400": lambda key: _json(400, _said(key)),
    "error_401": lambda key: _json(401, _said(key)),
    "error_500": lambda key: _json(500, _said(key)),
    "as_php_writes_it": lambda key: _json(500, _said(key), slashed=True),
    "plain_text": lambda key: (502, [(b"content-type", b"text/plain")], f"bad header: Authorization: Bearer {key}".encode()),
    "html": lambda key: (503, [(b"content-type", b"text/html")], f"<html>{key}</html>".encode()),
    "retry_after": lambda key: (429, [(b"retry-after", key.encode()), (b"date", key.encode())], b"{}"),
    "redirect": lambda key: (307, [(b"location", f"http://127.0.0.1:9/?key={key}".encode())], key.encode()),
    "content_coding": lambda key: (200, [(b"content-encoding", key.encode())], b"{}"),
    "content_type": lambda key: (202, [(b"content-type", key.encode())], key.encode()),
    "error_in_200": lambda key: _json(200, _said(key)),
    "beside_no_picture": lambda key: _json(200, _picture(key)),
    "in_place_of_a_picture": lambda key: _json(200, _picture(key, b64_json=key)),
    "as_a_picture": lambda key: _json(200, _picture(key, b64_json=base64.b64encode(key.encode()).decode())),
    "as_an_address": lambda key: _json(200, _picture(key, url=f"https://images.example.invalid/{key}.png")),
    "as_json": lambda key: _json(200, key),
}


@contextmanager
def parrot() -> Iterator[str]:
    """Its base URL, for as long as the block; it lets any key in."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def _serve(parent: Connection) -> None:
    pool = SimulatedPool(keys=(), images_per_minute=None, max_concurrency=None)
    world = World(SimulatorSettings(pools=(pool,), latency_s=0.05, sigma=0, time_scale=0.02, pictures="template"))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            parent.send(await nursery.start(serve, _Parrot(make_app(world)), "127.0.0.1", 0))

    trio.run(main)


class _Parrot:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        key = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        echo = _MARKER.search(body.decode("utf-8", "replace"))
        self._calls[body.decode("utf-8", "replace")] += 1
        if echo is not None and self._calls[body.decode("utf-8", "replace")] == 1:
            status, headers, answer = ECHOES[echo[1]](key)
            await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"x-your-key", key.encode())]})
            await send({"type": "http.response.body", "body": answer})
            return
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return left.pop() if left else await receive()

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-your-key", f"Bearer {key}".encode())]
            await send(message)

        await self._app(scope, again, telling)
