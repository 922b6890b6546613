"""The examples as they are, each in the folder of a job that has a package ``pipeline`` and a module ``stages`` of its own."""

from __future__ import annotations

import csv
import doctest
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import aio, arrow, embed

if TYPE_CHECKING:
    from types import ModuleType

    from headrace.simulator import World

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPTS = ["a lighthouse at dawn", "two foxes in the snow", "a red cube"]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The folder of a job."""
    (tmp_path / "pipeline").mkdir()
    for name in ("pipeline/__init__.py", "stages.py"):
        (tmp_path / name).write_text('raise SystemExit("the job\'s own module was taken for one of headrace")\n')
    return tmp_path


def run(job: Path, example: str, *arguments: str, given: str = "") -> str:
    # Lies beside the packages of the job, so that these come first.
    script = job / example
    script.write_bytes((EXAMPLES / example).read_bytes())
    command = [sys.executable, str(script), *arguments]
    environ = os.environ | {"HOME": str(job), "PYTHONWARNINGS": "error"}
    ended = subprocess.run(command, cwd=job, env=environ, input=given, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own command
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_a_job_with_packages_of_the_same_names_is_read_no_further_ahead_than_its_bound(tmp_path: Path, api: tuple[str, World]) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text(
        "read = 0\ndef rows():\n    global read\n    for read in range(1, 41):\n        yield f'row {read}'\n"
    )
    settings = {
        "run": {"max_in_flight": 3},
        "provider": {"base_url": api[0]},
        "pool": [{"name": "unlimited"}],
        "key": [{"name": "a", "pool": "unlimited", "env": "JOB_KEY"}],
        "cache": {"policy": "off"},
    }
    (tmp_path / "stages.py").write_text("from headrace import generate, Settings\n")
    (tmp_path / "job.py").write_text(
        "import pipeline, stages\n"
        f"settings = stages.Settings.from_dict({settings!r})\n"
        "for taken, result in enumerate(stages.generate(pipeline.rows(), settings), 1):\n"
        "    print(pipeline.read - taken, result.status)\n"
    )
    command = [sys.executable, "job.py"]
    environ = os.environ | {"JOB_KEY": "sk-canary-any", "NO_PROXY": "127.0.0.1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - our own command
    ahead, statuses = zip(*(line.split() for line in ended.stdout.splitlines()), strict=True)
    assert statuses == ("ok",) * 40
    assert 1 <= max(map(int, ahead)) <= 3


@pytest.mark.parametrize("module", [aio, arrow, embed], ids=lambda module: module.__name__)
def test_docstrings_say_what_happens(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_the_function_in_the_readme_gives_every_row_its_picture(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (EXAMPLES.parent / "README.md").read_text()
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "def with_pictures" in block]
    monkeypatch.chdir(job)
    (job / "headrace.toml").write_text('[run]\nsimulate = true\n[cache]\npolicy = "exact"\n')
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102 - our own words
    found = list(names["with_pictures"]({"caption": prompt, "row": n} for n, prompt in enumerate(PROMPTS)))
    assert sorted((row["row"], row["caption"]) for row in found) == list(enumerate(PROMPTS))
    assert all((job / "headrace-out" / row["picture"]).is_file() for row in found)


def test_rows_of_a_csv_file_get_a_picture_each(job: Path) -> None:
    rows = "sku,prompt\n" + "".join(f"{n},{prompt}\n" for n, prompt in enumerate(PROMPTS))
    found = list(csv.DictReader(run(job, "etl.py", given=rows).splitlines()))
    assert sorted((row["sku"], row["prompt"], row["error"]) for row in found) == [(str(n), prompt, "") for n, prompt in enumerate(PROMPTS)]
    assert all((job / "headrace-out" / row["picture"]).is_file() for row in found)


@pytest.mark.parametrize(("example", "ids"), [("asyncio_job.py", ["row-1", "row-2", "row-3"]), ("trio_stage.py", ["0", "1", "2"])])
def test_event_loops_have_it_as_a_stage(job: Path, example: str, ids: list[str]) -> None:
    found = [line.split() for line in run(job, example, given="\n".join(PROMPTS)).splitlines()]
    assert sorted((name, status) for name, status, _ in found) == [(name, "ok") for name in ids]
    assert all((job / "headrace-out" / path).is_file() for *_, path in found)


def test_a_parquet_file_becomes_one_of_results(job: Path) -> None:
    (job / "headrace.toml").write_text('[run]\nsimulate = true\n[cache]\npolicy = "exact"\n')
    pq.write_table(pa.table({"prompt": PROMPTS, "price": [1.5, None, 3.0]}), job / "prompts.parquet")
    run(job, "batches.py", "prompts.parquet", "results.parquet")
    found = pq.read_table(job / "results.parquet")
    assert found.schema.equals(arrow.SCHEMA)
    assert sorted(found["metadata"].to_pylist()) == sorted(
        f'{{"prompt": "{prompt}", "price": {price}}}' for prompt, price in zip(PROMPTS, ("1.5", "null", "3.0"), strict=True)
    )
    assert all((job / "headrace-out" / images[0]["path"]).is_file() for images in found["images"].to_pylist())
