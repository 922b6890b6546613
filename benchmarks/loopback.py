"""A simulated Images API in a process of its own, on loopback: what the benchmarks run against."""

from __future__ import annotations

import json
import multiprocessing
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from headrace.simulator import SimulatorSettings, World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from starlette.types import ASGIApp, Receive, Scope, Send


@contextmanager
def loopback_api(settings: SimulatorSettings) -> Iterator[str]:
    """The base URL of a server that lives as long as the block; ``books`` asks it what it saw."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(settings, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def books(base_url: str) -> dict[str, Any]:
    """What the server saw: ``bill`` (prompt -> times paid), ``counts`` (outcome -> calls), ``arrivals`` (seconds, one a call)."""
    root = base_url.removesuffix("/v1")
    return {name: _get(f"{root}/_simulator/{name}") for name in ("bill", "counts", "arrivals")}


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def _serve(settings: SimulatorSettings, parent: Connection) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            parent.send(await nursery.start(serve, _noting(make_app(World(settings))), "127.0.0.1", 0))

    trio.run(main)


def _noting(app: ASGIApp) -> ASGIApp:
    arrivals: list[float] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/arrivals"):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": json.dumps(arrivals).encode()})
            return
        if scope["type"] == "http" and scope["method"] == "POST":
            arrivals.append(trio.current_time())
        await app(scope, receive, send)

    return noting
