"""Write ``docs/settings.md``: every setting with its type, its default and what it can be, from ``pipeline/settings.py`` itself.

    python benchmarks/settings_page.py

What a value has to be is asked of the validators: the words in the page are those of the error message. A test compares the page.
"""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from headrace import settings
from headrace.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
INTRODUCTION = """# Settings

Every setting of `headrace.toml`, written by `python benchmarks/settings_page.py` from the code that reads it. All of it may be left
out; where the last column is empty, the setting is absent by default. `headrace init` writes a file with all settings and a comment for
each. `headrace doctor -c headrace.toml` says whether the file can be used.

A program gives the same tables as classes (`headrace.Settings(run=headrace.RunSettings(simulate=True))`) or as a dictionary
(`headrace.Settings.from_dict({"run": {"simulate": True}})`). An option on the command line wins over the file. A name that does not
exist, or a value that is not allowed, ends the command with one line and status 2 before anything is paid for.

| variable of the environment | what it gives |
|---|---|
| `OPENAI_API_KEY` | the key, where there is no `[[key]]` |
| `OPENAI_BASE_URL` | the address of the API, where `[provider] base_url` is left out |
| `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` | a proxy or a certificate of your own |
| those that `env`, `admin_env` and `password_env` name | keys and passwords: they are never in the file itself |
"""
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
PRESET = settings.ALERT_PRESETS["default"]
PROBES: dict[Any, Any] = {str: " ", int: float("nan"), float: float("nan"), tuple: (" ",), Mapping: {"name": " "}}
"""By type, a value that no validator takes."""


def main() -> None:
    """Write it."""
    PAGE.write_text(page())


def page() -> str:
    """The page."""
    return "\n".join([INTRODUCTION, *_tables(Settings, "", {})])


def _tables(of: type, path: str, shown: dict[type, str]) -> Iterator[str]:
    hints = typing.get_type_hints(of, vars(settings))
    for field in attrs.fields(of):
        inner, many = _table(hints[field.name])
        if inner is None:
            continue
        name = f"{path}{field.name}"
        heading = f"[[{name}]]" if many else f"[{name}]"
        yield f"## `{heading}`\n"
        if inner in shown:
            yield f"The same settings as those of `{shown[inner]}` above.\n"
            continue
        shown[inner] = heading
        yield from _section(inner)
        yield from _tables(inner, f"{name}.", shown)


def _section(of: type) -> Iterator[str]:
    told = _docstrings(of)
    yield f"{_about(of)}\n"
    yield "| setting | what it is | default |"
    yield "|---|---|---|"
    hints = typing.get_type_hints(of, vars(settings))
    for field in attrs.fields(of):
        hint = hints[field.name]
        if _table(hint)[0] is None:
            kind = f"*{_type(hint)}{_range(field, hint)}*"
            yield f"| `{field.name}` | {_cell(told[field.name])}<br>{_cell(kind)} | {_default(field)} |"
    yield ""


def _about(of: type) -> str:
    # "[run]: how a run goes." becomes "How a run goes."
    said = " ".join((of.__doc__ or "").split())
    said = re.sub(r"^``\S+``: ", "", said)
    return _code(said[:1].upper() + said[1:])


def _docstrings(of: type) -> dict[str, str]:
    body = ast.parse(inspect.getsource(of)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    told: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            told[field.target.id] = _code(" ".join(str(after.value.value).split()))
    return told


def _code(text: str) -> str:
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text).replace("``", "`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(hint: Any) -> tuple[type | None, bool]:
    """The class of a table, and whether there may be several."""
    for each in (hint, *typing.get_args(hint)):
        if isinstance(each, type) and attrs.has(each):
            return each, typing.get_origin(hint) is tuple
    return None, False


def _parts(hint: Any) -> list[Any]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [each for each in (typing.get_args(hint) if union else (hint,)) if each is not type(None)]


def _type(hint: Any) -> str:
    words = []
    for each in _parts(hint):
        origin = typing.get_origin(each)
        words.append({tuple: "list of texts", Mapping: "table of texts"}.get(origin) or WORDS[each])
    return " or ".join(words)


def _range(field: Any, hint: Any) -> str:
    """What the field's validator says of a value that cannot be."""
    if field.validator is None:
        return ""
    first = _parts(hint)[0]
    try:
        field.validator(None, field, PROBES[typing.get_origin(first) or first])
    except ValueError as error:
        said = re.sub(r"^\w+ (?:(?:is|holds) .*?; it (?:has to be|can be|can hold|holds)|has to be|has to name) ", "", str(error))
        between = ": " if _type(hint).endswith(("text", "texts")) else ", "
        return f"{between}{said.replace('*', '&#42;')}"
    raise AssertionError(f"{field.name} takes anything")


def _default(field: Any) -> str:
    if field.default is attrs.NOTHING:
        return "has to be named"
    value = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    if field.name in PRESET:
        return f"`{PRESET[field.name]:g}`, by `preset`"
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"')
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:_}`" if isinstance(value, int) else f"`{value:g}`"


if __name__ == "__main__":
    main()
