"""The HTTP client of one key: the only module that knows httpx.

A request leaves at most once a call: httpcore takes another connection only for one that it has not written to, a redirect and a refused
key are answers like any other, and the body can be read a single time (:class:`headrace.provider.call.Call`).

The calls of a key are spread over small clients (:mod:`headrace.provider.shards`), because the bookkeeping of one grows with its calls.
"""

from __future__ import annotations

import json
import math
from contextlib import aclosing, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import trio

from headrace.errors import UsageError
from headrace.provider import edit
from headrace.provider.call import Call, KeyOnTheWire
from headrace.provider.failures import Reply, error_inside, perhaps_billed, problem_of
from headrace.provider.forms import GENERATIONS, VENDOR_FORM
from headrace.provider.memory import ByteBudget
from headrace.provider.payload import SMALL_BODY, largest_answer, payload
from headrace.provider.shards import AT_ONCE, Shards
from headrace.records import Kind, Problem
from headrace.text import clean

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from headrace.provider.forms import Form
    from headrace.provider.memory import Lease
    from headrace.records import Request
    from headrace.secret import Secret

OK = 200
CONNECT_S = 10.0
LONGEST_ID = 512
"""Characters of a request's name, as the vendor documents it."""
_TELLING_KEY = 20
"""Characters from which a key does not occur in the base64 of a picture by chance; the stand-in of a local server may be ``any``."""


