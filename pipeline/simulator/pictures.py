"""Pictures: a card that shows its prompt, or one that only carries it and is made in microseconds."""

from __future__ import annotations

import base64
import zlib
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

import attrs

from headrace.simulator.card import draw_card
from headrace.simulator.containers import Container, take_apart

if TYPE_CHECKING:
    from PIL import Image

    from headrace.records import Request

DEFAULT_COMPRESSION = 100


def drawn(request: Request, index: int, at_least: int) -> bytes:
    """A picture file that shows the prompt; 20 to 40 ms for a megapixel, so call it in a worker thread.

    ``index`` tells the pictures of one request apart; the file is padded up to about ``at_least`` bytes.
    """
    picture = encode(draw_card(request, index), request)
    if len(picture) >= at_least:
        return picture
    return take_apart(picture, request.output_format, at_least).with_text(_text(request, index))


def drawn_base64(request: Request, at_least: int) -> list[tuple[bytes, ...]]:
    """The base64 of every picture of the request, drawn."""
    return [(base64.b64encode(drawn(request, index, at_least)),) for index in range(request.n)]


def template_base64(request: Request, at_least: int) -> list[tuple[bytes, ...]]:
    """The base64, in pieces, of every picture of the request: all look the same, each has its own text and sha256."""
    plain = attrs.evolve(request, prompt="", n=1, moderation=None, images=(), mask=None)
    container = _template(plain, at_least)
    return [container.base64_with_text(_text(request, index)) for index in range(request.n)]


def encode(image: Image.Image, request: Request) -> bytes:
    """The file of that picture in the format and compression that the request asks for."""
    compression = DEFAULT_COMPRESSION if request.output_compression is None else request.output_compression
    options: dict[str, Any] = {
        # Runs of equal bytes are all that a filtered gradient has to compress.
        "png": {"compress_level": 1, "compress_type": zlib.Z_RLE},
        # Above 95 JPEG only grows.
        "jpeg": {"quality": min(95, max(1, compression))},
        "webp": {"quality": compression, "method": 0},
    }[request.output_format]
    file = BytesIO()
    image.save(file, request.output_format, **options)
    return file.getvalue()


# A few: with padding each holds some megabytes.
@lru_cache(maxsize=8)
def _template(request: Request, at_least: int) -> Container:
    shown = attrs.evolve(request, prompt="A picture of the simulator")
    return take_apart(encode(draw_card(shown, 0), request), request.output_format, at_least)


def _text(request: Request, index: int) -> bytes:
    prompt = request.prompt.encode("utf-8", "replace")
    # The digest keeps prompts apart that are longer than a comment can be, and edits of different pictures.
    asked = sha256(b"\0".join([prompt, *(upload.sha256.encode() for upload in request.uploads)]))
    return b"%s #%d " % (asked.hexdigest()[:16].encode(), index) + prompt
