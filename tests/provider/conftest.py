from __future__ import annotations

import io
import struct
from functools import cache, partial
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Any

import pytest
import trio
from PIL import Image

from headrace.provider.client import Client
from headrace.provider.memory import ByteBudget
from headrace.records import Request
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headrace.provider.failures import Reply
    from headrace.records import Problem

CANARY = "canary-Zm9vYmFy/0123+456789"
REQUEST = Request(prompt="a fox", model="gpt-image-2", size="64x64", quality="low")


class Wire:
    """A client, and a server that does what a script says.

    A script is one connection: bytes are sent as they are, "read" waits for one whole request, "reset" closes hard, "stall" says nothing
    more; at the end the connection is closed. The last script serves all further connections.
    """

    def __init__(self, scripts: Sequence[Sequence[bytes | str]], key: str, timeout_s: float, capacity: int) -> None:
        self._scripts = scripts
        self.seen: list[bytes] = []
        """The requests, as they came."""
        self.connections = 0
        self.stalled = trio.Event()
        self.budget = ByteBudget(capacity)
        self.key = key
        self._timeout_s = timeout_s

    def aim(self, port: int) -> None:
        self.client = Client(base_url=f"http://127.0.0.1:{port}/v1/", secret=Secret(self.key), timeout_s=self._timeout_s)

    async def post(self, request: Request = REQUEST) -> Reply | Problem:
        try:
            with self.budget.lease() as lease:
                return await self.client.post(request, lease)
        finally:
            assert self.budget.free == self.budget.capacity

    async def serve(self, stream: trio.SocketStream) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            for step in script:
                if isinstance(step, bytes):
                    await stream.send_all(step)
                elif step == "read":
                    await self._read(stream)
                elif step == "reset":
                    stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                elif step == "stall":
                    self.stalled.set()
                    await trio.sleep_forever()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away, as some tests want it to

    async def _read(self, stream: trio.SocketStream) -> None:
        data = bytearray()
        while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
            chunk = await stream.receive_some()
            if not chunk:
                raise trio.BrokenResourceError
            data += chunk
        self.seen.append(bytes(data))


def _length(data: bytearray) -> int:
    lines = data.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))


def _on_the_wire(
    test: Callable[[Wire], Awaitable[None]],
    *scripts: Sequence[bytes | str],
    key: str = CANARY,
    timeout_s: float = 5.0,
    capacity: int = 2**26,
) -> None:
    async def main() -> None:
        wire = Wire(scripts, key, timeout_s, capacity)
        async with trio.open_nursery() as nursery:
            listeners: Any = await nursery.start(partial(trio.serve_tcp, wire.serve, 0, host="127.0.0.1"))
            wire.aim(listeners[0].socket.getsockname()[1])
            try:
                with trio.fail_after(10):
                    await test(wire)
            finally:
                with trio.CancelScope(shield=True):
                    await wire.client.aclose()
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.fixture
def on_the_wire(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``on_the_wire(test, script, ...)`` runs ``await test(wire)`` against a server that follows the scripts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return _on_the_wire


@cache
def _picture(kind: str, width: int, height: int) -> bytes:
    file = io.BytesIO()
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    picture.save(file, kind, **({"lossless": True} if kind == "webp" else {}))
    return file.getvalue()


@pytest.fixture(scope="session")
def picture() -> Callable[[str, int, int], bytes]:
    """``picture(format, width, height)`` is a picture file."""
    return _picture
