"""What SECURITY.md promises of the code as it is written, and that the tests which it names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for folder in ("pipeline", "stages") for path in (ROOT / folder).rglob("*.py"))
# What runs code out of data, starts other programs, or dumps the memory of this one.
MODULES_LEFT_ALONE = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "subprocess", "resource", "faulthandler", "xml", "yaml"}
CALLS_LEFT_ALONE = {
    *("eval", "exec", "compile", "__import__", "system", "popen", "read_index", "write_index", "setrlimit", "prctl", "extractall"),
    *("run_process", "open_process"),
    *("allow_pickle", "trust_remote_code", "show_locals", "dict_tracebacks", "follow_redirects", "verify", "shell"),
}
# These are called what is left alone and are something else, or are said to be off.
ALLOWED = {"re.compile", "platform.system", "picture.verify", "follow_redirects=False", "verify=_trust() if app is None else True"}

# The command that the settings name is started there, and nothing else is anywhere.
STARTS = {"pipeline/observe/notify.py": {"subprocess", "trio.run_process"}}


def used(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in MODULES_LEFT_ALONE)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES_LEFT_ALONE:
            yield node.module or ""
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
            if name in CALLS_LEFT_ALONE:
                yield ast.unparse(node.func)
            yield from (ast.unparse(given) for given in node.keywords if given.arg in CALLS_LEFT_ALONE)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_data_starts_programs_or_dumps_memory(path: Path) -> None:
    assert set(used(ast.parse(path.read_text()))) <= ALLOWED | STARTS.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from subprocess import run",
        "import xml.sax",
        "eval('1')",
        "import faiss; faiss.read_index('x')",
        "numpy.load(path, allow_pickle=True)",
        "httpx.AsyncClient(verify=False)",
        "httpx.AsyncClient(follow_redirects=True)",
        "os.system('x')",
        "trio.run_process(['x'])",
    ],
)
def test_what_is_left_alone_would_be_seen(code: str) -> None:
    assert set(used(ast.parse(code))) - ALLOWED


def test_the_tests_that_hold_the_promises_are_there() -> None:
    named = set(re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)`", (ROOT / "SECURITY.md").read_text()))
    assert len(named) > 10
    assert {name for name in named if not (ROOT / name).is_file()} == set()
