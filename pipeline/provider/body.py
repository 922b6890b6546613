"""From the body of an answer to picture files: checked, named by their content, and whole or not there at all.

Everything here blocks (base64, hashing, disk) and runs off the event loop where it is large. What is written lies beside its final name
until :func:`headrace.files.place` gives it that: with a journal many at once, after they were synced.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import attrs
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from headrace.errors import OutputError
from headrace.files import write_part
from headrace.models import AUTO
from headrace.provider.failures import Reply, error_inside, problem_of
from headrace.records import Kind, Part, Picture, Problem, Usage
from headrace.sizes import parse_size

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.records import Request

_FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}
_PLUGINS = (JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
"""Pillow would import them when the first picture is opened: out of descriptors that fails, and a good picture is taken for a bad one."""
_DATA_URL = "data:image/"
_MOST_TOKENS = 10**9


class BadAnswerError(Exception):
    """An answer that says 200 and holds no usable picture; the message says what is wrong with it."""


@attrs.frozen
class Saved:
    """The pictures of one answer."""

    pictures: tuple[Picture, ...]
    """Their paths are relative to the root, and right as soon as the parts are placed."""
    parts: tuple[Part, ...]
    usage: Usage | None
    image_tokens: int = 0
    """Those of the input tokens that pictures take."""


def save(reply: Reply, request: Request, root: Path) -> Saved | Problem:
    """Write the pictures of a 200 answer below ``root``.

    Raises:
        OutputError: a picture cannot be written.
    """
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        # Half an answer with a picture in it was paid for; of anything else nobody knows whether a gateway or the API said it.
        what = "an HTML page" if bytes(reply.body[:20]).lstrip().startswith(b"<") else "no complete JSON"
        made = b'"b64_json"' in reply.body
        return attrs.evolve(_bad(reply, f"the answer is {what}", billed=made), uncertain=not made)
    if (error := error_inside(document)) is not None:
        inner = problem_of(Reply(reply.status, reply.headers, json.dumps({"error": error}).encode()))
        return inner if inner.kind is not Kind.BAD_ANSWER else _bad(reply, f"an error inside a 200: {inner.message}", billed=False)
    try:
        # All of them are checked before the first is written: a bad one leaves nothing behind.
        checked = [(decoded, _check(decoded, request)) for decoded in _decoded(document, request.n)]
    except BadAnswerError as error:
        return _bad(reply, str(error), billed=bool(_items(document)))
    written: list[tuple[Picture, Part]] = []
    try:
        for decoded, about in checked:
            written.append(_write(decoded, about, root))
    except OutputError:
        for _, part in written:
            part.path.unlink(missing_ok=True)
        raise
    return Saved(tuple(picture for picture, _ in written), tuple(part for _, part in written), *_usage(document))


def _bad(reply: Reply, message: str, *, billed: bool) -> Problem:
    return Problem(kind=Kind.BAD_ANSWER, message=message, status=reply.status, retryable=True, billed=billed)


def _items(document: Any) -> list[Any]:
    # Some compatible servers answer with the bare list.
    items = document.get("data") if isinstance(document, dict) else document
    return items if isinstance(items, list) else []


def _decoded(document: Any, wanted: int) -> list[bytes]:
    items = _items(document)
    if not items:
        raise BadAnswerError("the answer holds no pictures")
    if len(items) != wanted:
        raise BadAnswerError(f"the answer holds {len(items)} pictures, {wanted} were asked for")
    return [_decode(item) for item in items]


def _decode(item: Any) -> bytes:
    fields = item if isinstance(item, dict) else {}
    text, url = fields.get("b64_json"), fields.get("url")
    if not isinstance(text, str) and isinstance(url, str):
        head, _, text = url.partition(";base64,")
        if not head.startswith(_DATA_URL):
            raise BadAnswerError("the answer holds a URL in place of a picture; URLs are not followed")
    if not isinstance(text, str) or not text:
        raise BadAnswerError("the answer holds no b64_json")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadAnswerError("the picture is no valid base64") from None


def _check(data: bytes, request: Request) -> tuple[str, int, int]:
    if data.lstrip().startswith(b"<svg"):
        raise BadAnswerError("the picture is an SVG drawing, and no PNG, JPEG or WebP file")
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_FORMATS)) as picture:
            kind, (width, height) = _FORMATS[picture.format or ""], picture.size
            picture.verify()  # reads every chunk's checksum, no pixels
    except OSError as error:
        if error.errno is not None:
            raise OutputError(f"a picture cannot be checked: {error.strerror}") from error  # not the picture's fault
        raise BadAnswerError("the picture is no whole PNG, JPEG or WebP file") from None
    except (SyntaxError, ValueError, KeyError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadAnswerError("the picture is no whole PNG, JPEG or WebP file") from None
    if not _ends_well(data, kind):
        raise BadAnswerError(f"the picture is a {kind} file that was cut off")
    if request.size != AUTO and (width, height) != parse_size(request.size):
        raise BadAnswerError(f"the picture is {width}x{height}, {request.size} was asked for")
    return kind, width, height


def _ends_well(data: bytes, kind: str) -> bool:
    if kind == "png":
        return data.endswith(b"IEND\xaeB`\x82")
    if kind == "jpeg":
        return data.endswith(b"\xff\xd9")
    return int.from_bytes(data[4:8], "little") + 8 == len(data)


def _write(data: bytes, checked: tuple[str, int, int], root: Path) -> tuple[Picture, Part]:
    kind, width, height = checked
    digest = hashlib.sha256(data).hexdigest()
    path = f"images/{digest[:2]}/{digest}.{kind}"
    return Picture(path=path, sha256=digest, format=kind, width=width, height=height, bytes=len(data)), write_part(root / path, data)


def _usage(document: Any) -> tuple[Usage | None, int]:
    """What was billed, and how many of the input tokens were pictures."""
    usage = document.get("usage") if isinstance(document, dict) else None
    if not isinstance(usage, dict):
        return None, 0
    paid, made = _tokens(usage.get("input_tokens")), _tokens(usage.get("output_tokens"))
    if paid is None or made is None:
        return None, 0
    details = usage.get("input_tokens_details")
    seen = _tokens(details.get("image_tokens")) if isinstance(details, dict) else None
    return Usage(input_tokens=paid, output_tokens=made), min(seen or 0, paid)


def _tokens(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _MOST_TOKENS else None
