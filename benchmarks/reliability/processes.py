"""``python -m headrace run`` in processes of its own: a job in a folder, started as often as it takes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from subprocess import Popen

    from reliability.server import Api

JOURNAL = "journal.sqlite"
KEY = "sk-canary-0123456789abcdefXYZ"
SIZE = "816x816"  # the smallest square that the models make
PATIENCE_S = 120.0
TICK_S = 0.005

_SETTINGS = """\
[request]
size = "{size}"
[cache]
policy = "{cache}"
dir = "{folder}/cache"
[[pool]]
name = "default"
max_concurrency = {at_once}
"""


@attrs.frozen(kw_only=True)
class Job:
    """Some prompts, and the folder in which everything of their runs is."""

    folder: Path
    api: Api
    name: str
    """What all of its prompts begin with; no other job on the same API has it."""
    size: int
    """Prompts."""
    at_once: int = 16
    cache: str = "off"
    out_dir: Path = attrs.field()
    """Where the journal and the pictures are."""
    lines: Path = attrs.field()
    """Where ``-o`` writes."""

    @out_dir.default
    def _out_dir(self) -> Path:
        return self.folder / "out"

    @lines.default
    def _lines(self) -> Path:
        return self.folder / "lines.jsonl"

    @property
    def prompts(self) -> dict[str, str]:
        """Id -> prompt."""
        return {f"p{number}": f"{self.name} cat {number}" for number in range(self.size)}

    @property
    def source(self) -> Path:
        """The input."""
        return self.folder / "in.jsonl"

    @property
    def stderr(self) -> str:
        """What all runs said, one after the other."""
        path = self.folder / "stderr.txt"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def written_at(self) -> int:
        """When the journal was written last, in ns; 0 is never."""
        try:
            return (self.out_dir / f"{JOURNAL}-wal").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def prepare(self) -> Job:
        """Write the input and the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.source.write_text("".join(json.dumps({"id": key, "prompt": text}) + "\n" for key, text in self.prompts.items()))
        told = _SETTINGS.format(size=SIZE, cache=self.cache, folder=self.folder, at_once=self.at_once)
        (self.folder / "headrace.toml").write_text(told)
        return self

    def start(self, *options: str, extra: Mapping[str, str] | None = None, stdout: int | Path | None = None) -> Popen[bytes]:
        """One run; its stderr is kept. With ``stdout`` the lines go there, otherwise into the file."""
        source, out_dir = str(self.source), str(self.out_dir)
        output = "-" if stdout is not None else str(self.lines)
        limit = str(self.at_once)
        command = ["run", source, "--out-dir", out_dir, "-o", output, "--progress", "never", "--max-in-flight", limit, *options]
        return self._popen(command, extra or {}, stdout)

    def finish(self, *options: str, extra: Mapping[str, str] | None = None) -> int:
        """One run to its end; returns the exit status."""
        return ended(self.start(*options, extra=extra))

    def status(self) -> dict[str, Any]:
        """What ``headrace status --json`` says of the folder."""
        command = [sys.executable, "-m", "headrace", "status", str(self.out_dir), "--json"]
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=self.folder, env=self._environ({}), stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode:
            raise RuntimeError(f"status of {self.out_dir} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def _popen(self, command: Sequence[str], extra: Mapping[str, str], stdout: int | Path | None) -> Popen[bytes]:
        out: Any = stdout
        if stdout is None or isinstance(stdout, Path):
            out = os.open(stdout or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with (self.folder / "stderr.txt").open("ab") as err:
            try:
                return subprocess.Popen(  # noqa: S603 - our own command
                    [sys.executable, "-m", "headrace", *command],
                    cwd=self.folder,
                    env=self._environ(extra),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                )
            finally:
                if out is not stdout:
                    os.close(out)

    def _environ(self, extra: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        own = {"HOME": str(self.folder), "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1"}
        return kept | own | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": self.api.url} | dict(extra)


def ended(process: Popen[bytes], patience_s: float = PATIENCE_S) -> int:
    """The exit status of a process that ends by itself; one that does not is killed, and its status is -9."""
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def pause(seconds: float) -> None:
    """Let the other processes work."""
    threading.Event().wait(seconds)


def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    """Wait for a condition; false where it did not come to that."""
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            return False
        pause(TICK_S)
    return True


def dice(*numbers: int) -> random.Random:
    """Randomness that the same numbers repeat."""
    return random.Random(repr(numbers))  # noqa: S311 - moments to strike at
