from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from headrace.provider.client import Client
from headrace.provider.failures import Reply, problem_of
from headrace.provider.memory import ByteBudget
from headrace.records import Kind, Problem, Request
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="64x64", quality="low")
CANARY = "canary-Zm9vYmFy/0123+456789"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def ends_as(kind: Kind, *, says: str = "", status: int | None = None) -> Callable[[Any], Awaitable[None]]:
    async def test(wire: Any) -> None:
        problem = await wire.post()
        assert isinstance(problem, Problem), problem
        assert (problem.kind, problem.status, problem.retryable) == (kind, status, True)
        assert says in problem.message
        assert len(problem.message.splitlines()) == 1

    return test


def test_what_is_sent_is_the_bare_request_and_the_key_in_one_header(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        await wire.post(attrs.evolve(REQUEST, prompt='a "fox"\n日本 🦊'))
        head, _, body = wire.seen[0].partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert first == "POST /v1/images/generations HTTP/1.1"
        assert headers["authorization"] == f"Bearer {wire.key}"
        assert headers["accept-encoding"] == "identity"
        assert headers["content-type"] == "application/json"
        assert len(lines) == len(headers)
        assert wire.seen[0].count(wire.key.encode()) == 1
        sent = {"model": "gpt-image-2", "prompt": 'a "fox"\n日本 🦊', "size": "64x64", "quality": "low"}
        assert json.loads(body) == sent
        assert "日本 🦊".encode() in body

    on_the_wire(test, ["read", OK])


def test_what_differs_from_the_defaults_is_sent_too(on_the_wire: Any) -> None:
    extra: dict[str, Any] = {"n": 2, "output_format": "webp", "output_compression": 0, "background": "opaque", "moderation": "low"}

    async def test(wire: Any) -> None:
        await wire.post(attrs.evolve(REQUEST, **extra))
        body = json.loads(wire.seen[0].partition(b"\r\n\r\n")[2])
        assert body == {"model": "gpt-image-2", "prompt": "a fox", "size": "64x64", "quality": "low", **extra}

    on_the_wire(test, ["read", OK])


def test_an_answer_comes_back_whole_however_it_is_cut(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        reply = await wire.post()
        assert isinstance(reply, Reply)
        assert (reply.status, bytes(reply.body), reply.headers["x-request-id"]) == (200, b"{ }", "req_1")

    raw = b"HTTP/1.1 200 OK\r\nX-Request-ID: req_1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n2\r\n }\r\n0\r\n\r\n"
    on_the_wire(test, ["read", *(raw[index : index + 1] for index in range(len(raw)))])


def test_a_connection_is_kept_for_the_next_call(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        for _ in range(3):
            assert isinstance(await wire.post(), Reply)
        assert wire.connections == 1

    on_the_wire(test, ["read", OK] * 3)


@pytest.mark.parametrize("end", [(), ("reset",)])
def test_a_kept_connection_that_the_server_closed_meanwhile_costs_at_most_one_retryable_problem(
    end: tuple[str, ...], on_the_wire: Any
) -> None:
    async def test(wire: Any) -> None:
        assert isinstance(await wire.post(), Reply)
        outcomes = [await wire.post() for _ in range(2)]
        assert isinstance(outcomes[-1], Reply)
        first = outcomes[0]
        assert isinstance(first, Reply) or first.retryable
        # Whatever happens in between, no request leaves twice for one call.
        assert len(wire.seen) <= 3

    on_the_wire(test, ["read", OK, *end])


def test_a_connection_that_is_cut_off_in_an_answer_is_not_used_again(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        assert isinstance(await wire.post(), Problem)
        assert isinstance(await wire.post(), Reply)
        assert wire.connections == 2

    on_the_wire(test, ["read", answer(b"{}", b"Content-Encoding: gzip"), "stall"], ["read", OK])


HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN: dict[str, list[bytes | str]] = {
    "closed before the request is read": [],
    "reset before the request is read": ["reset"],
    "closed before an answer": ["read"],
    "reset before an answer": ["read", "reset"],
    "closed in the status line": ["read", b"HTTP/1.1 2"],
    "closed in the headers": ["read", HEAD + b"Content-Le"],
    "reset in the headers": ["read", HEAD + b"Content-Length: 5\r\n", "reset"],
    "closed in the body": ["read", HEAD + b"Content-Length: 10\r\n\r\n{}"],
    "reset in the body": ["read", HEAD + b"Content-Length: 10\r\n\r\n{}", "reset"],
    "closed in a chunk": ["read", CHUNKED + b"a\r\n{}"],
    "closed between chunks": ["read", CHUNKED + b"2\r\n{}\r\n"],
    "reset in a chunk": ["read", CHUNKED + b"a\r\n{}", "reset"],
    "a chunk without a size": ["read", CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"],
    "a chunk of a negative size": ["read", CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n"],
    "not HTTP": ["read", b"SSH-2.0-OpenSSH_9.6\r\n"],
    "noise": ["read", bytes(range(256)) * 4],
    "HTTP/2 in clear": ["read", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)],
    "two lengths": ["read", HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"],
    "a negative length": ["read", HEAD + b"Content-Length: -2\r\n\r\n{}"],
    "a length that is no number": ["read", HEAD + b"Content-Length: two\r\n\r\n{}"],
    "a header flood": ["read", HEAD, *[b"x-%d: %s\r\n" % (index, b"y" * 1000) for index in range(200)], b"\r\n{}"],
    "one endless header": ["read", HEAD + b"x: ", b"y" * 200_000],
    "a change of protocol": ["read", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "stall"],
    "a redirect to nowhere": ["read", b"HTTP/1.1 307 X\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n"],
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_answer_is_a_network_problem(script: list[bytes | str], on_the_wire: Any) -> None:
    on_the_wire(ends_as(Kind.NETWORK), script)


@pytest.mark.parametrize(
    "script",
    [
        ["stall"],
        ["read", "stall"],
        ["read", b"HTTP/1.1 200", "stall"],
        ["read", HEAD + b"Content-Length: 9\r\n\r\n{", "stall"],
        ["read", CHUNKED + b"1\r\n{\r\n", "stall"],
        ["read", *[b"HTTP/1.1 100 Continue\r\n\r\n"] * 10, "stall"],
    ],
)
def test_a_server_that_stops_talking_is_a_timeout(script: list[bytes | str], on_the_wire: Any) -> None:
    on_the_wire(ends_as(Kind.TIMEOUT, says="0.05 s"), script, timeout_s=0.05)


def test_a_body_that_drips_is_a_timeout_of_the_whole_call() -> None:
    # In virtual time, over ASGI: a byte every ten seconds would keep every idle timeout happy.
    async def drip(scope: Any, receive: Any, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:  # noqa: ARG001 - ASGI
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await trio.sleep(10)
            await send({"type": "http.response.body", "body": b" ", "more_body": True})

    async def main() -> None:
        client = Client(base_url="http://127.0.0.1/v1", secret=Secret("k"), timeout_s=300, app=drip)
        budget = ByteBudget(10_000_000)
        with budget.lease() as lease:
            problem = await client.post(REQUEST, lease)
        assert isinstance(problem, Problem)
        assert problem.kind is Kind.TIMEOUT
        assert trio.current_time() == 300
        assert budget.free == budget.capacity

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate", b"zstd", b"identity, gzip", b"GZIP"])
def test_a_content_coding_is_refused_before_the_body_is_read(coding: bytes, on_the_wire: Any) -> None:
    script = ["read", HEAD + b"Content-Encoding: " + coding + b"\r\nContent-Length: 99999999\r\n\r\n", "stall"]
    on_the_wire(ends_as(Kind.BAD_ANSWER, says="content coding", status=200), script)


def test_the_coding_identity_is_no_coding(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        assert isinstance(await wire.post(), Reply)

    on_the_wire(test, ["read", answer(b"{}", b"Content-Encoding: Identity")])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_does_not_travel(status: int, on_the_wire: Any) -> None:
    async def elsewhere(reached: list[bytes], stream: trio.SocketStream) -> None:
        reached.append(await stream.receive_some())

    async def test(wire: Any) -> None:
        reached: list[bytes] = []
        async with trio.open_nursery() as nursery:
            listeners: Any = await nursery.start(partial(trio.serve_tcp, partial(elsewhere, reached), 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            scripts[0][1] = answer(b"", b"Location: http://127.0.0.1:%d/v1" % port, status=b"%d X" % status)
            reply = await wire.post()
            assert isinstance(reply, Reply)
            assert problem_of(reply).kind is Kind.NOT_FOUND
            await trio.testing.wait_all_tasks_blocked()
            assert not reached
            nursery.cancel_scope.cancel()

    scripts: list[list[bytes | str]] = [["read", b""]]
    on_the_wire(test, *scripts)


MOST = 64 * 64 * 4 * 4 // 3 + 2**20


@pytest.mark.parametrize("length", [b"", b"Content-Length: %d\r\n" % 10**9, b"Content-Length: %d\r\n" % 10**15])
def test_a_body_larger_than_the_picture_can_be_is_cut_short(length: bytes, on_the_wire: Any) -> None:
    frame = length or b"Transfer-Encoding: chunked\r\n"
    piece = b" " * 65_536 if length else b"10000\r\n" + b" " * 65_536 + b"\r\n"
    on_the_wire(ends_as(Kind.BAD_ANSWER, says="larger than", status=200), ["read", HEAD + frame + b"\r\n", *[piece] * 40])


def test_a_body_as_large_as_the_picture_can_be_is_taken(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        reply = await wire.post()
        assert isinstance(reply, Reply)
        assert len(reply.body) == MOST

    on_the_wire(test, ["read", answer(b" " * MOST)])


def test_an_error_has_no_more_room_than_a_megabyte_whatever_was_asked_for(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        problem = await wire.post(attrs.evolve(REQUEST, size="2048x2048", n=10))
        assert isinstance(problem, Problem)
        assert (problem.kind, problem.status) == (Kind.BAD_ANSWER, 500)

    on_the_wire(test, ["read", answer(b" " * (2**20 + 1), status=b"500 X")])


def test_an_unasked_size_still_has_a_bound(on_the_wire: Any) -> None:
    # As large as the whole budget is, when that is smaller than any picture.
    async def test(wire: Any) -> None:
        problem = await wire.post(attrs.evolve(REQUEST, size="auto"))
        assert isinstance(problem, Problem)
        assert problem.kind is Kind.BAD_ANSWER

    on_the_wire(test, ["read", answer(b" " * 2000)], capacity=1000)


def test_more_than_was_announced_is_not_read_as_the_next_answer(on_the_wire: Any) -> None:
    # A length that lies: what is left of one picture must not become another prompt's.
    async def test(wire: Any) -> None:
        first, second = await wire.post(), await wire.post()
        assert isinstance(first, Reply)
        assert bytes(first.body) == b"{}"
        assert isinstance(second, Problem) or bytes(second.body) == b"{}"
        assert isinstance(await wire.post(), Reply)

    on_the_wire(test, ["read", OK + b'{"data": "the rest"}', "read", OK], ["read", OK], timeout_s=0.5)


def test_room_is_held_for_the_body_while_the_lease_lasts(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        with wire.budget.lease() as lease:
            assert isinstance(await wire.client.post(REQUEST, lease), Reply)
            assert wire.budget.free == wire.budget.capacity - 5
        assert wire.budget.free == wire.budget.capacity

    on_the_wire(test, ["read", answer(b"12345")])


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified", b"418 Teapot", b"599 X", b"999 X"])
def test_every_other_status_is_a_reply(status: bytes, on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        reply = await wire.post()
        assert isinstance(reply, Reply)
        assert reply.status == int(status[:3])
        assert problem_of(reply).message

    on_the_wire(test, ["read", b"HTTP/1.1 " + status + b"\r\n\r\n"])


def test_repeated_headers_do_not_hurt(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        reply = await wire.post()
        assert isinstance(reply, Reply)
        problem = problem_of(reply)
        assert problem.kind is Kind.RATE_LIMITED
        assert problem.retry_after_s in (None, 5.0, 7.0)

    on_the_wire(test, ["read", answer(b"", b"Retry-After: 5", b"Retry-After: 7", b"X-Odd: \xff", status=b"429 X")])


@pytest.mark.parametrize("field", ["model", "size", "quality", "background", "moderation", "prompt"])
def test_half_of_a_surrogate_pair_in_a_request_is_a_problem_of_that_request_alone(field: str, on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        halved: dict[str, Any] = {field: "\ud800"}
        assert isinstance(await wire.post(attrs.evolve(REQUEST, **halved)), Problem | Reply)

    on_the_wire(test, ["read", OK])


@pytest.mark.parametrize(
    "script",
    [
        ["stall"],
        ["read", "stall"],
        ["read", b"HTTP/1.1 200 OK\r\n", "stall"],
        ["read", HEAD + b"Content-Length: 100\r\n\r\n{", "stall"],
        ["read", answer(b" " * 100), "stall"],
    ],
    ids=["before the request", "before the answer", "in the headers", "in the body", "waiting for room"],
)
def test_a_cancelled_call_gives_everything_back_and_leaves_the_client_usable(script: list[bytes | str], on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        waits = len(script) == 3 and script[1][-1:] == b" "
        held = wire.budget.lease()
        if waits:
            await held.reserve(wire.budget.capacity)
        free = wire.budget.free
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                with wire.budget.lease() as lease:
                    await wire.client.post(REQUEST, lease)

            nursery.start_soon(call)
            await wire.stalled.wait()
            # What the server sent is on its way to the client through the kernel.
            for _ in range(50):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert wire.budget.free == free
        held.__exit__(None, None, None)
        assert isinstance(await wire.post(), Reply)

    on_the_wire(test, script, ["read", OK])


def test_closing_ends_what_is_open(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends_as(Kind.NETWORK), wire)
            await wire.stalled.wait()
            await wire.client.aclose()

    on_the_wire(test, ["read", "stall"])


async def post(client: Client) -> Reply | Problem:
    """With a budget of its own: others hold theirs meanwhile."""
    with ByteBudget(2**20).lease() as lease:
        return await client.post(REQUEST, lease)


def calls_of(client: Client) -> list[int]:
    """The calls that each of its HTTP clients has."""
    return [shard.calls for shard in client._shards._shards]


AT_REST = ([0], [0, 0])


async def arrived(wire: Any, count: int) -> None:
    while len(wire.seen) < count:  # noqa: ASYNC110 - the kernel has no event for it
        await trio.sleep(0.001)


def test_many_calls_at_once_are_spread_over_clients_that_go_again() -> None:
    async def slow(scope: Any, receive: Any, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:  # noqa: ARG001 - ASGI
        await trio.sleep(2)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def main() -> None:
        client = Client(base_url="http://127.0.0.1/v1", secret=Secret("k"), timeout_s=300, app=slow)
        replies: list[Reply | Problem] = []

        async def call() -> None:
            replies.append(await post(client))

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(call)
            await trio.sleep(1)
            assert calls_of(client) == [16, 16, 8]
        assert [type(reply) for reply in replies] == [Reply] * 40
        assert calls_of(client) in AT_REST

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_clients_of_calls_that_come_and_go_keep_their_connections(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        async def calls() -> None:
            for _ in range(5):
                assert isinstance(await post(wire.client), Reply)

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(calls)
        assert len(wire.seen) == 200
        assert wire.connections <= 40

    on_the_wire(test, ["read", OK] * 200)


def test_many_cancelled_calls_give_their_places_back(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(post, wire.client)
            await arrived(wire, 40)
            nursery.cancel_scope.cancel()
        assert calls_of(wire.client) in AT_REST

    on_the_wire(test, ["read", "stall"])


class Silent(trio.abc.HostnameResolver):
    """A name server that says nothing."""

    async def getaddrinfo(self, *_: Any, **__: Any) -> NoReturn:
        await trio.sleep_forever()

    async def getnameinfo(self, *_: Any) -> NoReturn:
        await trio.sleep_forever()


def test_calls_that_are_cancelled_while_they_connect_give_their_places_back() -> None:
    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(Silent())
        client = Client(base_url="https://api.invalid/v1", secret=Secret("canary-0123456789abcdef"), timeout_s=300)
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(post, client)
                await trio.sleep(0.5)
                assert calls_of(client) == [16, 16, 8]
        assert calls_of(client) in AT_REST
        await client.aclose()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_closing_ends_what_is_open_in_every_client(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        async def call() -> None:
            outcome = await post(wire.client)
            assert isinstance(outcome, Problem)
            assert outcome.kind is Kind.NETWORK

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(call)
            await arrived(wire, 40)
            await wire.client.aclose()

    on_the_wire(test, ["read", "stall"])


def test_a_question_is_asked_with_the_same_key_and_its_document_comes_back() -> None:
    seen: list[Any] = []

    async def models(scope: Any, receive: Any, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        seen.append((scope, (await receive()).get("body", b"")))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps({"data": [1, CANARY]}).encode()})

    async def main() -> None:
        client = Client(base_url="http://127.0.0.1/v1/", secret=Secret(CANARY), timeout_s=300, app=models)
        assert await client.get("/models?limit=1") == {"data": [1, "***"]}
        ((scope, body),) = seen
        headers = dict(scope["headers"])
        assert (scope["method"], scope["path"], scope["query_string"], body) == ("GET", "/v1/models", b"limit=1", b"")
        assert headers[b"authorization"] == f"Bearer {CANARY}".encode()
        assert not headers.keys() & {b"content-type", b"content-length", b"transfer-encoding"}

    trio.run(main)


@pytest.mark.parametrize(
    ("script", "kind", "status"),
    [
        ([answer(b'{"error": {"code": "invalid_api_key"}}', status=b"401 X"), "stall"], Kind.AUTH, 401),
        ([answer(b"", status=b"404 X"), "stall"], Kind.NOT_FOUND, 404),
        ([answer(b"", status=b"502 X"), "stall"], Kind.SERVER_ERROR, 502),
        ([answer(b"{}", status=b"202 X"), "stall"], Kind.BAD_ANSWER, 202),
        ([answer(b"<html>"), "stall"], Kind.BAD_ANSWER, 200),
        ([answer(b"[" * 100_000), "stall"], Kind.BAD_ANSWER, 200),
        ([answer(b'{"error": {"message": "no"}}'), "stall"], Kind.BAD_ANSWER, 200),
        ([answer(b" " * (2**20 + 1)), "stall"], Kind.BAD_ANSWER, 200),
        ([CHUNKED + b"fffff\r\n" + b" " * 0xFFFFF + b"\r\nff\r\n" + b" " * 0xFF + b"\r\n0\r\n\r\n", "stall"], Kind.BAD_ANSWER, 200),
        ([answer(b"{}", b"Content-Encoding: gzip"), "stall"], Kind.BAD_ANSWER, 200),
        (["reset"], Kind.NETWORK, None),
        (["stall"], Kind.TIMEOUT, None),
    ],
)
def test_a_question_without_an_answer_is_a_problem_and_never_a_bill(
    script: list[bytes | str], kind: Kind, status: int | None, on_the_wire: Any
) -> None:
    async def test(wire: Any) -> None:
        problem = await wire.client.get("/models")
        assert isinstance(problem, Problem)
        assert (problem.kind, problem.status, problem.billed, problem.uncertain) == (kind, status, False, False)
        assert problem.message

    on_the_wire(test, script, timeout_s=0.2 if kind is Kind.TIMEOUT else 5.0)
