"""Every example of the pages and of the README is done as it stands, in one folder a page, against a simulated API."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import shlex
import tomllib
from contextlib import redirect_stdout
from doctest import ELLIPSIS, OutputChecker
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml

import headrace
from headrace.cli.main import app
from headrace.lines import Line
from headrace.prompts import PromptReader
from headrace.records import Prompt
from headrace.settings import RequestSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHELLS = ("sh", "console")
PRINTS = "prints"
"""The title of a block that says what the block before it writes; '...' stands for anything."""
STATUS = "echo $?"


def test_what_a_page_says_is_so(page: Path, blocks: list[Any], job: Path, shell: Callable[[str], tuple[int, str]]) -> None:
    names: dict[str, Any] = {"__name__": page.stem}
    written: str | None = None
    for block in blocks:
        if block.needs:
            written = None
        elif block.title == PRINTS:
            assert written is not None, f"{block}: nothing was run before it"
            agrees(block, block.text, written)
        else:
            written = done(block, job, names, shell)


def done(block: Any, job: Path, names: dict[str, Any], shell: Callable[[str], tuple[int, str]]) -> str | None:
    """Do what a block says; returns what it wrote, where it can write anything."""
    if block.title:
        (job / block.title).parent.mkdir(parents=True, exist_ok=True)
        (job / block.title).write_text(block.text)
    if block.language == "python":
        return printed(block, names)
    if block.language in SHELLS:
        return typed(block, shell)
    if block.language in READERS:
        READERS[block.language](block)
    else:
        assert not re.search(r"^(\$ )?headrace ", block.text, re.MULTILINE), f"{block}: a command in a block of no language"
    return None


def printed(block: Any, names: dict[str, Any]) -> str:
    with redirect_stdout(io.StringIO()) as out:
        exec(compile("\n" * block.line + block.text, block.page, "exec"), names)  # noqa: S102 - our own words
    return out.getvalue()


def typed(block: Any, shell: Callable[[str], tuple[int, str]]) -> str:
    status, written = shell(script(block))
    assert status == 0, f"{block} ended with {status}:\n{written}"
    if block.language == "console":
        shown = "".join(line for line in block.text.splitlines(keepends=True) if not line.startswith(("$ ", "> ")))
        if shown.strip():
            agrees(block, shown, written)
    return written


def script(block: Any) -> str:
    """What bash is given: it ends at the first command that fails, unless the next one asks for its status."""
    if block.language == "sh":
        return f"set -eo pipefail\n{block.text}"
    return "\n".join(
        f"{command}\n[ $? -eq 0 ] || exit 1" if following != STATUS else command
        for command, following in zip(commands(block), [*commands(block), None][1:], strict=True)
    )


def commands(block: Any) -> list[str]:
    """Those of a ``console`` block, after its ``$``."""
    found: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(line.removeprefix("$ "))
        elif line.startswith("> "):
            found[-1] += "\n" + line.removeprefix("> ")
    return found


def agrees(block: Any, shown: str, written: str) -> None:
    want, got = (re.sub(r"[ \t]+$", "", text.strip("\n"), flags=re.MULTILINE) + "\n" for text in (shown, written))
    assert OutputChecker().check_output(want, got, ELLIPSIS), f"{block} shows\n{want}\nand what is written is\n{got}"


def _prompts(block: Any) -> None:
    reader = PromptReader(RequestSettings(), "jsonl")
    for number, line in enumerate(block.text.splitlines(), 1):
        read = reader.read(Line(number, line.encode()))
        assert isinstance(read, Prompt), f"{block}: {read}"


def _table(block: Any) -> None:
    rows = list(csv.reader(io.StringIO(block.text)))
    assert len({len(row) for row in rows}) == 1, block


READERS: dict[str, Callable[[Any], object]] = {
    "toml": lambda block: Settings.from_dict(tomllib.loads(block.text)),
    "json": lambda block: json.loads(block.text),
    "yaml": lambda block: yaml.safe_load(block.text),
    "jsonl": _prompts,
    "csv": _table,
}


def headrace_commands(block: Any) -> list[list[str]]:
    """The arguments of each ``headrace`` in a block."""
    lines = commands(block) if block.language == "console" else block.text.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = list(shlex.shlex(re.sub(r"\d?>(&\d| *\S+)", "", line), posix=True, punctuation_chars=True))
        while "headrace" in words:
            words = words[words.index("headrace") + 1 :]
            end = next((place for place, word in enumerate(words) if set(word) <= set("|&;<>()")), len(words))
            found.append(words[:end])
    return found


def test_what_is_not_run_has_options_that_exist(every_block: list[Any]) -> None:
    left = [block for block in every_block if block.needs]
    assert 0 < len(left) <= len(every_block) / 8, "few blocks are not run"
    for block in left:
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text, str(block))):
                if isinstance(node, ast.Attribute) and (name := re.fullmatch(r"headrace\.([\w.]+)", ast.unparse(node))):
                    assert attrgetter(name[1])(headrace), f"{block}: {name[0]}"
        for words in headrace_commands(block) if block.language in SHELLS else ():
            parse(words)


def parse(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    context = None
    while True:
        context = command.make_context("headrace", list(words), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])


@pytest.mark.parametrize("words", [["run", "--no-such-option"], ["rnu"], ["cache", "whi", "a", "b"], ["run", "--drain", "x"]])
def test_an_option_that_does_not_exist_is_seen(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such|valid number"):
        parse(words)
