"""A TCP proxy that breaks things on purpose, between a client and an HTTP/1.1 server on loopback.

It reads along only as far as it must to know where in an exchange it is. Whatever it does to the client, the server is not told: a
request that went on is answered and billed, and nobody hears of it, which is the case that costs money.
"""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager
from enum import Enum, auto
from functools import partial
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING

import attrs
import trio

from reliability.messages import Messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HOST = "127.0.0.1"


class Where(Enum):
    """How far things go before the fault strikes."""

    CONNECTED = auto()
    """The connection stands; nothing was read."""
    ARRIVED = auto()
    """A whole request was read; nothing of it went on. In a later exchange: a kept connection that goes while it is taken up again."""
    FORWARDED = auto()
    """The whole request went on to the server."""
    HEAD = auto()
    """So many bytes of the head of the answer came back."""
    BODY = auto()
    """So many bytes of the body of the answer came back, or all of a smaller one."""
    ANSWERED = auto()
    """The whole answer came back: the connection is kept, and goes before it is taken up again."""


class How(Enum):
    """What becomes of the client's connection."""

    RESET = auto()
    CLOSE = auto()
    """A clean end, as of a server that restarts."""
    SILENCE = auto()
    """It stays, and nothing comes any more: a black hole."""


@attrs.frozen(kw_only=True)
class Fault:
    """What one connection goes through; the default is nothing."""

    where: Where = Where.ANSWERED
    how: How | None = None
    """None: nothing breaks."""
    exchange: int = 1
    """The exchange of the connection that it strikes in."""
    at: int = 1
    """Bytes of the head or of the body that come back before it strikes."""
    linger_s: float = 0.0
    """Seconds from there to the strike."""
    delay_s: float = 0.0
    """Seconds before each answer."""
    piece: int = 2**16
    """The most bytes of an answer that are sent on at once."""
    pause_s: float = 0.0
    """Seconds after each piece: the bandwidth is ``piece / pause_s``."""


def healthy(_connection: int) -> Fault:
    """Breaks nothing."""
    return Fault()


class Proxy:
    """Forwards connections to one port; ``choose`` may be set at any time."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.choose: Callable[[int], Fault] = healthy
        """The fault of the n-th connection, from 1."""
        self.connections = 0
        self.arrived: list[bytes] = []
        """The head of every request that came whole."""
        self.forwarded = 0
        """Requests that went on whole."""
        self.open = 0
        """Connections that are open now."""

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection, to its end."""
        self.connections += 1
        self.open += 1
        try:
            async with client, await trio.open_tcp_stream(HOST, self.target) as server:
                await _Connection(self, self.choose(self.connections), client, server).run()
        except OSError:
            pass  # nobody listens there: the client finds its connection closed
        finally:
            self.open -= 1


@asynccontextmanager
async def open_proxy(target: int) -> AsyncIterator[Proxy]:
    """A proxy to that port of this machine, for as long as the block lasts."""
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host=HOST))
        proxy.port = listeners[0].socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class _Connection:
    proxy: Proxy
    fault: Fault
    client: trio.SocketStream
    server: trio.SocketStream
    exchange: int = 0
    awaited: int = 0
    """Answers that the server still owes."""
    struck: bool = False

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            if self._strikes(Where.CONNECTED, 1):
                await self._strike()
            nursery.start_soon(self._answers, nursery.cancel_scope)
            await self._requests()
            if self.fault.how is How.SILENCE or not self.struck or not self.awaited:
                # The client has gone by itself, or the server has nothing to say any more.
                nursery.cancel_scope.cancel()

    async def _requests(self) -> None:
        messages = Messages(self.client)
        try:
            while head := await messages.head():
                self.exchange += 1
                body = bytearray()
                while piece := await messages.piece():
                    body += piece
                if messages.ended:
                    return
                self.proxy.arrived.append(head)
                if self._strikes(Where.ARRIVED, self.exchange):
                    await self._strike()
                if self.struck:
                    continue
                await self.server.send_all(head + body)
                self.proxy.forwarded += 1
                self.awaited += 1
                if self._strikes(Where.FORWARDED, self.exchange):
                    await self._strike()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # reset by the client, or struck

    async def _answers(self, scope: trio.CancelScope) -> None:
        messages, answers = Messages(self.server, to_the_end=True), 0
        try:
            while head := await messages.head():
                answers += 1
                await trio.sleep(self.fault.delay_s)
                await self._pass_on(head, Where.HEAD, answers, 0)
                passed = 0
                while piece := await messages.piece():
                    await self._pass_on(piece, Where.BODY, answers, passed)
                    passed += len(piece)
                if messages.ended:
                    break
                self.awaited -= 1
                for where in (Where.BODY, Where.ANSWERED):
                    if self._strikes(where, answers):
                        await self._strike()
                if self.struck:
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        if not self.struck or self.fault.how is not How.SILENCE:
            scope.cancel()

    async def _pass_on(self, data: bytes, where: Where, answers: int, passed: int) -> None:
        last = self.fault.at - passed if self._strikes(where, answers) else len(data) + 1
        for start in range(0, min(last, len(data)), self.fault.piece):
            if self.struck:
                return
            await self.client.send_all(data[start : min(start + self.fault.piece, last)])
            await trio.sleep(self.fault.pause_s)
        if last <= len(data):
            await self._strike()

    def _strikes(self, where: Where, exchange: int) -> bool:
        return not self.struck and self.fault.how is not None and (self.fault.where, self.fault.exchange) == (where, exchange)

    async def _strike(self) -> None:
        await trio.sleep(self.fault.linger_s)
        self.struck = True
        if self.fault.how is How.SILENCE:
            return
        if self.fault.how is How.RESET:
            self.client.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        await self.client.aclose()
