"""One call: its body, its key, and how far it has come, which decides whether it may have been billed when it ends without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import httpx
import trio

from headrace.provider.failures import perhaps_billed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from headrace.provider.failures import Reply
    from headrace.provider.forms import Form
    from headrace.secret import Secret

File = tuple[str, tuple[str, bytes, str]]
"""The field of a form, and its file: name, content and type."""


class Call(httpx.AsyncByteStream):
    """The body of one request, in pieces, which is sent at most once, and what came back so far.

    httpx's own stream is an async generator, which trio reports as leaked when the sending fails, and can be sent again.
    """

    def __init__(self, *pieces: bytes) -> None:
        self.length = sum(map(len, pieces))
        self.status: int | None = None
        """Of the answer, once its head is there."""
        self.refusal: Reply | None = None
        """The answer without its body, where it is a refusal: the body only explains."""
        self.sent: Callable[[], None] | None = None
        """Called once the last piece is on its way."""
        self._left = [*reversed(pieces)]
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
            if self.sent is not None:
                self.sent()
            raise StopAsyncIteration
        return self._left.pop()


def form_call(fields: Mapping[str, str], files: Sequence[File]) -> tuple[str, Call]:
    """A call that sends a form, and the type of its content; nothing of the files is copied."""
    form = httpx.Request("POST", "http://form", data=fields, files=files)
    return form.headers["Content-Type"], Call(*cast("Iterable[bytes]", form.stream))


class KeyOnTheWire(httpx.Auth):
    """Puts the key into its header: the one place that reveals it."""

    def __init__(self, form: Form, secret: Secret) -> None:
        self._form, self._secret = form, secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Called with each request."""
        name, value = self._form.header(self._secret)
        request.headers[name] = value
        yield request
