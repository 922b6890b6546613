"""What pages have to hold: every setting, kind of error and page of the navigation; and no option, setting or name that does not exist."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints
from urllib.parse import urlsplit

import attrs
import pytest
import settings_page
import typer
from markdown_it import MarkdownIt

import headrace.settings
from headrace.cli.main import app
from headrace.errors import HeadraceError, OutputError, StoppedError, UnsyncedError, UsageError
from headrace.records import CacheMode, Kind, Result, Status, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OF_OTHERS = {"--seed"}
"""Options that are not those of the command line."""
NAMES_OF_OTHERS = {"worker_process_setup_hook", "sku_12"}
"""Ray's, and one of an example."""
NAME = re.compile(r"(?<![\w/.])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w.])")
SOURCES = (".py", ".lua", ".toml", ".json")
OF_LINES = {"prompts.py", "uploads.py", "structure.py", "inventory.py"}
"""What these say is in the message of a line that is none."""
RAISED = {each.__name__ for each in (UsageError, StoppedError, OutputError, UnsyncedError)}
LEAST = 9
"""Letters that a message has of its own; what has fewer says what something else said."""


def test_the_page_of_settings_is_what_the_code_says() -> None:
    assert (DOCS / "settings.md").read_text() == settings_page.page(), "python benchmarks/settings_page.py writes it"


def test_every_page_is_in_the_navigation_once() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    assert sorted(pages_in(site["nav"])) == sorted(path.name for path in DOCS.glob("*.md"))


def pages_in(nav: Any) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else pages_in(value)


@pytest.mark.parametrize("heading", ["A prompt without a picture", "A call that failed"])
def test_every_kind_of_error_has_a_row(heading: str) -> None:
    kinds = set(Kind)
    if heading == "A call that failed":
        # What ends a prompt before a call, or by more than a call.
        kinds -= {Kind.BAD_LINE, Kind.TOO_LARGE, Kind.WAITED_TOO_LONG, Kind.NO_POOL, Kind.OVER_BUDGET, Kind.INTERRUPTED, Kind.IN_DOUBT}
        kinds -= {Kind.BAD_REQUEST, Kind.MODEL_NOT_FOUND, Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION}
    assert first_column("errors.md", heading) == kinds


def test_every_exit_status_has_a_row() -> None:
    classes: list[type[HeadraceError]] = [HeadraceError, *HeadraceError.__subclasses__()]
    told = section("errors.md", "Exit status")
    rows = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", told, re.MULTILINE) for code in row.split(",")}
    assert rows == {0, 129, 130, 143} | {each.exit_code for each in classes}


def test_every_word_of_a_line_of_the_output_is_told() -> None:
    told = section("pipe.md", "A line of the output")
    words = {*Status, *Strategy} | {
        name for name in (field.name for field in attrs.fields(Result)) if name not in ("item", "recalled", "written")
    }
    assert {word for word in words if f"`{word}`" not in told} == set()
    assert {mode for mode in CacheMode if f"`{mode}`" not in section("pipe.md", "A line of the input")} == set()


def first_column(page: str, heading: str) -> set[str]:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section(page, heading), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def section(page: str, heading: str) -> str:
    text = (DOCS / page).read_text()
    found = re.search(rf"^## {re.escape(heading)}.*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def test_options_and_commands_in_the_text_exist(page: Path) -> None:
    commands = dict(all_commands(typer.main.get_command(app), ""))
    options = OF_OTHERS.union(*commands.values())
    for code in inline(page):
        if code.startswith(("headrace ", "--")):
            assert set(re.findall(r"--[a-z][a-z-]*", code)) <= options, f"{page.name}: `{code}`"
        if named := re.match(r"headrace ([a-z]+)(?: |\Z)", code):
            assert f" {named[1]}" in commands, f"{page.name}: `{code}`"


def inline(page: Path) -> Iterator[str]:
    yield from (token.content for token in tokens(page) if token.type == "code_inline")


def tokens(page: Path) -> Iterator[Token]:
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        yield from token.children or ()


def test_settings_in_the_text_exist(page: Path) -> None:
    tables = dict(all_tables(headrace.settings.Settings, ""))
    for code in inline(page):
        if (named := re.match(r"\[\[?([a-z.]+)\]\]?(?: (\w+))?", code)) and not named[1].startswith("tool."):
            assert named[1] in tables, f"{page.name}: `{code}`"
            assert named[2] is None or named[2] in tables[named[1]], f"{page.name}: `{code}`"


def all_tables(of: Any, path: str) -> Iterator[tuple[str, set[str]]]:
    for name, hint in get_type_hints(of, vars(headrace.settings)).items():
        for inner in (hint, *get_args(hint)):
            if attrs.has(inner):
                yield f"{path}{name}", {field.name for field in attrs.fields(inner)}
                yield from all_tables(inner, f"{path}{name}.")


def test_names_in_the_text_are_in_the_code(page: Path, names: set[str]) -> None:
    for code in inline(page):
        for name in NAME.findall(code):
            # Some are put together: columns have a prefix, counters a suffix.
            parts = {name, name.removesuffix("_total"), name.removeprefix("headrace_")}
            assert parts & names or name in NAMES_OF_OTHERS, f"{page.name}: `{code}`"


@pytest.fixture(scope="session")
def names() -> set[str]:
    """Every name that is anywhere in the code."""
    files = [path for folder in ("pipeline", "stages", "benchmarks", "examples") for path in (ROOT / folder).rglob("*")]
    return {name for path in files if path.suffix in SOURCES for name in re.findall(r"[a-z][a-z0-9_]*", path.read_text())}


def test_links_of_the_readme_lead_somewhere() -> None:
    readme = ROOT / "README.md"
    for token in tokens(readme):
        link = urlsplit(str(token.attrs.get("href") or token.attrs.get("src") or ""))
        if not link.scheme:
            assert (ROOT / link.path).exists(), link.geturl()
            assert not link.fragment or link.fragment in anchors(ROOT / link.path), link.geturl()
    assert all((ROOT / image).exists() for image in re.findall(r'<img src="([^"]+)"', readme.read_text()))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def all_commands(command: Any, path: str) -> Iterator[tuple[str, set[str]]]:
    yield path, {option for each in command.params for option in each.opts} | {"--help", "--install-completion"}
    for name, each in getattr(command, "commands", {}).items():
        yield from all_commands(each, f"{path} {name}")


def test_every_message_that_ends_a_run_has_a_row() -> None:
    told = section("errors.md", "Mistakes: status 2") + section("errors.md", "The disk: status 74")
    rows = re.findall(r"^\| (.*?) \|", told, re.MULTILINE)
    known = [re.compile(".*?".join(map(re.escape, shown.split("...")))) for row in rows for shown in re.findall(r"`([^`]+)`", row)]
    for path in (*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").glob("*.py")):
        for text in messages(path):
            assert any(each.search(text) for each in known), f"docs/errors.md has no row for what {path.name} says: {text}"


def messages(path: Path) -> Iterator[str]:
    """What the module raises, with an 'x' for whatever it puts in."""
    if path.name in OF_LINES:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED and node.args:
            parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
            own = [str(part.value) if isinstance(part, ast.Constant) else None for part in parts]
            if sum(letter.isalpha() for text in own if text for letter in text) >= LEAST:
                yield "".join(text or "x" for text in own)
