"""What a call looks like that edits pictures: a form with the parameters and the pictures, which are read when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from headrace.errors import UsageError
from headrace.provider.call import form_call
from headrace.provider.payload import parameters
from headrace.records import Kind, Problem
from headrace.text import clean
from headrace.uploads import contents

if TYPE_CHECKING:
    from headrace.provider.call import Call
    from headrace.provider.memory import Lease
    from headrace.records import Request

EDITS = "/images/edits"


async def form(request: Request, model: str, lease: Lease) -> tuple[str, Call] | Problem:
    """The type of the call's content, and the call; a :class:`Problem` where a picture has vanished, or is another one now.

    Args:
        request: with pictures.
        model: what the API calls the request's model.
        lease: room for the pictures, reserved here, and let go as soon as they are sent: the answer may take a minute.
    """
    await lease.reserve(sum(upload.length for upload in request.uploads))
    try:
        read = await trio.to_thread.run_sync(contents, request.uploads)
    except UsageError as error:
        return Problem(kind=Kind.BAD_REQUEST, message=clean(str(error)))
    # One picture is called as the vendor's SDK calls it: not every compatible server knows a list.
    fields = ["image[]" if len(request.images) > 1 else "image"] * len(request.images) + ["mask"] * (request.mask is not None)
    files = [
        (field, (f"{number}.{upload.format}", content, f"image/{upload.format}"))
        for number, (field, upload, content) in enumerate(zip(fields, request.uploads, read, strict=True))
    ]
    said = parameters(request, model)
    said.pop("moderation", None)  # the vendor's form has none
    content_type, call = form_call({name: str(value) for name, value in said.items()}, files)
    call.sent = lease.let_go
    return content_type, call
