"""What a request looks like on the wire, and how large its answer can be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from headrace.sizes import parse_size

if TYPE_CHECKING:
    from headrace.records import Request

MAX_BODY = 64 * 2**20
SMALL_BODY = 2**20


def payload(request: Request, model: str) -> bytes:
    """The body of a call that makes a picture of words, as JSON; ``model`` is what the API calls the request's model."""
    # What cannot be encoded (half of a surrogate pair) is the server's to refuse.
    return json.dumps(parameters(request, model), ensure_ascii=False).encode("utf-8", "replace")


def parameters(request: Request, model: str) -> dict[str, str | int]:
    """What a request says besides its pictures; what the API does of itself is left out."""
    optional = {
        "n": request.n if request.n > 1 else None,
        "output_format": request.output_format if request.output_format != "png" else None,
        "output_compression": request.output_compression,
        "background": request.background,
        "moderation": request.moderation,
    }
    said: dict[str, str | int] = {"model": model, "prompt": request.prompt, "size": request.size, "quality": request.quality}
    return said | {name: value for name, value in optional.items() if value is not None}


def largest_answer(request: Request) -> int:
    """Bytes: no picture is larger than its pixels uncompressed with alpha, in base64, and a frame around it."""
    if request.size == "auto":
        return MAX_BODY
    width, height = parse_size(request.size)
    return min(MAX_BODY, request.n * (width * height * 4 * 4 // 3) + SMALL_BODY)
