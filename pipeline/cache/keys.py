"""When two prompts ask for the same picture to the letter."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.records import Request


def exact_key(request: Request, variation: int, namespace: str) -> str:
    """SHA-256 over the NFC-normalised prompt and every parameter that changes the picture, as 64 hex digits.

    ``namespace`` holds what else keeps entries apart: the API that answers, and the caller's own separation.
    """
    parts = [
        namespace,
        unicodedata.normalize("NFC", request.prompt),
        request.model,
        request.size,
        request.quality,
        request.n,
        request.output_format,
        request.output_compression,
        request.background,
        request.moderation,
        variation,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
