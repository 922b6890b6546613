"""Foreign data into records: strict about types, and every complaint is one line that names the place and the nearest valid name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ForbiddenExtraKeysError

from headrace.errors import UsageError
from headrace.validators import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table", list: "a list"}


def structure(data: Any, kind: type[T]) -> T:
    """``data`` (what JSON or TOML gave) as an instance of the attrs class ``kind``.

    Raises:
        UsageError: unknown key, wrong type or refused value; all complaints in one line, each with its path.
    """
    try:
        return _CONVERTER.structure(data, kind)
    except (cattrs.BaseValidationError, TypeError, ValueError, UsageError) as error:
        raise UsageError("; ".join(_complaints(error, "", kind))) from None


def _strict(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{_shown(value)} is not {_WORDS[kind]}")
    return value


def _name_or_number(value: Any, _: Any) -> int | str | None:
    if value is not None and type(value) not in (int, str):
        raise TypeError(f"{_shown(value)} is neither a whole number nor text")
    return value  # type: ignore[no-any-return]  # just checked


def _listed(structure_item: Any, kind: Any) -> Any:
    # cattrs iterates over whatever it is given: a TOML [pool] where [[pool]] was meant would be read as its keys.
    def hook(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            hint = "; in TOML a list of tables is written [[name]]" if isinstance(value, dict) else ""
            raise TypeError(f"{_shown(value)} is not a list{hint}")
        made = []
        for index, entry in enumerate(value):
            try:
                made.append(structure_item(entry, kind))
            except Exception as error:
                error.add_note(cattrs.errors.IterableValidationNote("", index, kind))
                raise
        return tuple(made)

    return hook


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004 - a line has to stay readable


def _complaints(error: BaseException, path: str, kind: Any) -> Iterator[str]:
    if isinstance(error, ForbiddenExtraKeysError):
        names = [field.alias for field in attrs.fields(error.cl)] if attrs.has(error.cl) else []
        for name in sorted(map(str, error.extra_fields)):
            yield f"unknown key {path}{name}{nearest(name, names)}"
    elif isinstance(error, cattrs.BaseValidationError):
        for inner in error.exceptions:
            yield from _complaints(inner, path + _step(inner), kind)
    elif isinstance(error, KeyError):
        yield f"{path.rstrip('.')} is missing"
    else:
        where = path.rstrip(".")
        yield f"{where}: {error}" if where else str(error)


def _step(error: BaseException) -> str:
    # An error that passed through a list and then a table carries a note of each, the innermost first.
    steps = [getattr(note, "name", getattr(note, "index", None)) for note in getattr(error, "__notes__", ())]
    return "".join(f"{step}." for step in reversed(steps) if step is not None)


def _is_tuple(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is tuple


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(int | str | None, _name_or_number)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _strict)

    def table(value: Any, kind: type) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"{_shown(value)} is not a table")
        return inner[kind](value, kind)

    inner: dict[type, Any] = {}

    def make(kind: type) -> Any:
        inner[kind] = cattrs.gen.make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
        return table

    converter.register_structure_hook_factory(attrs.has, make)
    converter.register_structure_hook_factory(
        _is_tuple,
        lambda kind: _listed(converter.get_structure_hook(get_args(kind)[0]), get_args(kind)[0]),
    )
    return converter


_CONVERTER = _converter()
