"""Whether a call that brought no picture may have been billed, and what is known of a refusal that broke off."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from headrace.provider.call import Call
from headrace.provider.failures import Reply, problem_of
from headrace.records import Kind, Problem, Request

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="64x64", quality="low")
HEAD = b"HTTP/1.1 200 OK\r\n"
SIZED = HEAD + b"Content-Length: 10\r\n\r\n{}"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n"

PERHAPS_BILLED: dict[str, list[bytes | str]] = {
    "closed before an answer": ["read"],
    "reset before an answer": ["read", "reset"],
    "silent": ["read", "stall"],
    "closed in the head": ["read", HEAD + b"Content-Le"],
    "reset in the head": ["read", HEAD + b"Content-Le", "reset"],
    "silent in the head": ["read", HEAD, "stall"],
    "closed in the body": ["read", SIZED],
    "reset in the body": ["read", SIZED, "reset"],
    "silent in the body": ["read", SIZED, "stall"],
    "closed between chunks": ["read", CHUNKED + b"2\r\n{}\r\n"],
    "a chunk without a size": ["read", CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"],
    "not HTTP": ["read", b"SSH-2.0-OpenSSH_9.6\r\n"],
    "only a foreword": ["read", b"HTTP/1.1 100 Continue\r\n\r\n"],
}


def answer(status: int, body: bytes = b"", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d X" % status, *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize("script", PERHAPS_BILLED.values(), ids=PERHAPS_BILLED)
def test_what_breaks_off_after_the_request_may_have_been_billed(script: list[bytes | str], on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        problem = await wire.post()
        assert isinstance(problem, Problem)
        assert (problem.uncertain, problem.billed, problem.retryable) == (True, False, True)
        assert problem.kind is (Kind.TIMEOUT if script[-1] == "stall" else Kind.NETWORK)

    on_the_wire(test, script, timeout_s=0.1 if script[-1] == "stall" else 5.0)


@pytest.mark.parametrize("end", [[], ["reset"], ["stall"], [b"x" * 200]], ids=["closed", "reset", "silent", "too long"])
def test_a_refusal_is_one_though_its_body_breaks_off(end: list[bytes | str], on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        reply = await wire.post()
        assert isinstance(reply, Reply), reply
        problem = problem_of(reply)
        assert (problem.kind, problem.status, problem.retry_after_s, problem.uncertain) == (Kind.RATE_LIMITED, 429, 7.0, False)

    on_the_wire(test, ["read", REFUSED + b'{"error": ', *end], timeout_s=0.1 if end == ["stall"] else 5.0)


def test_a_gateways_refusal_that_breaks_off_may_have_been_billed_all_the_same(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        assert problem_of(await wire.post()).uncertain

    on_the_wire(test, ["read", b"HTTP/1.1 504 X\r\nContent-Length: 100\r\n\r\n<html"])


@pytest.mark.parametrize("coding", [b"Content-Encoding: gzip", b"X: y"], ids=["in a coding", "too large"])
@pytest.mark.parametrize(
    ("status", "billed", "uncertain"),
    [(200, True, False), (202, False, True), (504, False, True), (500, False, False), (429, False, False)],
)
def test_an_answer_that_cannot_be_read_is_judged_by_its_status(
    status: int, coding: bytes, *, billed: bool, uncertain: bool, on_the_wire: Any
) -> None:
    async def test(wire: Any) -> None:
        problem = await wire.post()
        assert (problem.kind, problem.status, problem.billed, problem.uncertain) == (Kind.BAD_ANSWER, status, billed, uncertain)

    on_the_wire(test, ["read", answer(status, b" " * 2**21, coding)])


@pytest.mark.parametrize("status", [408, 502, 504, 520, 522, 524, 598, 599])
def test_a_gateway_that_waits_no_longer_does_not_know(status: int) -> None:
    assert problem_of(Reply(status, {}, b"<html>")).uncertain


@pytest.mark.parametrize("status", [201, 202, 203, 204, 206])
def test_a_success_of_another_kind_may_have_been_billed(status: int) -> None:
    assert problem_of(Reply(status, {}, b"")).uncertain
    assert not problem_of(Reply(status, {}, b'{"error": {"code": "moderation_blocked"}}')).uncertain


@pytest.mark.parametrize("status", [300, 307, 400, 401, 403, 404, 407, 409, 413, 422, 429, 500, 501, 503, 521, 523, 525, 526, 529])
def test_an_answer_of_the_api_itself_leaves_no_doubt(status: int) -> None:
    assert not problem_of(Reply(status, {}, b"")).uncertain


@pytest.mark.parametrize(
    ("reason", "uncertain"),
    [
        ("connection termination", True),
        ("remote reset", True),
        ("connection failure", False),
        ("connection timeout", False),
        ("overflow", False),
    ],
)
def test_a_503_of_a_proxy_says_whether_the_connection_stood(reason: str, *, uncertain: bool) -> None:
    text = f"upstream connect error or disconnect/reset before headers. reset reason: {reason}"
    assert problem_of(Reply(503, {}, text.encode())).uncertain is uncertain


def test_a_call_is_sent_under_our_name_for_it_where_it_has_one(on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        for name in ("headrace-0-1", "x" * 512, None):
            with wire.budget.lease() as lease:
                assert isinstance(await wire.client.post(REQUEST, lease, name), Reply)
        heads = [seen.partition(b"\r\n\r\n")[0].lower() for seen in wire.seen]
        assert b"\r\nx-client-request-id: headrace-0-1" in heads[0]
        assert b"\r\nx-client-request-id: " + b"x" * 512 in heads[1]
        assert b"x-client-request-id" not in heads[2]

    on_the_wire(test, ["read", answer(200, b"{}")] * 3)


@pytest.mark.parametrize("name", ["", "x" * 513, "é", "a\r\nX-Evil: 1", "a\x00", "\u2028"])
def test_a_name_that_cannot_be_sent_is_the_callers_mistake(name: str, on_the_wire: Any) -> None:
    async def test(wire: Any) -> None:
        with wire.budget.lease() as lease, pytest.raises(ValueError, match="printable ASCII"):
            await wire.client.post(REQUEST, lease, name)
        assert not wire.seen

    on_the_wire(test, ["read", answer(200, b"{}")])


def test_a_request_can_be_sent_once_and_in_doubt_is_one_that_was() -> None:
    call = Call(b"{}")

    async def sent() -> list[bytes]:
        return [piece async for piece in call]

    assert not call.uncertain
    assert trio.run(sent) == [b"{}"]
    assert call.uncertain
    assert trio.run(sent) == []
    call.status = 429
    assert not call.uncertain
