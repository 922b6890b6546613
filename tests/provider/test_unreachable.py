"""What goes wrong before a request is on its way: whatever it is, nothing was billed."""

from __future__ import annotations

import gc
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio
from trio.testing import MockClock

from headrace.errors import UsageError
from headrace.provider import client as client_module
from headrace.provider.client import Client
from headrace.provider.memory import ByteBudget
from headrace.records import Kind, Problem, Request
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="64x64", quality="low")
PEM = Path(__file__).parent.parent / "faults" / "loopback.pem"
"""A certificate for 127.0.0.1 that nobody trusts, and its key."""


async def call(url: str, timeout_s: float = 5.0) -> Problem:
    client = Client(base_url=url, secret=Secret("canary-0123456789abcdef"), timeout_s=timeout_s)
    budget = ByteBudget(1000)
    try:
        with trio.fail_after(10), budget.lease() as lease:
            problem = await client.post(REQUEST, lease)
    finally:
        with trio.CancelScope(shield=True):
            await client.aclose()
    assert isinstance(problem, Problem)
    assert (problem.uncertain, problem.billed, problem.retryable, budget.free) == (False, False, True, 1000)
    assert len(problem.message.splitlines()) == 1
    return problem


async def call_served(handler: Callable[[trio.SocketStream], Awaitable[None]], scheme: str = "https", timeout_s: float = 5.0) -> Problem:
    async with trio.open_nursery() as nursery:
        listeners: Any = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        problem = await call(f"{scheme}://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1", timeout_s)
        nursery.cancel_scope.cancel()
    return problem


class NoNames(trio.abc.HostnameResolver):
    """Finds no host; or, ``silent``, says nothing at all."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent

    async def getaddrinfo(self, *_: Any, **__: Any) -> NoReturn:
        if self._silent:
            await trio.sleep_forever()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_has_no_address(scheme: str) -> None:
    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(NoNames())
        problem = await call(f"{scheme}://api.invalid/v1")
        assert problem.kind is Kind.NETWORK
        assert "Name or service not known" in problem.message

    trio.run(main)


def test_a_name_server_that_says_nothing() -> None:
    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(NoNames(silent=True))
        assert (await call("https://api.invalid/v1", timeout_s=0.05)).kind is Kind.TIMEOUT

    trio.run(main)


def test_a_connection_has_ten_seconds_of_a_longer_call_to_come_about() -> None:
    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(NoNames(silent=True))
        client = Client(base_url="https://api.invalid/v1", secret=Secret("canary-0123456789abcdef"), timeout_s=300)
        with ByteBudget(1000).lease() as lease:
            problem = await client.post(REQUEST, lease)
        assert isinstance(problem, Problem)
        assert (problem.kind, problem.uncertain, trio.current_time()) == (Kind.NETWORK, False, 10.0)
        await client.aclose()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a..b.invalid", "xn--zzzzzz-.invalid"])
def test_a_host_name_that_no_host_can_have(host: str) -> None:
    async def main() -> None:
        assert (await call(f"https://{host}/v1")).kind is Kind.NETWORK

    trio.run(main)


def test_nobody_listens() -> None:
    async def main() -> None:
        with trio.socket.socket() as free:
            await free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for scheme in ("http", "https"):
            assert (await call(f"{scheme}://127.0.0.1:{port}/v1")).kind is Kind.NETWORK

    trio.run(main)


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28", b"\x16\x03\x03\xff\xff", b""])
def test_a_server_that_speaks_no_tls(says: bytes) -> None:
    async def plain(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(says)

    async def main() -> None:
        assert (await call_served(plain)).kind is Kind.NETWORK

    trio.run(main)


@pytest.mark.parametrize("how", ["time is up", "cancelled"])
def test_a_server_that_is_silent_in_the_handshake_sees_the_connection_closed(how: str) -> None:
    greeted, gone = trio.Event(), trio.Event()

    async def silent(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            greeted.set()
        gone.set()

    async def cancelled(nursery: trio.Nursery) -> None:
        await greeted.wait()
        nursery.cancel_scope.cancel()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners: Any = await nursery.start(partial(trio.serve_tcp, silent, 0, host="127.0.0.1"))
            url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
            if how == "cancelled":
                async with trio.open_nursery() as inner:
                    inner.start_soon(call, url)
                    inner.start_soon(cancelled, inner)
            else:
                assert (await call(url, timeout_s=0.1)).kind is Kind.TIMEOUT
            with trio.fail_after(5):
                await gone.wait()
            nursery.cancel_scope.cancel()

    gc.disable()  # it would close what was left open
    try:
        trio.run(main)
    finally:
        gc.enable()


def test_a_certificate_that_nobody_vouches_for() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    got: list[bytes] = []

    async def unknown(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True)
        try:
            await tls.do_handshake()
            got.append(bytes(await tls.receive_some()))
        except trio.BrokenResourceError:
            await stream.aclose()

    async def main() -> None:
        problem = await call_served(unknown)
        assert problem.kind is Kind.NETWORK
        assert "CERTIFICATE_VERIFY_FAILED" in problem.message

    trio.run(main)
    assert not got  # above all not the key


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"garbage\r\n\r\n",
        b"",
    ],
)
def test_a_proxy_that_does_not_connect(says: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def proxy(stream: trio.SocketStream) -> None:
        heads.append(bytes(await stream.receive_some()))
        await stream.send_all(says)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners: Any = await nursery.start(partial(trio.serve_tcp, proxy, 0, host="127.0.0.1"))
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
            assert (await call("https://api.invalid/v1")).kind is Kind.NETWORK
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert heads[0].startswith(b"CONNECT api.invalid:443 ")
    assert b"Bearer" not in heads[0]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "socks4://user:canary@127.0.0.1:1"),
        ("ALL_PROXY", "ftp://user:canary@127.0.0.1:1"),
        ("HTTPS_PROXY", "http://user:canary@[::1"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_network_settings_that_cannot_be_used_are_said_in_one_line(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client_module._trust.cache_clear()
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match="HTTPS_PROXY") as told:
        Client(base_url="https://api.invalid/v1", secret=Secret("canary-0123456789abcdef"), timeout_s=1)
    assert "canary" not in str(told.value)
    assert len(str(told.value).splitlines()) == 1
