from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from headrace.models import catalogue
from headrace.settings import POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Headrace = Callable[..., CompletedProcess[str]]
    Offered = Callable[[str], list[str]]


@pytest.fixture
def offered(headrace: Headrace, monkeypatch: pytest.MonkeyPatch) -> Offered:
    """``offered(line)``: what a Tab at the end of the line offers to bash."""

    def ask(line: str) -> list[str]:
        monkeypatch.setenv("_HEADRACE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        ended = headrace()
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout.split()

    return ask


def test_commands_and_options_are_offered(offered: Offered) -> None:
    assert offered("headrace do") == ["doctor"]
    assert offered("headrace cache w") == ["why"]
    assert offered("headrace run --qual") == ["--quality"]


def test_models_that_can_be_asked_for_are_offered(offered: Offered) -> None:
    found = offered("headrace run --model ")
    assert catalogue().default in found
    assert set(found) <= catalogue().models.keys()
    assert offered("headrace run --model gpt-image-1-m") == ["gpt-image-1-mini"]


def test_what_is_offered_fits_the_model_that_was_named(offered: Offered) -> None:
    assert offered("headrace run --quality ") == list(catalogue().model(catalogue().default).qualities)
    assert offered("headrace run --model gpt-image-1-mini --quality ") == ["low", "medium", "high"]
    assert offered("headrace run --model gpt-image-1-mini --size ") == list(catalogue().model("gpt-image-1-mini").table)
    assert "1024x1024" in offered("headrace run --size 1")


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--cache", set(POLICIES)),
        ("--tier", set(catalogue().tiers)),
        ("--profile", set(catalogue().profiles)),
        ("--output-format", {"png", "jpeg", "webp"}),
        ("--in-doubt", {"retry", "hold"}),
        ("--format", {"auto", "text", "jsonl", "csv", "tsv", "parquet"}),
    ],
)
def test_options_with_few_values_offer_them(offered: Offered, option: str, values: set[str]) -> None:
    assert set(offered(f"headrace run {option} ")) == values


def test_where_a_file_belongs_the_shell_offers_files(offered: Offered) -> None:
    assert offered("headrace run --out-dir ") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_what_the_values_mean(headrace: Headrace, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_HEADRACE_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "headrace run --model ")
    ended = headrace()
    assert ended.returncode == 0
    assert re.search(rf"{catalogue().default}\W+0\.\d+ for 1024x1024", ended.stdout)


def test_bash_completes_a_model(shell: Callable[[str], CompletedProcess[str]], tmp_path: Path) -> None:
    command = tmp_path / "headrace"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m headrace "$@"\n')
    command.chmod(0o700)
    ended = shell(
        'export PATH="$PWD:$PATH"; eval "$(_HEADRACE_COMPLETE=source_bash headrace)"; complete -p headrace\n'
        'COMP_WORDS=(headrace run --model gpt-image-1-m); COMP_CWORD=3; _headrace_completion headrace; echo "${COMPREPLY[@]}"'
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["complete -o default -F _headrace_completion headrace", "gpt-image-1-mini"]
