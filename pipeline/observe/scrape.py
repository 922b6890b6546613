"""The door through which Prometheus comes: HTTP on this machine alone."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import hypercorn.trio
import trio
from hypercorn.config import Config
from prometheus_client import make_asgi_app
from starlette.routing import Router

from headrace.errors import UsageError
from headrace.log import log

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

HOST = "127.0.0.1"
AGAIN_S = 1.0
LONGEST_S = 60.0
"""Before what broke is tried again, at first and at most."""


async def scraped(registry: CollectorRegistry, port: int, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve the metrics until cancelled, whatever callers do; reports the URL once it listens. Port 0 takes a free one.

    Raises:
        UsageError: the port cannot be used.
    """
    listening = listen(port)
    port = listening.getsockname()[1]
    task_status.started(f"http://{HOST}:{port}/metrics")
    # A router answers what hypercorn asks of an app's lifespan, too.
    app: Any = Router(default=make_asgi_app(registry))
    while True:
        config = Config()
        config.bind = [f"fd://{listening.detach()}"]
        config.errorlog = config.accesslog = None
        config.include_server_header = False
        try:
            await hypercorn.trio.serve(app, config, mode="asgi")
        except* Exception as group:  # noqa: BLE001 - whatever a caller made the server do, the run goes on
            log.warning("metrics_broke", because=repr(group.exceptions[0]))
        listening = await _listen_again(port)


async def _listen_again(port: int) -> socket.socket:
    delay_s = AGAIN_S
    while True:
        await trio.sleep(delay_s)
        try:
            return listen(port)
        except UsageError as error:
            # At the start it is a mistake to be mended; now there is a run that goes on without its metrics.
            log.warning("metrics_broke", because=str(error))
            delay_s = min(2 * delay_s, LONGEST_S)


def listen(port: int) -> socket.socket:
    """A socket that listens on the port; 0 takes a free one.

    Raises:
        UsageError: the port cannot be used.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UsageError(
            f"metrics port {port} cannot be used: {os.strerror(error.errno or 0)}; choose another, or 0 for a free one"
        ) from None
