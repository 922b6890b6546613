"""Columns of a table into the keys of the input contract: which holds the prompts, which the ids, and what becomes of the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from headrace.errors import UsageError
from headrace.prompts import PromptLine
from headrace.validators import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEYS = tuple(field.name for field in attrs.fields(PromptLine) if field.name != "metadata")
"""Columns of these names are taken as the keys of a JSONL line."""
_WHOLE = ("n", "output_compression", "variation")
_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,18})(?:\.0+)?\s*\Z")
_SHOWN = 12


@attrs.frozen(kw_only=True)
class Layout:
    """What each column of one table is."""

    names: tuple[str, ...]
    keys: tuple[str | None, ...]
    """The key that a column is taken as; None for one that goes into the metadata."""

    def fields(self, values: Sequence[Any]) -> dict[str, Any]:
        """The object that a JSONL line of the same content would hold. A value that is absent or empty is not given."""
        given: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        for name, key, value in zip(self.names, self.keys, values, strict=True):
            if key is None:
                metadata[name] = value
            elif value is not None and (value != "" or key == "prompt"):
                given[key] = _given(key, value)
        if metadata:
            given["metadata"] = metadata
        return given

    def told(self) -> str:
        """What was made of the columns, in a few words."""
        taken = [name if name == key else f"{key} is {name!r}" for name, key in zip(self.names, self.keys, strict=True) if key is not None]
        others = [name for name, key in zip(self.names, self.keys, strict=True) if key is None]
        return f"columns: {_listed(taken)}" + (f"; into metadata: {_listed(others)}" if others else "")


@attrs.frozen(kw_only=True)
class Columns:
    """The columns that were asked for by name."""

    prompt: str | None = None
    id: str | None = None
    option: str = "--{}-column"
    """How messages name the option that asks for one."""

    @property
    def asked(self) -> str | None:
        """The option that asks for one, if any does."""
        return next((self.option.format(key) for key, name in self._wished() if name is not None), None)

    def layout(self, names: Sequence[str], table: str) -> Layout:
        """What the columns of a table are.

        Raises:
            UsageError: one that was asked for, or that of the prompts, is not there; or a name is there twice.
        """
        places = {name: index for index, name in enumerate(names)}
        twice = next((name for index, name in enumerate(names) if places[name] != index), None)
        if twice is not None:
            raise UsageError(f"{table} has the column {twice!r} twice; give each column a name of its own")
        has = f"{table} has the columns {_listed(names)}"
        for key, name in self._wished():
            if name is not None and name not in names:
                raise UsageError(f"{has}, and no {name!r} for {self.option.format(key)}{nearest(name, names)}")
        if self.prompt is None and "prompt" not in names:
            wanted = self.option.format("prompt")
            raise UsageError(f"{has}, and no 'prompt'; name the column of the prompts with {wanted}{nearest('prompt', names)}")
        if self.prompt is not None and self.prompt == self.id:
            raise UsageError(f"{self.prompt!r} cannot be both {self.option.format('prompt')} and {self.option.format('id')}")
        return Layout(names=tuple(names), keys=tuple(map(self._key, names)))

    def _wished(self) -> Iterator[tuple[str, str | None]]:
        yield "prompt", self.prompt
        yield "id", self.id

    def _key(self, name: str) -> str | None:
        wished = dict(self._wished())
        for key, column in wished.items():
            if column == name:
                return key
        # A column of that name is none of ours where another one was asked for in its place.
        return name if name in KEYS and wished.get(name) is None else None


def _given(key: str, value: Any) -> Any:
    """A value as JSON would have it: in CSV all is text, and a column of pandas with gaps has floats in place of whole numbers."""
    if key in _WHOLE and isinstance(value, str) and (number := _NUMBER.match(value)):
        return int(number[1])
    if key in (*_WHOLE, "id") and isinstance(value, float) and value.is_integer():
        return int(value)
    if key == "images" and isinstance(value, str):
        return [value]
    return value


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name or "''" for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
