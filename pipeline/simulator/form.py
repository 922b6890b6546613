"""The body of an edit: a form with parameters and pictures, read into fields and checked picture by picture."""

from __future__ import annotations

import hashlib
import io
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import attrs
from PIL import Image

from headrace.records import Upload
from headrace.simulator.replies import Reply, error_reply

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 16
MOST_BYTES = 50_000_000
_NUMBERS = ("n", "output_compression", "partial_images")
_FILES = ("image", "image[]", "mask")


@attrs.frozen
class Form:
    """What a form holds."""

    fields: dict[str, Any]
    images: tuple[Upload, ...]
    mask: Upload | None


def read_form(raw: bytes, content_type: str) -> Form | Reply:
    """The form in the body, or the answer that says what is wrong with it."""
    header = EmailMessage()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        return error_reply(400, "You must provide a body of the type multipart/form-data.")
    fields: dict[str, Any] = {}
    pictures: dict[str, list[Upload]] = {"image": [], "mask": []}
    for name, content in _parts(raw, boundary.encode("latin-1", "replace")):
        if name not in _FILES:
            fields[name] = _number(content) if name in _NUMBERS else content.decode("utf-8", "replace")
            continue
        upload = _upload(content)
        if isinstance(upload, Reply):
            return upload
        pictures[name.removesuffix("[]")].append(upload)
    return _checked(fields, tuple(pictures["image"]), next(iter(pictures["mask"]), None))


def _checked(fields: dict[str, Any], images: tuple[Upload, ...], mask: Upload | None) -> Form | Reply:
    if not images:
        return error_reply(400, "Missing required parameter: 'image'.", code="missing_required_parameter", param="image")
    if len(images) > MOST:
        message = f"Invalid 'image': array too long. Expected an array with maximum length {MOST}, but got {len(images)}."
        return error_reply(400, message, code="array_above_max_length", param="image")
    if mask is not None and (mask.format != "png" or not mask.transparent):
        message = "Invalid mask image format - mask image missing alpha channel."
        return error_reply(400, message, kind="image_generation_user_error", code="invalid_image_file", param="mask")
    if mask is not None and (mask.width, mask.height) != (images[0].width, images[0].height):
        message = "Invalid mask image size - the mask must have the size of the image."
        return error_reply(400, message, kind="image_generation_user_error", code="invalid_image_file", param="mask")
    return Form(fields, images, mask)


def _parts(raw: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents (RFC 7578); what stands before the first boundary and behind the last is nobody's."""
    for part in (b"\r\n" + raw).split(b"\r\n--" + boundary)[1:]:
        if part.startswith(b"--"):
            return
        head, found, content = part.partition(b"\r\n\r\n")
        if not found:
            continue
        header = EmailMessage()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                header["Content-Disposition"] = value.strip()
        yield str(header.get_param("name", "", "content-disposition")), content


def _number(content: bytes) -> int | str:
    text = content.decode("utf-8", "replace")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else text  # noqa: PLR2004 - no parameter is larger


def _upload(content: bytes) -> Upload | Reply:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as picture:
            kind, (width, height), clear = (picture.format or "").lower(), picture.size, picture.has_transparency_data
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return error_reply(400, "Invalid image data.", kind="image_generation_user_error", code="invalid_image_file", param="image")
    if len(content) >= MOST_BYTES:
        return error_reply(400, "The image is too large.", kind="image_generation_user_error", code="invalid_image_file", param="image")
    digest = hashlib.sha256(content).hexdigest()
    return Upload(sha256=digest, format=kind, width=width, height=height, length=len(content), transparent=clear)
