"""The HTTP client of one key: the only module that knows httpx.

One small client a key, because a pool's bookkeeping grows with its connections: a request costs 1.3 ms of CPU at 16 connections and
2.8 ms at 256 (``benchmarks/throughput.py --at-once 256``).
"""

from __future__ import annotations

import json
import math
from contextlib import aclosing
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import attrs
import httpx
import trio

from headrace.provider.failures import Reply
from headrace.records import Kind, Problem
from headrace.sizes import parse_size
from headrace.text import clean

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator

    from headrace.provider.memory import Lease
    from headrace.records import Request
    from headrace.secret import Secret

PATH = "/images/generations"
CONNECT_S = 10.0
MAX_BODY = 64 * 2**20
_SMALL_BODY = 2**20
_KEPT_ALIVE = 16
_TELLING_KEY = 20
"""Characters from which a key does not occur in the base64 of a picture by chance; the stand-in of a local server may be ``any``."""


class Client:
    """Posts requests with one key to one API.

    Args:
        base_url: where the API is, as far as ``/v1``.
        secret: the key; it goes into one header and nowhere else.
        timeout_s: for one whole call, in seconds.
        app: an ASGI application to call in this process in place of the network.
    """

    def __init__(self, *, base_url: str, secret: Secret, timeout_s: float, app: Any = None) -> None:
        self._url = base_url.rstrip("/") + PATH
        self._secret = secret
        self._timeout_s = timeout_s
        transport = None if app is None else httpx.ASGITransport(app)
        self._http = httpx.AsyncClient(
            auth=_Bearer(secret),
            # A content coding would let 200 KB become 200 MB in memory.
            headers={"Accept-Encoding": "identity", "Accept": "application/json", "User-Agent": "headrace"},
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_ALIVE),
            # A redirect would take the key along.
            follow_redirects=False,
            transport=transport,
            verify=_trust() if app is None else True,
            # Plain http is for this machine alone: a proxy would be another one, and get the key.
            mounts={"http://": None},
        )

    async def post(self, request: Request, lease: Lease) -> Reply | Problem:
        """One call; the body is held in memory for as long as ``lease`` is.

        A connection that fails and a call that takes too long are :class:`Problem`; any HTTP answer is a :class:`Reply`.
        """
        try:
            with trio.fail_after(self._timeout_s) as scope:
                return await self._exchange(request, lease, scope)
        except trio.TooSlowError:
            message = f"no complete answer within {self._timeout_s:g} s"
            return Problem(kind=Kind.TIMEOUT, message=message, retryable=True)
        except httpx.ConnectTimeout:
            return Problem(kind=Kind.NETWORK, message=f"no connection within {CONNECT_S:g} s", retryable=True)
        except (httpx.TransportError, httpx.InvalidURL, OSError) as error:
            message = clean(self._masked(f"{type(error).__name__}: {error}"))
            return Problem(kind=Kind.NETWORK, message=message, retryable=True)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _exchange(self, request: Request, lease: Lease, scope: trio.CancelScope) -> Reply | Problem:
        # What cannot be encoded (half of a surrogate pair) is the server's to refuse.
        content = json.dumps(_body(request), ensure_ascii=False).encode("utf-8", "replace")
        sent = self._http.build_request("POST", self._url, content=content, headers={"Content-Type": "application/json"})
        sent.stream = _Content(content)
        async with aclosing(await self._http.send(sent, stream=True)) as response:
            coding = response.headers.get("content-encoding", "identity")
            if coding.lower() != "identity":
                return self._bad(response, f"the body comes in the content coding {coding!r}, which was not asked for")
            most = min(MAX_BODY, _expected(request)) if response.is_success else _SMALL_BODY
            # The picture is made and paid for: waiting for room is not the server's time.
            left, scope.deadline = scope.deadline - trio.current_time(), math.inf
            most = await lease.reserve(min(most, _declared(response) or most))
            scope.deadline = trio.current_time() + left
            body = await _read(response, most)
            if body is None:
                return self._bad(response, f"the body is larger than {most:,} bytes, which is more than such a picture can take")
            key = self._secret.reveal().encode()
            if len(body) <= _SMALL_BODY and (not response.is_success or len(key) >= _TELLING_KEY):
                # Some servers repeat the key, in a complaint or in a header; no complaint is larger.
                body = body.replace(key, b"***").replace(key.replace(b"/", rb"\/"), b"***")
            headers = {name.lower(): self._masked(value) for name, value in response.headers.items()}
            return Reply(response.status_code, headers, body)

    def _masked(self, text: str) -> str:
        return text.replace(self._secret.reveal(), "***")

    def _bad(self, response: httpx.Response, message: str) -> Problem:
        problem = Problem(kind=Kind.BAD_ANSWER, message=clean(self._masked(message)), status=response.status_code, retryable=True)
        return attrs.evolve(problem, billed=response.is_success)


async def _read(response: httpx.Response, most: int) -> bytearray | None:
    """The body, or None where it is larger than ``most`` bytes."""
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most:
                # Closed, and read on into the error: generators that are left in the middle are a leak to trio.
                await response.aclose()
    except httpx.TransportError:
        if len(body) <= most:
            raise
    return body if len(body) <= most else None


@cache
def _trust() -> ssl.SSLContext:
    # Reading the certificates takes 20 ms: once for all keys.
    return httpx.create_ssl_context()


class _Content(httpx.AsyncByteStream):
    # httpx's own is an async generator, which trio reports as leaked when the sending fails.
    def __init__(self, content: bytes) -> None:
        self._left: list[bytes] = [content]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class _Bearer(httpx.Auth):
    """Puts the key on the wire: the one place that reveals it."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._secret.reveal()}"
        yield request


def _body(request: Request) -> dict[str, Any]:
    optional = {
        "n": request.n if request.n > 1 else None,
        "output_format": request.output_format if request.output_format != "png" else None,
        "output_compression": request.output_compression,
        "background": request.background,
        "moderation": request.moderation,
    }
    body = {"model": request.model, "prompt": request.prompt, "size": request.size, "quality": request.quality}
    return body | {name: value for name, value in optional.items() if value is not None}


def _expected(request: Request) -> int:
    # No picture is larger than its pixels uncompressed with alpha, in base64, and a frame around it.
    if request.size == "auto":
        return MAX_BODY
    width, height = parse_size(request.size)
    return request.n * (width * height * 4 * 4 // 3) + _SMALL_BODY


def _declared(response: httpx.Response) -> int | None:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 16 else None  # noqa: PLR2004 - no real length has more digits
