"""What the pages say is done: their fenced blocks, and a shell in which ``headrace`` is this process."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import zlib
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from markdown_it import MarkdownIt

from headrace.cache import encoder
from headrace.cache.verifier import Verifier
from headrace.cli.main import main
from headrace.log import PROMPTS
from headrace.settings import ENCODER
from headrace.simulator import SimulatorSettings, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PATIENCE_S = 60.0
TICK_S = 0.01
VERIFIER = cache(Verifier.load)
ABOUT_MEANING = "cache.md"
"""The page that shows what the encoder says."""
# It hands its standard files, its folder and its variables to the process of the tests: to start one costs a second each.
SHIM = f"""#!{sys.executable} -SI
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as link:
    link.connect(os.environ["HEADRACE_LINK"])
    socket.send_fds(link, [json.dumps([os.getcwd(), sys.argv, dict(os.environ)]).encode()], [0, 1, 2])
    sys.exit(int(link.recv(16)))
"""


@attrs.frozen
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def needs(self) -> str | None:
        """What it needs that tests do not have, as its title says it; None where it is run."""
        return self.title if self.title.startswith("needs ") else None


class Strangers:
    """Stands for the encoder, which takes five seconds to import: no text is near another."""

    fingerprint = f"{ENCODER}:{encoder._WEIGHTS_SHA256[:16]}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.array([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(384) for text in texts])
        units: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return units


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order; those in quotes and lists as well."""
    found = []
    for token in MarkdownIt().parse(page.read_text("utf-8")):
        if token.type == "fence":
            language, _, rest = token.info.partition(" ")
            title = rest.strip().removeprefix('title="').removesuffix('"')
            found.append(Block(page.name, (token.map or [0])[0] + 1, language, title, token.content))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture
def blocks(page: Path) -> list[Block]:
    """Those of the page."""
    return blocks_of(page)


@pytest.fixture(scope="session")
def every_block() -> list[Block]:
    """Those of all pages."""
    return [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture(scope="session")
def api(on_loopback: Callable[[World], str]) -> str:
    """The URL of an API that takes any key; a picture takes 10 ms."""
    return on_loopback(World(SimulatorSettings(latency_s=0.5, sigma=0, time_scale=0.02, pictures="template")))


@pytest.fixture
def environ(api: str, tmp_path: Path) -> dict[str, str]:
    """The variables of a reader with a key; nothing in them leads off this machine."""
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "COLUMNS": "120",
        "NO_PROXY": "127.0.0.1",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "OPENAI_API_KEY": "sk-canary-0123456789abcdef",
        "OPENAI_BASE_URL": api,
        "HEADRACE_LINK": str(tmp_path / "link"),
    }


@pytest.fixture
def job(page: Path, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that all blocks of a page work in, with the example prompts that come with the project."""
    folder = tmp_path / "job"
    for path in (folder, tmp_path / "bin", tmp_path / "home"):
        path.mkdir()
    shutil.copytree(ROOT / "examples", folder / "examples")
    shim = tmp_path / "bin" / "headrace"
    shim.write_text(SHIM)
    shim.chmod(0o755)
    monkeypatch.chdir(folder)
    if page.name == ABOUT_MEANING:
        monkeypatch.setattr(encoder, "_load", cache(encoder._load))
    else:
        monkeypatch.setattr(encoder, "steps", lambda _="": [Strangers])
    monkeypatch.setattr(Verifier, "load", VERIFIER)
    if re.search(r"--report\b|headrace report\b", page.read_text()):
        monkeypatch.setattr("headrace.report.charts.draw", lambda _: {})  # half a second a report
    # A picture of the embedded simulator takes a tenth of a second: long enough for the next prompts to come while it is made.
    monkeypatch.setattr("headrace.owners.SIMULATED_TIME_SCALE", 0.01)
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("OPENAI_"):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def shell(job: Path, environ: dict[str, str]) -> Callable[[str], tuple[int, str]]:
    """``shell(script)``: its exit status, and what it wrote on stdout and stderr."""

    def run(script: str) -> tuple[int, str]:
        written = job.parent / "written"
        with ExitStack() as stack:
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            link = Path(environ["HEADRACE_LINK"])
            link.unlink(missing_ok=True)
            server.bind(str(link))
            server.listen()
            server.settimeout(TICK_S)
            out = stack.enter_context(written.open("wb"))
            command = ["bash", "-c", script]
            bash = subprocess.Popen(command, cwd=job, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out)  # noqa: S603 - our own words
            stack.callback(bash.wait, PATIENCE_S)
            stack.callback(bash.kill)
            while bash.poll() is None:
                with suppress(TimeoutError):
                    _serve(server)
        return bash.returncode, written.read_text()

    return run


def _serve(server: socket.socket) -> None:
    link = server.accept()[0]
    with link:
        link.settimeout(PATIENCE_S)
        said, files, *_ = socket.recv_fds(link, 2**20, 3)
        folder, argv, environ = json.loads(said)
        with _standing_in(folder, argv, environ, files):
            try:
                main()
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 0
        with suppress(OSError):
            link.send(str(status).encode())


@contextmanager
def _standing_in(folder: str, argv: list[str], environ: Mapping[str, str], files: list[int]) -> Iterator[None]:
    """This process with the standard files, the folder and the variables of another."""
    logger, hook, mask = logging.getLogger("headrace"), sys.excepthook, os.umask(0o022)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    kept = [os.dup(number) for number in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["headrace", *argv[1:]])
        for name in tuple(os.environ):
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        streams: list[Any] = []
        for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
            os.dup2(files[number], number)
            os.close(files[number])
            streams.append(open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - a descriptor
            patch.setattr(sys, name, streams[-1])
        try:
            yield
        finally:
            for stream in streams:
                with suppress(OSError, ValueError):
                    stream.close()
            for number, copy in enumerate(kept):
                os.dup2(copy, number)
                os.close(copy)
            logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate
            logging.getLogger(PROMPTS).setLevel(logging.CRITICAL)
            sys.excepthook = hook
            os.umask(mask)
