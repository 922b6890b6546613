"""When two prompts ask for the same picture: the same parameters, and the same words to the letter or the same content.

A scope is everything but the words. Entries of different scopes never meet, in no tier of the cache.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import TYPE_CHECKING, Any

from headrace.cache.canonical import canonical

if TYPE_CHECKING:
    from headrace.records import Request


def scope_key(request: Request, variation: int, namespace: str, api: str) -> str:
    """SHA-256 over everything but the words that changes the picture: parameters, input pictures, API, the caller's own separation.

    64 hex digits; input pictures count by their content.
    """
    parts: list[Any] = [
        namespace,
        api,
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
    if request.uploads:
        parts.append([*(upload.sha256 for upload in request.images), request.mask and request.mask.sha256])
    return _hash("scope", json.dumps(parts))


def exact_key(scope: str, prompt: str) -> str:
    """SHA-256 over a scope and the NFC-normalised prompt, as 64 hex digits."""
    return _hash("exact", scope, unicodedata.normalize("NFC", prompt))


def canonical_key(scope: str, prompt: str) -> str:
    """SHA-256 over a scope and the content of the prompt (:func:`headrace.cache.canonical.canonical`), as 64 hex digits."""
    return _hash("canonical", scope, canonical(prompt))


def job_key(job: str, name: str, key: str) -> str:
    """SHA-256 over a job, the id of a prompt and its exact key, as 64 hex digits."""
    return _hash("job", job, name, key)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
