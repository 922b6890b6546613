"""Answers before they are sent: a status, headers, the bytes in pieces, and the way they go out."""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers = tuple[tuple[str, str], ...]
JSON: Headers = (("content-type", "application/json"),)
HTML: Headers = (("content-type", "text/html; charset=utf-8"),)


class Delivery(Enum):
    """How an answer goes out."""

    WHOLE = auto()
    CUT = auto()
    """Half of the body, then the connection breaks."""
    TRICKLE = auto()
    """A little of the body at a time."""
    RESET = auto()
    """The connection breaks before anything is sent."""


@attrs.frozen(kw_only=True)
class Reply:
    """One answer."""

    status: int
    headers: Headers
    chunks: Iterable[bytes]
    """The body; read once."""
    delivery: Delivery = Delivery.WHOLE

    def joined(self) -> bytes:
        """The body in one piece."""
        return b"".join(self.chunks)


def json_reply(status: int, value: Any, headers: Headers = ()) -> Reply:
    """An answer with that value, indented as the vendor indents."""
    return Reply(status=status, headers=(*JSON, *headers), chunks=(json.dumps(value, indent=2).encode(),))


def html_reply(status: int, title: str) -> Reply:
    """A gateway's error page."""
    page = (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n"
        f"<body><center><h1>{title}</h1></center><hr><center>cloudflare</center></body></html>\n"
    )
    return Reply(status=status, headers=HTML, chunks=(page.encode(),))


def error_reply(
    status: int,
    message: str,
    *,
    kind: str | None = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
    headers: Headers = (),
    details: dict[str, Any] | None = None,
) -> Reply:
    """An error in the vendor's form; ``kind`` is its ``type``, ``details`` are further fields of the error."""
    error = {"message": message, "type": kind, "param": param, "code": code, **(details or {})}
    return json_reply(status, {"error": error}, headers)
