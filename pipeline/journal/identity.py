"""What a record of the input is known by, whatever its place: the same prompt piped again is the same item."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import attrs

from headrace.records import Prompt, Request, Result

_PARAMETERS = tuple(field.name for field in attrs.fields(Request) if field.name not in ("images", "mask"))


def identity_of(record: Prompt | Result, url: str) -> bytes:
    """SHA-256 over the API, the id that the caller gave, and everything that changes the answer.

    A line that is no prompt has nothing to go by but what is said of it.
    """
    known: list[Any]
    if isinstance(record, Prompt):
        request = [getattr(record.request, name) for name in _PARAMETERS]
        if record.request.uploads:
            # By their content: a file that was changed makes another item.
            request += [[upload.sha256 for upload in record.request.images], record.request.mask and record.request.mask.sha256]
        known = [url, record.id if record.named else None, request, record.cache.value, record.variation, record.namespace]
    else:
        known = [url, record.id, record.prompt, record.error.message if record.error else None]
    return hashlib.sha256(json.dumps(known, ensure_ascii=True).encode()).digest()
