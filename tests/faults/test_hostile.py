"""Servers that say too much, for too long, or something else each time: the call ends in time and in little memory."""

from __future__ import annotations

import ssl
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from headrace.provider import client as client_module
from headrace.provider.client import Client
from headrace.provider.memory import ByteBudget
from headrace.records import Kind, Problem, Request
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.provider.failures import Reply

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="64x64", quality="low")
LARGEST = attrs.evolve(REQUEST, size="auto")
PEM = Path(__file__).parent / "loopback.pem"
HEAD = b"HTTP/1.1 200 OK\r\n"
TIMEOUT_S = 0.3
A_LITTLE = 4 * 2**20
MEGABYTE = bytes(2**20)


@attrs.frozen
class Endless:
    """Bytes, and then others again and again."""

    start: bytes
    again: bytes
    pause_s: float = 0.0


HOSTILE: dict[str, tuple[Endless, Kind]] = {
    "a flood of forewords": (Endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), Kind.TIMEOUT),
    "a flood of early hints": (Endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 50), Kind.TIMEOUT),
    "headers that drip": (Endless(HEAD, b"x: y\r\n", 0.002), Kind.TIMEOUT),
    "a status line that drips": (Endless(b"HTTP/1.1 200 ", b"K", 0.002), Kind.TIMEOUT),
    "headers without an end": (Endless(HEAD, b"x: " + b"y" * 1000 + b"\r\n"), Kind.NETWORK),
    "a header without an end": (Endless(HEAD + b"x: ", b"y" * 1000), Kind.NETWORK),
    "a body that drips": (Endless(HEAD + b"Content-Length: 9999\r\n\r\n", b" ", 0.002), Kind.TIMEOUT),
    "chunks that drip": (Endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.002), Kind.TIMEOUT),
    "chunks of one byte": (Endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 1000), Kind.TIMEOUT),
    "a chunk size without an end": (Endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000), Kind.NETWORK),
    "a trailer without an end": (Endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"x: yyy\r\n" * 100), Kind.NETWORK),
    "a body of 500 MB": (Endless(HEAD + b"Content-Length: 500000000\r\n\r\n", MEGABYTE), Kind.BAD_ANSWER),
    "a body without a length": (Endless(HEAD + b"\r\n", MEGABYTE), Kind.BAD_ANSWER),
    "one chunk of 500 MB": (Endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1DCD6500\r\n", MEGABYTE), Kind.BAD_ANSWER),
    "bytes before the answer": (Endless(b"\x00" * 1000, b"\x00" * 1000), Kind.NETWORK),
}


@attrs.define
class Server:
    """Says what it has to say to every request, whether it is heard or not."""

    says: Endless
    sent: int = 0
    gone: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        try:
            await stream.send_all(self.says.start)
            while True:
                await stream.send_all(self.says.again)
                self.sent += len(self.says.again)
                await trio.sleep(self.says.pause_s)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.gone.set()


@pytest.fixture
def calling(in_time: Any, listening: Any) -> Callable[..., tuple[Reply | Problem, Server]]:
    """``calling(says)``: what a client makes of them, and the server, which has seen its connection go."""

    def call(says: Endless, request: Request = REQUEST, timeout_s: float = TIMEOUT_S) -> tuple[Reply | Problem, Server]:
        found: list[Reply | Problem] = []
        server = Server(says)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                port = await listening(nursery, server.serve)
                client = Client(base_url=f"http://127.0.0.1:{port}/v1", secret=Secret("canary-0123456789abc"), timeout_s=timeout_s)
                budget = ByteBudget(2**26)
                with budget.lease() as lease:
                    found.append(await client.post(request, lease))
                assert budget.free == budget.capacity
                await server.gone.wait()
                await client.aclose()
                nursery.cancel_scope.cancel()

        in_time(main)
        return found[0], server

    return call


@pytest.mark.parametrize(("says", "kind"), HOSTILE.values(), ids=HOSTILE)
def test_what_has_no_end_ends_in_time_and_in_little_memory(says: Endless, kind: Kind, calling: Any) -> None:
    tracemalloc.start()
    started = time.monotonic()
    try:
        problem, _ = calling(says)
        took, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(problem, Problem)
    assert problem.kind is kind
    assert (problem.uncertain, problem.billed) == (kind is not Kind.BAD_ANSWER, kind is Kind.BAD_ANSWER)
    # A machine with much to do is no reason to fail; a call that has no end is.
    assert took < 10 * TIMEOUT_S + 2
    assert peak < A_LITTLE + len(MEGABYTE)


def test_a_body_that_is_announced_as_too_large_is_not_read(calling: Any) -> None:
    problem, server = calling(HOSTILE["a body of 500 MB"][0], LARGEST, 10.0)
    assert "larger than" in problem.message
    # What the kernel's buffers took, and nothing like the 64 MB that a picture of any size may have.
    assert server.sent < 16 * 2**20


def tls_server(end: str) -> Callable[[trio.SocketStream], Awaitable[None]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await tls.receive_some()
        await tls.send_all(HEAD + b"Content-Length: 10\r\n\r\n{")
        if end == "garbage":
            await stream.send_all(b"this is no record")
        if end == "notified":
            await tls.aclose()
        await stream.aclose()

    return serve


@pytest.mark.parametrize("end", ["notified", "without notice", "garbage"])
def test_a_tls_connection_that_breaks_in_the_body(end: str, in_time: Any, listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    client_module._trust.cache_clear()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            port = await listening(nursery, tls_server(end))
            client = Client(base_url=f"https://127.0.0.1:{port}/v1", secret=Secret("canary-0123456789abc"), timeout_s=5.0)
            with ByteBudget(2**26).lease() as lease:
                problem = await client.post(REQUEST, lease)
            assert isinstance(problem, Problem)
            assert (problem.kind, problem.uncertain) == (Kind.NETWORK, True)
            assert not problem.message.endswith(":")
            await client.aclose()
            nursery.cancel_scope.cancel()

    try:
        in_time(main)
    finally:
        client_module._trust.cache_clear()
