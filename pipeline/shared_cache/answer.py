"""An answer as text, and back: what comes from the store may be a stranger's, and is believed as far as it fits the prompt that asked.

The text holds no key and no path. Parameters are those of the prompt that asks, whose scope is equal; the words have to give the key
under which the text was found; a picture's path is made of its hash.
"""

from __future__ import annotations

import json
import math
import re
import time
from typing import TYPE_CHECKING, Any

import attrs

from headrace.cache.entry import Entry
from headrace.cache.keys import canonical_key, exact_key
from headrace.records import Picture, Usage

if TYPE_CHECKING:
    from headrace.records import Answer, Request

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HALF = re.compile(r"[\ud800-\udfff]")
"""Of a character: JSON can say it, and no file can hold it."""
_FORMATS = ("png", "jpeg", "webp")
_LARGEST = 64 * 2**20
"""Bytes of one picture; no model makes one half of that."""
_MOST = 10
_LONGEST = 100_000
"""Characters of a prompt or an id; models take a third of that, and it is read on the event loop."""
_WIDEST = 100_000
_MOST_TOKENS = 10**9
_MOST_USD = 10_000.0


class BrokenError(ValueError):
    """A text that is no answer, or none to that prompt."""


def text_of(answer: Answer) -> str:
    """What was paid for, in ASCII."""
    usage = answer.usage
    return json.dumps(
        {
            "prompt": answer.prompt.request.prompt,
            "origin": answer.prompt.id,
            "pictures": [[each.sha256, each.format, each.width, each.height, each.bytes] for each in answer.pictures],
            "usage": None if usage is None else [usage.input_tokens, usage.output_tokens],
            "cost_usd": answer.cost_usd,
            "created": time.time(),
        },
        separators=(",", ":"),
    )


def entry_of(text: str, request: Request, scope: str, namespace: str) -> Entry:
    """The answer for a prompt that asks for ``request`` in that scope.

    Raises:
        BrokenError: it is none.
    """
    try:
        told = json.loads(text)
        words = _text(told["prompt"])
        usage, cost_usd = told["usage"], told["cost_usd"]
        return Entry(
            key=exact_key(scope, words),
            scope=scope,
            canonical=canonical_key(scope, words),
            namespace=namespace,
            request=attrs.evolve(request, prompt=words),
            origin=_text(told["origin"]),
            pictures=_pictures(told["pictures"]),
            usage=None
            if usage is None
            else Usage(input_tokens=_whole(usage[0], 0, _MOST_TOKENS), output_tokens=_whole(usage[1], 0, _MOST_TOKENS)),
            cost_usd=None if cost_usd is None else _number(cost_usd, _MOST_USD),
            created=min(_number(told["created"], math.inf), time.time()),
        )
    except BrokenError:
        raise
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise BrokenError(f"it is no answer: {type(error).__name__}") from None


def _pictures(told: Any) -> tuple[Picture, ...]:
    pictures = tuple(_picture(*each) for each in told)
    if not 1 <= len(pictures) <= _MOST:
        raise BrokenError(f"it has {len(pictures)} pictures")
    return pictures


def _picture(sha256: Any, kind: Any, width: Any, height: Any, size: Any) -> Picture:
    if not isinstance(sha256, str) or _SHA256.fullmatch(sha256) is None or kind not in _FORMATS:
        raise BrokenError("its picture has no name")
    return Picture(
        path=f"images/{sha256[:2]}/{sha256}.{kind}",
        sha256=sha256,
        format=kind,
        width=_whole(width, 1, _WIDEST),
        height=_whole(height, 1, _WIDEST),
        bytes=_whole(size, 1, _LARGEST),
    )


def _text(told: Any) -> str:
    if not isinstance(told, str) or len(told) > _LONGEST or _HALF.search(told) is not None:
        raise BrokenError("its words are none")
    return told


def _whole(told: Any, least: int, most: int) -> int:
    if type(told) is not int or not least <= told <= most:
        raise BrokenError("a number in it cannot be")
    return told


def _number(told: Any, most: float) -> float:
    if type(told) not in (int, float) or not 0 <= told <= most or told == math.inf:
        raise BrokenError("a number in it cannot be")
    return float(told)
