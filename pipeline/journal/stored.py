"""A result as the journal keeps it: the JSON of its output line, without what the next run knows better."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import attrs
import cattrs

from headrace.records import Picture, Prompt, Result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SAID_ANEW = ("seq", "id", "prompt", "metadata")
_PRICES = ("cost_usd", "saved_usd")
"""None is an unknown one here, and no absent value."""
_CONVERTER = cattrs.Converter(detailed_validation=False)


def stored(result: Result) -> str:
    """The text that :func:`restored` takes."""
    fields = result.as_dict()
    for name in _SAID_ANEW:
        del fields[name]
    return json.dumps({name: value for name, value in fields.items() if value is not None or name in _PRICES})


def restored(text: str, record: Prompt | Result) -> Result | None:
    """The result of a record from the text of an earlier run; None where that cannot be read, or holds a number that no sum survives."""
    prompt = record.request.prompt if isinstance(record, Prompt) else record.prompt
    try:
        fields = json.loads(text) | {"seq": record.seq, "id": record.id, "prompt": prompt}
        result = _CONVERTER.structure(fields, Result)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    numbers = (result.cost_usd, result.saved_usd, result.latency_s, result.waited_s, result.match.similarity if result.match else 0.0)
    if not all(number is None or math.isfinite(number) for number in numbers):
        return None
    return attrs.evolve(result, metadata=record.metadata, item=record.item, recalled=True)


def missing(pictures: Iterable[Picture], root: Path) -> str | None:
    """The path of the first picture that is not there, or not whole; None where all are.

    By its size: whatever is under a final name was whole when it got it, and a hash of each would take an hour for 100,000.
    """
    for picture in pictures:
        try:
            whole = (root / picture.path).stat().st_size == picture.bytes
        except (OSError, ValueError):
            whole = False
        if not whole:
            return picture.path
    return None


def pictures_of(text: str) -> tuple[Picture, ...]:
    """The pictures in the text of a result; none where it cannot be read."""
    try:
        return _CONVERTER.structure(json.loads(text).get("images", ()), tuple[Picture, ...])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ()
