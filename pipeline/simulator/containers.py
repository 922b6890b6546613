"""Picture files taken apart so that a text and any number of bytes can be put in without decoding them.

A file becomes a short head that depends on the text, a middle that does not, and a short tail. Each but the last has a
length that three divides, so the base64 of the whole is that of the parts put together, and the middle is encoded once.
"""

from __future__ import annotations

import base64
import struct
import zlib

import attrs

_JPEG_SEGMENT = 65_533
_PNG_HEAD = 33
_RIFF_HEAD = 12
# One comment has to take the text, in JPEG too.
_MAX_TEXT = 60_000


@attrs.frozen(kw_only=True)
class Container:
    """A picture file that takes a text."""

    format: str
    before: bytes = attrs.field(repr=False)
    """What stands before the text."""
    middle: bytes = attrs.field(repr=False)
    middle_base64: bytes = attrs.field(repr=False)

    def with_text(self, text: bytes) -> bytes:
        """The file with that text in it."""
        head, tail = self._around(text)
        return head + self.middle + tail

    def base64_with_text(self, text: bytes) -> tuple[bytes, bytes, bytes]:
        """The base64 of :meth:`with_text`, in pieces; the long one is always the same object."""
        head, tail = self._around(text)
        return base64.b64encode(head), self.middle_base64, base64.b64encode(tail)

    def _around(self, text: bytes) -> tuple[bytes, bytes]:
        text = text[:_MAX_TEXT]
        if self.format == "webp":
            # RIFF readers skip chunks that they do not know; the file's size stands in front.
            tail = _riff_chunk(b"TEXT", text)
            size = _RIFF_HEAD - 8 + len(self.middle) + len(tail)
            return b"RIFF" + struct.pack("<I", size) + b"WEBP", tail
        overhead = len(self.before) + len(_comment(self.format, b""))
        text += b" " * (-(overhead + len(text)) % 3)
        return self.before + _comment(self.format, text), b""


def take_apart(picture: bytes, picture_format: str, at_least: int) -> Container:
    """The container of that ``png``, ``jpeg`` or ``webp`` file, padded up to about ``at_least`` bytes."""
    if picture_format == "webp":
        before, rest = picture[:_RIFF_HEAD], picture[_RIFF_HEAD:]
    elif picture_format == "png":
        before, rest = picture[:_PNG_HEAD], picture[_PNG_HEAD:]
    else:
        # After the JFIF segment, which has to be the first.
        cut = 4 + struct.unpack(">H", picture[4:6])[0]
        before, rest = picture[:cut], picture[cut:]
    missing = max(0, at_least - len(picture))
    middle = rest + _padding(picture_format, missing, len(rest)) if picture_format == "webp" else b""
    middle = middle or _padding(picture_format, missing, len(rest)) + rest
    return Container(format=picture_format, before=before, middle=middle, middle_base64=base64.b64encode(middle))


def _padding(picture_format: str, size: int, beside: int) -> bytes:
    """About ``size`` bytes that a reader skips; for webp, three divides their number and that of those beside."""
    if picture_format == "png":
        return _png_chunk(b"paDd", bytes(size)) if size else b""
    if picture_format == "jpeg":
        return b"".join(_comment("jpeg", bytes(min(_JPEG_SEGMENT, size - at))) for at in range(0, size, _JPEG_SEGMENT))
    # RIFF chunks have even lengths: of three even ones that follow each other, one fits.
    return next(chunk for extra in (0, 2, 4) if (beside + len(chunk := _riff_chunk(b"PADD", bytes(size // 2 * 2 + extra)))) % 3 == 0)


def _comment(picture_format: str, text: bytes) -> bytes:
    if picture_format == "png":
        return _png_chunk(b"iTXt", b"Description\0\0\0\0\0" + text)
    return b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _riff_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
