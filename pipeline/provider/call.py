"""How far one call has come: what decides whether it may have been billed when it ends without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import httpx
import trio

from headrace.provider.failures import perhaps_billed

if TYPE_CHECKING:
    from headrace.provider.failures import Reply


class Call(httpx.AsyncByteStream):
    """The body of one request, which is sent at most once, and what came back so far.

    httpx's own stream is an async generator, which trio reports as leaked when the sending fails, and can be sent again.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.status: int | None = None
        """Of the answer, once its head is there."""
        self.refusal: Reply | None = None
        """The answer without its body, where it is a refusal: the body only explains."""
        self._left: list[bytes] = [content]
        self._connected: Any = None

    @property
    def uncertain(self) -> bool:
        """Whether the server may have made a picture and billed it, judged by what came so far.

        The head leaves before the body is asked for, and a request without its body is none.
        """
        return not self._left and (self.status is None or perhaps_billed(self.status))

    async def trace(self, event: str, about: dict[str, Any]) -> None:
        """Close the connection of a TLS handshake that was cancelled: httpcore 1.0 leaves its socket open (it is called with each step)."""
        if event.endswith(".connect_tcp.complete"):
            self._connected = about["return_value"]
        elif event.endswith(".start_tls.failed") and self._connected is not None:
            with trio.CancelScope(shield=True):
                await self._connected.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()
