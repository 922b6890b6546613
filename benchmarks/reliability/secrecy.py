"""Keys stay secret: a known key goes through every fault of the API in a process of its own, and is looked for in all that is left.

That is: stdout, stderr with the log at its most talkative, the lines, the journal and the cache byte by byte, names of files, what
`headrace status` says, and the command line of the process. The API repeats the key in a header of every answer, in errors of every kind
and in answers that say 200. Internal errors and aborts are made on purpose. Keys look like the vendor's, or like nothing in particular.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs

from headrace.simulator.faults import FAULTS
from reliability.outcome import Outcome
from reliability.parrot import ECHOES, parrot
from reliability.processes import ended, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from subprocess import Popen

KEYS = ("sk-proj-canary_Zm9vYmFy-0123456789abcdef", "c0ffee5ca1ab1e5ca1ab1ec0ffee1234", "canary/Zm9vYmFy/0123+456789abcd==")
FORMS = ("json", "console")
FAULT = "every fault of the API: the key is seen"
ECHO = "the API repeats the key: it is seen"
CRASH = "internal error: the key or a local is seen in the traceback"
ABORT = "SIGABRT with faulthandler: the key is seen"
_FEW_FAULTS = ("auth", "disconnect")
_FEW_ECHOES = ("as_php_writes_it", "beside_no_picture")
_STATUSES = {0, 1, 3}
_TAKEN = ("slow_body", "data_url", "wrong_format", "bare_list")
"""Answers that are strange and hold a picture."""
_NUMBERS = count()

_SETTINGS = """\
[request]
size = "816x816"
output_format = "webp"
[provider]
timeout_s = 2
[cache]
policy = "exact"
dir = "cache"
[[pool]]
name = "default"
max_concurrency = 4
"""
# The error is raised in the middle of the line, by what holds the key in a local and in its message.
_CRASH = """\
import os, sys
from headrace.api import Api
async def broken(self, reply, request):
    a_local = "LOCAL-" + os.environ["OPENAI_API_KEY"]
    raise RuntimeError(f"{len(a_local)} internal {os.environ['OPENAI_API_KEY']}")
Api._save = broken
from headrace.cli.main import main
main()
"""


@attrs.frozen
class Trial:
    """One process, and where it worked."""

    folder: Path
    key: str
    url: str

    def run(self, prompts: Sequence[str], form: str, python: Sequence[str] = ("-m", "headrace")) -> Popen[bytes]:
        """Start it on those prompts."""
        (self.folder / "headrace.toml").write_text(_SETTINGS)
        (self.folder / "in.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
        options = ["--log-level", "debug", "--log-format", form, "--progress", "always"]
        return self._popen([*python, "run", "in.jsonl", "--out-dir", "out", "-o", "lines.jsonl", *options])

    def status(self, *options: str) -> None:
        """What is told of the folder afterwards."""
        ended(self._popen(["-m", "headrace", "status", "out", *options]))

    def said(self) -> str:
        """What all processes wrote."""
        return (self.folder / "said").read_text("utf-8", "replace")

    def _popen(self, command: Sequence[str]) -> Popen[bytes]:
        environ = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environ |= {"HOME": str(self.folder), "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1"}
        environ |= {"OPENAI_API_KEY": self.key, "OPENAI_BASE_URL": self.url}
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, *command], cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )


def seen(folder: Path, key: str) -> Iterator[str]:
    """Where the key stands in a folder, in the content or in the name of a file: as it is, a good part of it, or in another form."""
    text = key.encode()
    forms = {text, text[8:24], base64.b64encode(text), quote(key, safe="").encode(), text.replace(b"/", rb"\/")}
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        for form in forms:
            if form in data:
                at = data.index(form)
                yield f"{path.name} holds it: {data[max(0, at - 60) : at + 20]!r}"
                break
        if any(form in os.fsencode(path) for form in forms):
            yield f"{path} is named by it"


def _in_command(process: Popen[bytes], key: str) -> list[str]:
    try:
        return ["it is in the command line"] if key.encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes() else []
    except OSError:
        return []  # no Linux


@contextmanager
def _trial(url: str, key: str) -> Iterator[Trial]:
    with TemporaryDirectory() as folder:
        yield Trial(Path(folder), key, url)


def _marked(url: str, name: str, mark: str) -> list[str]:
    """A run of three prompts, of which one meets what is marked."""
    number = next(_NUMBERS)
    key, form = KEYS[number % len(KEYS)], FORMS[number % len(FORMS)]
    with _trial(url, key) as trial:
        process = trial.run([f"a cat {number} {mark}", f"a dog {number}", f"a fox {number} {mark}"], form)
        broken = _in_command(process, key)
        code = ended(process)
        trial.status("--json")
        said = trial.said()
        broken += seen(trial.folder, key)
        if code not in _STATUSES or "Traceback" in said or (name not in _TAKEN and "call_failed" not in said):
            broken.append(f"exit status {code}: {said[-500:]!r}")
        return [f"{name}, {form}, key {key[:2]}: {each}" for each in broken]


def _crash(url: str, key: str) -> list[str]:
    with _trial(url, key) as trial:
        code = ended(trial.run(["a cat", "a dog"], "console", ["-c", _CRASH]))
        trial.status()
        said = trial.said()
        broken = [*seen(trial.folder, key), *([f"a local is seen: {said[-800:]!r}"] if "LOCAL-" in said.replace('"LOCAL-"', "") else [])]
        if code != 1 or "RuntimeError: " not in said or "in broken" not in said or "internal ***" not in said:
            broken.append(f"exit status {code}: {said[-500:]!r}")
        return broken


def _abort(url: str, key: str) -> list[str]:
    with _trial(url, key) as trial:
        process = trial.run(["a cat [[fault:stall]]"] * 3, "json", ["-X", "faulthandler", "-m", "headrace"])
        begun = until(lambda: any(trial.folder.glob("out/journal.sqlite-wal")), 20)
        limits = Path(f"/proc/{process.pid}/limits")
        core = [line.split()[4] for line in limits.read_text().splitlines() if line.startswith("Max core")] if limits.exists() else ["0"]
        process.send_signal(signal.SIGABRT)
        code = ended(process)
        trial.status()
        broken = list(seen(trial.folder, key))
        if not begun or code != -signal.SIGABRT or "Fatal Python error: Aborted" not in trial.said():
            broken.append(f"exit status {code}: {trial.said()[-500:]!r}")
        return broken + ([f"the limit of core dumps was set to {core[0]}"] if core != ["0"] else [])


@contextmanager
def _no_core_dumps() -> Iterator[None]:
    # What a process inherits and leaves as it is.
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def outcomes(short: bool) -> list[Outcome]:
    """Every fault, every echo, crashes and aborts."""
    faults = _FEW_FAULTS if short else tuple(FAULTS)
    echoes = _FEW_ECHOES if short else tuple(ECHOES)
    times = range(1 if short else len(FORMS))
    keys = KEYS[1:2] if short else KEYS
    with parrot() as url, _no_core_dumps(), ThreadPoolExecutor(2) as pool:
        runs = {
            FAULT: [pool.submit(_marked, url, name, f"[[fault:{name}*1]]") for _ in times for name in faults],
            ECHO: [pool.submit(_marked, url, name, f"[[echo:{name}]]") for _ in times for name in echoes],
            CRASH: [pool.submit(_crash, url, key) for key in keys],
            ABORT: [pool.submit(_abort, url, key) for key in keys],
        }
        found = {name: [future.result() for future in futures] for name, futures in runs.items()}
    return [Outcome(name, len(each), tuple(failure for broken in each for failure in broken)) for name, each in found.items()]
