from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from subprocess import CompletedProcess, Popen
from typing import TYPE_CHECKING, Any

import pytest

from headrace.cli.main import main
from headrace.log import PROMPTS
from headrace.simulator import SimulatedPool, SimulatorSettings, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "sk-canary-0123456789abcdefXYZ"
SECOND_KEY = "sk-canary-second-0123456789"
PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def key() -> str:
    """A key that the API lets in."""
    return KEY


@pytest.fixture(scope="session")
def second_key() -> str:
    """A key of another organisation."""
    return SECOND_KEY


@pytest.fixture(scope="session")
def api(on_loopback: Callable[[World], str]) -> tuple[str, World]:
    """An API on loopback for the whole session: its base URL and its books."""
    pools = tuple(
        SimulatedPool(name=name, keys=(key,), images_per_minute=None, max_concurrency=None)
        for name, key in (("studio", KEY), ("other", SECOND_KEY))
    )
    # A picture takes 10 ms; a slow body 1.2 s.
    world = World(SimulatorSettings(pools=pools, latency_s=0.5, sigma=0, time_scale=0.02, pictures="template"))
    return on_loopback(world), world


@pytest.fixture(scope="session")
def world(api: tuple[str, World]) -> World:
    """What the API saw."""
    return api[1]


@pytest.fixture(scope="session")
def base_url(api: tuple[str, World]) -> str:
    """Where the API is."""
    return api[0]


@pytest.fixture(autouse=True)
def unlimited(tmp_path: Path) -> Path:
    """The configuration in the folder of the test: no limits, so that nothing waits."""
    path = tmp_path / "headrace.toml"
    path.write_text("[[pool]]\nname = 'default'\n")
    return path


@pytest.fixture
def environ(base_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a user with a key for the API; nothing in it leads off this machine."""
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "NO_PROXY": "127.0.0.1",
        "HTTPS_PROXY": nowhere,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": base_url,
    }


@pytest.fixture
def headrace(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., CompletedProcess[str]]]:
    """``headrace(*arguments)``: the command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("OPENAI_"):
            monkeypatch.delenv(name)

    def call(*arguments: str) -> CompletedProcess[str]:
        for name in ("HOME", "TERM", "NO_PROXY", "HTTPS_PROXY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
            if name in environ:
                monkeypatch.setenv(name, environ[name])
            else:
                monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return CompletedProcess(arguments, ended.value.code if isinstance(ended.value.code, int) else 0, out, err)

    logger = logging.getLogger("headrace")
    before = logger.handlers[:], logger.level, logger.propagate
    yield call
    logger.handlers[:], logger.level, logger.propagate = before
    logging.getLogger(PROMPTS).setLevel(logging.CRITICAL)


@pytest.fixture
def started(tmp_path: Path, environ: dict[str, str]) -> Callable[..., Any]:
    """``with started(*arguments) as process``: ``python -m headrace`` in a process of its own, ended with the block."""

    @contextmanager
    def start(*arguments: str, **options: Any) -> Iterator[Popen[str]]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "headrace", *arguments]
        with Popen(command, text=True, cwd=tmp_path, env=environ, **(pipes | options)) as process:  # noqa: S603 - our own command
            try:
                yield process
            finally:
                process.kill()

    return start


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str]) -> Callable[[str], CompletedProcess[str]]:
    """``shell(text)`` runs a shell command in which ``$HEADRACE`` is the command line."""

    def run(text: str) -> CompletedProcess[str]:
        variables = environ | {"HEADRACE": f"{sys.executable} -m headrace"}
        command = ["bash", "-c", text]
        return subprocess.run(  # noqa: S603 - our own command
            command, cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    return run


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """``until(condition)`` returns when the API's books say so, which happens in other threads and processes."""

    def wait(condition: Callable[[], bool]) -> None:
        tick, end = threading.Event(), time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "it did not come to that"
            tick.wait(0.005)

    return wait


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


@pytest.fixture(scope="session")
def lines_of() -> Callable[[str], list[dict[str, Any]]]:
    """The result lines in a text, each strictly JSON."""

    def parse(text: str) -> list[dict[str, Any]]:
        assert not text or text.endswith("\n")
        return [json.loads(line, parse_constant=_refuse) for line in text.splitlines()]

    return parse
