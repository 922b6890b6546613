from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import typer

from headrace.cli.main import app
from headrace.simulator.faults import FAULTS, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

BENCHING = [
    name
    for name, fault in FAULTS.items()
    if (fault.stage is Stage.BEFORE and fault.reply is not None and fault.reply().status in (401, 403, 404))
    or name.endswith(("_exceeded", "_reached", "_exhausted", "_quota"))
]
PASSING = [name for name in FAULTS if name not in BENCHING and name != "stall"]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits: neither retries nor pauses."""
    monkeypatch.setattr("headrace.admission.retry.RetryPolicy.delay", lambda _, attempts, *__: None if attempts > 2 else 0.0)
    monkeypatch.setattr("headrace.admission.retry.RetryBudget.reserve", lambda *_: 0.0)
    monkeypatch.setattr("headrace.admission.breaker.ENOUGH", 10**9)
    monkeypatch.setattr("headrace.admission.refusals.Refusals.refused", lambda *_: False)


def assert_unseen(key: str, ended: CompletedProcess[str], folder: Path) -> None:
    assert key not in ended.stdout
    assert key not in ended.stderr
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"answers.sqlite", "journal.sqlite", "in"} <= {path.name for path in files}
    assert not [path for path in files if key.encode() in path.read_bytes()]
    assert not [path for path in folder.rglob("*") if key in str(path)]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_key_appears_nowhere_whatever_goes_wrong(
    headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, key: str, form: str
) -> None:
    lines = [f"{tmp_path} [[fault:{name}*2]]" for name in PASSING] + [f"{tmp_path} {n}" for n in range(10)]
    (tmp_path / "in").write_text("\n".join(lines))
    ended = headrace("run", "in", "--log-level", "debug", "--log-format", form, "--progress", "always")
    assert ended.returncode == 1
    assert len(ended.stdout.splitlines()) == len(lines)
    assert ended.stderr.count("call_failed") > len(PASSING)
    assert_unseen(key, ended, tmp_path)
    for command in (("status",), ("status", "--json"), ("cache", "stats", "--dir", ".cache/headrace")):
        ended = headrace(*command)
        assert ended.returncode == 0
        assert_unseen(key, ended, tmp_path)


def test_no_option_takes_a_key_or_turns_a_check_off() -> None:
    names = {name for command in _commands(typer.main.get_command(app)) for parameter in command.params for name in parameter.opts}
    assert {"--out-dir", "--simulate", "--json", "--port"} <= names
    assert not [name for name in names if re.search("key|secret|token(?!s-per)|password|auth|insecure|verify|redirect", name)]


def _commands(command: Any) -> Iterator[Any]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from _commands(inner)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("fault", BENCHING)
def test_a_key_that_is_refused_appears_nowhere(
    headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, key: str, fault: str
) -> None:
    (tmp_path / "in").write_text(f"{tmp_path} [[fault:{fault}]]\n")
    ended = headrace("run", "in", "--log-level", "debug")
    assert ended.returncode == 3
    assert_unseen(key, ended, tmp_path)


def test_a_key_in_the_wrong_place_is_not_repeated(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, key: str) -> None:
    (tmp_path / "in").write_text("a fox\n")
    for config in (
        f"[[key]]\nname = '{key}'\nenv = 'X'\n",
        f"[[key]]\nname = 'a'\nenv = '{key}'\n",
        f"[[key]]\nname = 'a'\nfile = '{key}'\n",
        f"[[key]]\nname = 'a'\nkey = '{key}'\n",
        f"[[key]]\nname = 'a'\nenv = 'X'\npool = '{key}'\n",
        f"[provider]\nbase_url = 'https://{key}@api.openai.com/v1'\n",
        f"[request]\nmodel = '{key}'\nquality = 5\n",
        f"'{key}' = 1\n",
        f"{key}\n",
    ):
        (tmp_path / "headrace.toml").write_text(config)
        ended = headrace("run", "in")
        assert ended.returncode == 2
        assert key not in ended.stdout + ended.stderr
    (tmp_path / "headrace.toml").unlink()
    for arguments in ((key,), ("in", "--tier", key), ("in", "--profile", key), ("in", "--cache", key), ("in", "--output-format", key)):
        ended = headrace("run", *arguments)
        assert ended.returncode == 2
        assert key not in ended.stdout + ended.stderr
