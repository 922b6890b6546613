"""The app behind a real socket."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import hypercorn.trio
import trio
from hypercorn.config import Config
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.http_stream import HTTPStream

if TYPE_CHECKING:
    from hypercorn.typing import Framework
    from starlette.types import ASGIApp, Receive, Scope, Send

_MINUTES_S = 600


async def serve(app: ASGIApp, host: str, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve the app over HTTP/1.1 until cancelled; reports the port once it listens, 0 takes a free one.

    Raises:
        OSError: the address cannot be bound.
    """
    config = Config()
    config.bind = [f"{host}:{port}"]
    config.errorlog = config.accesslog = None
    config.include_server_header = False
    config.backlog = 1024
    # The vendor keeps idle connections for minutes; a server that closes them sooner adds errors of its own making.
    config.keep_alive_timeout = _MINUTES_S
    config.keep_alive_max_requests = 1_000_000
    # hypercorn has its own, narrower, names for the same ASGI types.
    served = cast("Framework", _closing(app))
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(hypercorn.trio.serve, served, config, mode="asgi"))
        task_status.started(urlsplit(binds[0]).port or port)


def _closing(app: ASGIApp) -> ASGIApp:
    """The app, with the connection closed where it breaks off: hypercorn itself would answer 500."""

    async def closing(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except ConnectionResetError:
            stream = getattr(send, "__self__", None)
            if not isinstance(stream, HTTPStream):
                raise
            # Ends the exchange without an end of the body, upon which the protocol closes the connection.
            await stream.send(StreamClosed(stream_id=stream.stream_id))

    return closing