class Client:
    """Posts requests with one key to one API.

    Args:
        base_url: where the API is, as far as ``/v1``.
        secret: the key; it goes into one header and nowhere else.
        timeout_s: for one whole call, in seconds.
        app: an ASGI application to call in this process in place of the network.
        form: how the API is addressed.

    Raises:
        UsageError: the proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, *, base_url: str, secret: Secret, timeout_s: float, app: Any = None, form: Form = VENDOR_FORM) -> None:
        self._url = base_url.rstrip("/")
        self._secret = secret
        self._timeout_s = timeout_s
        self._form = form
        auth = KeyOnTheWire(form, secret)
        self._http = _http(auth, app)
        self._shards = Shards(self._http, partial(_http, auth, app))

    async def post(self, request: Request, lease: Lease, request_id: str | None = None) -> Reply | Problem:
        """One call; the body is held in memory for as long as ``lease`` is.

        A connection that fails and a call that takes too long are :class:`Problem`; any HTTP answer is a :class:`Reply`, and so is a
        refusal of which only the head came.

        Args:
            request: what is asked for.
            lease: room for the body, reserved here.
            request_id: our name of this call, for the vendor's support; ASCII.

        Raises:
            ValueError: the name cannot be sent.
        """
        if request_id is not None and not (request_id.isascii() and request_id.isprintable() and 0 < len(request_id) <= LONGEST_ID):
            raise ValueError(f"a request's name is 1 to {LONGEST_ID} printable ASCII characters")
        headers = {} if request_id is None else {"X-Client-Request-Id": request_id}
        name = self._form.model(request.model)
        if not request.images:
            path, headers["Content-Type"], call = GENERATIONS, "application/json", Call(payload(request, name))
        else:
            form = await edit.form(request, name, lease)
            if isinstance(form, Problem):
                return form
            path, headers["Content-Type"], call = edit.EDITS, *form
        return await self._outcome("POST", self._form.call(path, request.model), headers, call, lease, largest_answer(request))

    async def get(self, path: str) -> Any | Problem:
        """The JSON document at ``path`` (with its query, encoded), of at most 1 MiB; whatever else comes is a :class:`Problem`."""
        outcome = await self.ask(path)
        if isinstance(outcome, Reply):
            with suppress(ValueError, RecursionError):
                document = json.loads(outcome.body)
                if outcome.status == OK and error_inside(document) is None:
                    return document
            outcome = problem_of(outcome)
        return attrs.evolve(outcome, billed=False, uncertain=False)  # a question makes no picture

    async def ask(self, path: str) -> Reply | Problem:
        """What a GET of ``path`` is answered, whatever it says; as in :meth:`post` for what is no answer, or is larger than 1 MiB."""
        with ByteBudget(SMALL_BODY).lease() as lease:
            return await self._outcome("GET", self._form.path(path), {}, Call(b""), lease, SMALL_BODY)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._shards.aclose()

    async def _outcome(self, method: str, path: str, headers: Mapping[str, str], call: Call, lease: Lease, most: int) -> Reply | Problem:
        try:
            with trio.fail_after(self._timeout_s) as scope:
                async with self._shards.place() as http:
                    url, traced = self._url + path, {"trace": call.trace}
                    length = {"Content-Length": str(call.length)} if call.length else {}
                    sent = http.build_request(method, url, headers={**headers, **length}, extensions=traced)
                    sent.stream = call
                    async with aclosing(await http.send(sent, stream=True)) as response:
                        return await self._answer(response, call, lease, most, scope)
        except trio.TooSlowError:
            kind, message = Kind.TIMEOUT, f"no complete answer within {self._timeout_s:g} s"
        except httpx.ConnectTimeout:
            kind, message = Kind.NETWORK, f"no connection within {CONNECT_S:g} s"
        except (httpx.TransportError, httpx.InvalidURL, OSError, UnicodeError) as error:
            # UnicodeError: a host name that no name can be.
            kind, message = Kind.NETWORK, clean(self._masked(f"{type(error).__name__}: {_said(error)}"))
        return call.refusal or Problem(kind=kind, message=message, retryable=True, uncertain=call.uncertain)

    async def _answer(self, response: httpx.Response, call: Call, lease: Lease, most: int, scope: trio.CancelScope) -> Reply | Problem:
        call.status = response.status_code
        coding = response.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            return self._bad(response, f"the body comes in the content coding {coding!r}, which was not asked for")
        headers = {name.lower(): self._masked(value) for name, value in response.headers.items()}
        if not response.is_success:
            call.refusal = Reply(response.status_code, headers, b"")
            most = SMALL_BODY
        declared = _declared(response)
        if declared is not None and declared > most:
            return self._too_large(response, most)
        # The picture is made and paid for: waiting for room is not the server's time.
        left, scope.deadline = scope.deadline - trio.current_time(), math.inf
        call.sent = None
        lease.let_go()
        most = await lease.reserve(declared or most)
        scope.deadline = trio.current_time() + left
        body = await _read(response, most)
        if body is None:
            return self._too_large(response, most)
        key = self._secret.reveal().encode()
        if len(body) <= SMALL_BODY and (not response.is_success or len(key) >= _TELLING_KEY):
            # Some servers repeat the key, in a complaint or in a header; no complaint is larger.
            body = body.replace(key, b"***").replace(key.replace(b"/", rb"\/"), b"***")
        return Reply(response.status_code, headers, body)

    def _masked(self, text: str) -> str:
        return text.replace(self._secret.reveal(), "***")

    def _too_large(self, response: httpx.Response, most: int) -> Problem:
        return self._bad(response, f"the body is larger than {most:,} bytes, which is more than such an answer can take")

    def _bad(self, response: httpx.Response, message: str) -> Problem:
        status, billed = response.status_code, response.status_code == OK
        return Problem(
            kind=Kind.BAD_ANSWER,
            message=clean(self._masked(message)),
            status=status,
            retryable=True,
            billed=billed,
            uncertain=not billed and perhaps_billed(status),
        )


async def post_once(url: str, document: bytes) -> int | str:
    """Post JSON to somebody who gets no key; the answer's status, or what kept it from coming. Nothing of the answer is read on."""
    try:
        whole = httpx.URL(url)
        auth = httpx.BasicAuth(whole.username, whole.password) if whole.userinfo else None
        # httpx logs the URL of each request; whoever knows a webhook's path can post there, so it travels beside.
        asked, target = whole.copy_with(raw_path=b"/", username=None, password=None), {"target": whole.raw_path}
        headers = {"Content-Type": "application/json"}
        async with _http(auth) as http, http.stream("POST", asked, content=document, headers=headers, extensions=target) as response:
            return response.status_code
    except (httpx.TransportError, httpx.InvalidURL, OSError, UnicodeError, UsageError) as error:
        # The name alone: a message may hold the URL.
        return type(error).__name__


def _http(auth: httpx.Auth | None, app: Any = None) -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(
            auth=auth,
            # A content coding would let 200 KB become 200 MB in memory.
            headers={"Accept-Encoding": "identity", "Accept": "application/json", "User-Agent": "headrace"},
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=AT_ONCE),
            # A redirect would take the key along.
            follow_redirects=False,
            transport=None if app is None else httpx.ASGITransport(app),
            verify=_trust() if app is None else True,
            # Plain http is for this machine alone: a proxy would be another one, and get the key.
            mounts={"http://": None},
        )
    except (ImportError, ValueError, OSError, httpx.InvalidURL):
        # The message of the cause may hold the password of the proxy.
        where = "HTTPS_PROXY and ALL_PROXY name a proxy by http:// or https://, SSL_CERT_FILE and SSL_CERT_DIR what is there"
        raise UsageError(f"the network settings of the environment cannot be used: see that {where}") from None


def _said(error: BaseException) -> str:
    # Of a failed handshake or a reset the reason is in what the error came of; httpcore cuts the cause and leaves the context.
    at: BaseException | None = error
    while at is not None and not str(at):
        at = at.__cause__ or at.__context__
    return "the connection broke" if at is None else str(at)


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


def _declared(response: httpx.Response) -> int | None:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 16 else None  # noqa: PLR2004 - no real length has more digits
