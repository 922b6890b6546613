"""A result as the journal keeps it: the JSON of its output line, without what the next run knows better."""

from __future__ import annotations

import json

import attrs
import cattrs

from headrace.records import Prompt, Result

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
    """The result of a record from the text of an earlier run; None where that cannot be read."""
    prompt = record.request.prompt if isinstance(record, Prompt) else record.prompt
    try:
        fields = json.loads(text) | {"seq": record.seq, "id": record.id, "prompt": prompt}
        result = _CONVERTER.structure(fields, Result)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return attrs.evolve(result, metadata=record.metadata, item=record.item, recalled=True)
