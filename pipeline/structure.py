"""Foreign data into records: strict about types, and every complaint is one line that names the place and the nearest valid name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import is_mapping, mapping_structure_factory
from cattrs.errors import ForbiddenExtraKeysError

from headrace.errors import UsageError
from headrace.text import clean
from headrace.validators import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table", list: "a list"}


class _UnfitError(TypeError):
    """A value of the wrong type, of which no more may be said than that where it is a secret."""

    def __init__(self, value: Any, said: str) -> None:
        super().__init__(f"{_shown(value)} {said}")
        self.said = f"it {said}"


def structure(data: Any, kind: type[T]) -> T:
    """``data`` (what JSON or TOML gave) as an instance of the attrs class ``kind``.

    Raises:
        UsageError: unknown key, wrong type or refused value; all complaints in one line, each with its path.
    """
    try:
        return _CONVERTER.structure(data, kind)
    except (cattrs.BaseValidationError, TypeError, ValueError, UsageError) as error:
        raise UsageError("; ".join(_complaints(error, "", kind, secret=False))) from None


def _strict(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise _UnfitError(value, f"is not {_WORDS[kind]}")
    return value


def _name_or_number(value: Any, _: Any) -> int | str | None:
    if value is not None and type(value) not in (int, str):
        raise _UnfitError(value, "is neither a whole number nor text")
    return value  # type: ignore[no-any-return]  # just checked


def _listed(structure_item: Any, kind: Any) -> Any:
    # cattrs iterates over whatever it is given: a TOML [pool] where [[pool]] was meant would be read as its keys.
    def hook(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            hint = "; in TOML a list of tables is written [[name]]" if isinstance(value, dict) else ""
            raise _UnfitError(value, f"is not a list{hint}")
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
    return clean(repr(value), 40)  # a line has to stay readable


def _complaints(error: BaseException, path: str, kind: Any, *, secret: bool) -> Iterator[str]:
    if isinstance(error, ForbiddenExtraKeysError):
        names = [field.alias for field in attrs.fields(error.cl)] if attrs.has(error.cl) else []
        for name in sorted(map(str, error.extra_fields)):
            yield f"unknown key {path}{name}{nearest(name, names)}"
    elif isinstance(error, cattrs.BaseValidationError):
        for inner in error.exceptions:
            yield from _complaints(inner, path + _step(inner), kind, secret=secret or _is_secret(error, inner))
    elif isinstance(error, KeyError):
        yield f"{path.rstrip('.')} is missing"
    else:
        where, said = path.rstrip("."), error.said if secret and isinstance(error, _UnfitError) else str(error)
        yield f"{where}: {said}" if where else said


def _is_secret(error: cattrs.BaseValidationError, inner: BaseException) -> bool:
    """Whether what is wrong is a field that is shown nowhere, or stands where a table with such a field belongs."""
    fields = attrs.fields_dict(error.cl) if attrs.has(error.cl) else {}
    found = [field for note in getattr(inner, "__notes__", ()) if (field := fields.get(getattr(note, "name", ""))) is not None]
    return any(not field.repr or (isinstance(inner, _UnfitError) and _has_secrets(field.type)) for field in found)


def _has_secrets(kind: Any) -> bool:
    return attrs.has(kind) and not all(field.repr for field in attrs.fields(kind))


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
            raise _UnfitError(value, "is not a table")
        return inner[kind](value, kind)

    inner: dict[type, Any] = {}

    def make(kind: type) -> Any:
        inner[kind] = cattrs.gen.make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
        return table

    def mapping(kind: Any) -> Any:
        structure_entries = mapping_structure_factory(kind, converter)

        def hook(value: Any, _: Any) -> Any:
            return structure_entries(_strict(value, dict), kind)

        return hook

    converter.register_structure_hook_factory(attrs.has, make)
    converter.register_structure_hook_factory(is_mapping, mapping)
    converter.register_structure_hook_factory(
        _is_tuple,
        lambda kind: _listed(converter.get_structure_hook(get_args(kind)[0]), get_args(kind)[0]),
    )
    return converter


_CONVERTER = _converter()
