"""Pictures that an edit starts from: files, or ``data:`` URLs in the line itself; checked when it is read, and known by their content.

Nothing is fetched. A file is read a second time when the call is made, so that no picture waits in memory for its turn. Everything here
blocks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import stat
import threading
import warnings
from typing import TYPE_CHECKING

from PIL import Image

from headrace.errors import UsageError
from headrace.records import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 16
"""Pictures of one prompt, and with the next two what the vendor's API takes (its reference, 2026-11)."""
MOST_BYTES = 50_000_000
"""Of one picture, less than that."""
MOST_OF_A_MASK = 4_000_000
"""The same of a mask."""
MOST_IN_ALL = 100_000_000
"""Bytes of all pictures of one prompt: they are in memory while they are sent."""
_FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp", "MPO": "jpeg"}
"""MPO is what cameras write: a JPEG file with a second picture behind it."""
_FILTERS = threading.Lock()
"""The filters of warnings are the whole process's: two threads that change them at once would leave them changed."""


def uploads(images: tuple[str, ...], mask: str | None) -> tuple[tuple[Upload, ...], Upload | None]:
    """The pictures of a line, and its mask.

    Raises:
        UsageError: one cannot be read or is none that the API takes; it is named by its place in the line.
    """
    if not images:
        if mask is not None:
            raise UsageError("mask goes with images: it says which part of the first of them is to change")
        return (), None
    if len(images) > MOST:
        raise UsageError(f"images holds {len(images)} pictures; the API takes {MOST}")
    found = tuple(_upload(f"images[{place}]", source) for place, source in enumerate(images))
    covering = None if mask is None else _mask(_upload("mask", mask), found[0])
    total = sum(upload.length for upload in (*found, *([covering] if covering else ())))
    if total > MOST_IN_ALL:
        raise UsageError(f"images have {total:,} bytes together; a prompt may have {MOST_IN_ALL:,}")
    return found, covering


def contents(uploads: Iterable[Upload]) -> list[bytes]:
    """The bytes of each, in order.

    Raises:
        UsageError: a file has vanished since its line was read, or has another content.
    """
    return [_content(upload) for upload in uploads]


def _upload(where: str, source: str) -> Upload:
    if source.startswith("data:"):
        data, path = _decoded(where, source), None
    elif "://" in source[:20]:
        raise UsageError(f"{where} is a URL; give the path of a file or a data: URL, for nothing is fetched")
    else:
        data, path = _file(where, source), os.path.abspath(source)  # noqa: PTH100 - a Path would not take every name
    if len(data) >= MOST_BYTES:
        raise UsageError(f"{where} is too large; the API takes pictures of less than {MOST_BYTES:,} bytes")
    return _checked(where, data, path)


def _decoded(where: str, url: str) -> bytes:
    head, comma, text = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise UsageError(f"{where} is no data: URL of a picture; such a URL starts with data:image/png;base64,")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{where} is a data: URL whose base64 is broken") from None


def _file(where: str, name: str) -> bytes:
    try:
        with open(name, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{where}: {name} is no file")
            # No more than shows that it is too large.
            return file.read(MOST_BYTES)
    except (OSError, ValueError) as error:
        # ValueError: a name that no file can have.
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{where}: {name or 'an empty name'} cannot be read: {why}") from None


def _at_once(name: str, flags: int) -> int:
    # Whatever else the name leads to, a pipe or a device, is not waited for.
    return os.open(name, flags | os.O_NONBLOCK)


def _checked(where: str, data: bytes, path: str | None) -> Upload:
    named = where if path is None else f"{where}: {path}"
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
                kind, (width, height), clear = _FORMATS[picture.format or ""], picture.size, picture.has_transparency_data
                picture.verify()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UsageError(f"{named} is too large: it has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, ValueError, KeyError):
        raise UsageError(f"{named} is no whole PNG, JPEG or WebP picture") from None
    return Upload(
        sha256=hashlib.sha256(data).hexdigest(),
        format=kind,
        width=width,
        height=height,
        length=len(data),
        transparent=clear,
        path=path,
        data=data if path is None else None,
    )


def _mask(mask: Upload, first: Upload) -> Upload:
    if mask.length >= MOST_OF_A_MASK:
        raise UsageError(f"mask is too large; the API takes one of less than {MOST_OF_A_MASK:,} bytes")
    if mask.format != "png" or not mask.transparent:
        raise UsageError("mask has to be a PNG picture with transparency: what is clear in it is to change")
    if (mask.width, mask.height) != (first.width, first.height):
        raise UsageError(f"mask is {mask.width}x{mask.height}; it has to be {first.width}x{first.height}, as images[0]")
    return mask


def _content(upload: Upload) -> bytes:
    if upload.data is not None:
        return upload.data
    data = _file("an input picture", upload.path or "")
    if hashlib.sha256(data).hexdigest() != upload.sha256:
        raise UsageError(f"an input picture: {upload.path} has changed since its line was read")
    return data
