"""What typer complains about, as one line: what is wrong, where, the nearest valid name, and where to look."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.text import clean
from headrace.validators import nearest

if TYPE_CHECKING:
    import typer

_COMMAND = re.compile(r"No such command '(?P<name>.*?)'", re.DOTALL)
_VALUE = re.compile(r"Invalid value for (?P<option>.*?): (?:Value error, )?(?P<said>.*)", re.DOTALL)
_CHOICE = re.compile(r"'(?P<value>.*)' is not one of (?P<choices>'.*')", re.DOTALL)
_LONGEST = 300


def line_of(error: typer.TyperException) -> str:
    """The line for a complaint of typer, without a full stop; help that stands for a complaint comes back as it is."""
    said = error.format_message()
    if said.startswith("Usage:"):
        return said  # a group of commands without a command
    context = getattr(error, "ctx", None)
    path = "" if context is None else f"{context.command_path} "
    found = _command(said, context) or _option(error) or _value(said) or said[:1].lower() + said[1:].rstrip(".")
    return f"{clean(found, _LONGEST)}; '{path}--help' says what there is"


def _command(said: str, context: object) -> str | None:
    told = _COMMAND.match(said)
    if told is None:
        return None
    names = getattr(getattr(context, "command", None), "commands", {})
    return f"there is no command {told['name']!r}{nearest(told['name'], names)}"


def _option(error: typer.TyperException) -> str | None:
    name = getattr(error, "option_name", None)
    if name is None or not hasattr(error, "possibilities"):
        return None
    return f"there is no option {name}{nearest(name, error.possibilities or ())}"


def _value(said: str) -> str | None:
    told = _VALUE.match(said)
    if told is None:
        return None
    option, choice = told["option"].strip("'"), _CHOICE.match(told["said"])
    if choice is None:
        return f"{option}: {told['said'][:1].lower()}{told['said'][1:].rstrip('.')}"
    names = re.findall(r"'([^']*)'", choice["choices"])
    return f"{option} is {choice['value']!r}; it can be {', '.join(names)}{nearest(choice['value'], names)}"
