"""Answers with status 200 that are none: each takes a good answer, or its place, and spoils one thing about it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import attrs

from headrace.simulator.replies import HTML, JSON, Reply, error_reply, html_reply
from headrace.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.records import Request

OVERSIZED_BYTES = 70_000_000
NESTED_BRACKETS = 100_000
_CHUNK_BYTES = 1_000_000


def _edited(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Reply], Reply]:
    """A spoil that changes the JSON value of the answer."""

    def spoil(reply: Reply) -> Reply:
        value = edit(json.loads(reply.joined()))
        return attrs.evolve(reply, chunks=(json.dumps(value, indent=2).encode(),))

    return spoil


def _each_item(edit: Callable[[str, str], dict[str, Any]]) -> Callable[[Reply], Reply]:
    """A spoil that changes every picture's entry, given its base64 and its format."""
    return _edited(lambda body: body | {"data": [edit(item["b64_json"], body["output_format"]) for item in body["data"]]})


def _cut_picture(encoded: str, _: str) -> dict[str, Any]:
    # Whole groups of four: the base64 stays valid, only the file ends early.
    return {"b64_json": encoded[: len(encoded) // 8 * 4]}


empty_data = _edited(lambda body: body | {"data": []})
bare_list = _edited(lambda body: body["data"])
missing_b64 = _each_item(lambda _encoded, _format: {"revised_prompt": "a picture"})
broken_base64 = _each_item(lambda encoded, _: {"b64_json": f"{encoded[:40]}!*not base64*!{encoded[41:]}"})
truncated_picture = _each_item(_cut_picture)
url_instead = _each_item(lambda _encoded, form: {"url": f"https://images.example.invalid/picture.{form}"})
data_url = _each_item(lambda encoded, form: {"url": f"data:image/{form};base64,{encoded}"})


def truncated_json(reply: Reply) -> Reply:
    """The first half of the body, ended as if it were all."""
    body = reply.joined()
    return attrs.evolve(reply, chunks=(body[: len(body) // 2],))


def gzipped(reply: Reply) -> Reply:
    """The body compressed: right, if the client undoes it."""
    headers = (*reply.headers, ("content-encoding", "gzip"))
    return attrs.evolve(reply, headers=headers, chunks=(gzip.compress(reply.joined(), 1),))


def oversized(reply: Reply) -> Reply:
    """A picture of 70 MB of base64, made while it is sent."""

    def chunks() -> Iterator[bytes]:
        before, _, after = reply.joined().partition(b'"b64_json": "')
        yield before + b'"b64_json": "'
        for _ in range(OVERSIZED_BYTES // _CHUNK_BYTES):
            yield b"A" * _CHUNK_BYTES
        yield after

    return attrs.evolve(reply, chunks=chunks())


def error_in_200() -> Reply:
    """An error under a status that says there is none, as proxies send."""
    reply = error_reply(500, "The upstream had an error.", kind="server_error", code="server_error")
    return attrs.evolve(reply, status=200)


def html_200() -> Reply:
    """A page in place of JSON."""
    return attrs.evolve(html_reply(200, "Just a moment..."), headers=HTML)


def deep_json() -> Reply:
    """Brackets within brackets: valid JSON that takes a recursive parser to its end."""
    return Reply(status=200, headers=JSON, chunks=(b"[" * NESTED_BRACKETS + b"]" * NESTED_BRACKETS,))


def other_count(request: Request) -> Request:
    """One picture fewer than asked for, or one more where one was."""
    return attrs.evolve(request, n=request.n - 1 if request.n > 1 else 2)


def other_format(request: Request) -> Request:
    """JPEG, or PNG where JPEG was asked for."""
    other = "png" if request.output_format == "jpeg" else "jpeg"
    return attrs.evolve(request, output_format=other, background=None, output_compression=None)


def other_size(request: Request) -> Request:
    """Half of each edge."""
    width, height = parse_size(request.size)
    return attrs.evolve(request, size=f"{width // 2}x{height // 2}")
