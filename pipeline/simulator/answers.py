"""The answer with pictures, written as recorded ones are."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from headrace.simulator.replies import JSON, Headers, Reply

if TYPE_CHECKING:
    from headrace.simulator.pool import Pool
    from headrace.simulator.validate import Call

_HERE = "<picture>"


def picture_reply(call: Call, pictures: list[tuple[bytes, ...]]) -> Reply:
    """The answer with those pictures, each its base64 in pieces; nothing of them is copied."""
    input_tokens, output_tokens, image_tokens = call.input_tokens, call.output_tokens, call.image_tokens
    body = {
        "created": int(time.time()),
        "background": "transparent" if call.request.background == "transparent" else "opaque",
        "data": [{"b64_json": _HERE} for _ in pictures],
        "output_format": call.request.output_format,
        "quality": call.quality,
        "size": call.size,
        "usage": {
            "input_tokens": input_tokens,
            "input_tokens_details": {"image_tokens": image_tokens, "text_tokens": input_tokens - image_tokens},
            "output_tokens": output_tokens,
            "output_tokens_details": {"image_tokens": output_tokens, "text_tokens": 0},
            "total_tokens": input_tokens + output_tokens,
        },
    }
    first, *others = json.dumps(body, indent=2).encode().split(_HERE.encode())
    chunks = [first]
    for pieces, other in zip(pictures, others, strict=True):
        chunks += (*pieces, other)
    return Reply(status=200, headers=JSON, chunks=tuple(chunks))


def vendor_headers(pool: Pool | None, processing_s: float, number: int) -> Headers:
    """What answers of the vendor carry besides their content; ``number`` makes the ids, processing is in seconds."""
    return (
        ("openai-version", "2020-10-01"),
        ("openai-organization", pool.settings.organisation_name if pool else "org-unknown"),
        ("openai-project", pool.settings.project_name if pool else "proj_unknown"),
        ("openai-processing-ms", str(round(processing_s * 1000))),
        ("x-request-id", f"req_{number:032x}"),
        ("server", "cloudflare"),
        ("cf-ray", f"{number >> 64:016x}-SIM"),
    )
