"""The examples as they are, each in the folder of a job that has a package ``pipeline`` and a module ``stages`` of its own."""

from __future__ import annotations

import csv
import doctest
import importlib.util
import json
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
from headrace.admission.retry import RetryPolicy

if TYPE_CHECKING:
    from types import ModuleType

    from headrace.simulator import World
    from tests.conftest import RedisServer

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


def test_a_data_frame_gets_a_column_of_pictures(job: Path) -> None:
    (job / "headrace.toml").write_text('[run]\nsimulate = true\n[cache]\npolicy = "exact"\n')
    rows = "sku,caption\n" + "".join(f"{n},{prompt}\n" for n, prompt in enumerate([*PROMPTS, '" "']))
    *drawn, bad = csv.DictReader(run(job, "frames.py", given=rows).splitlines())
    assert [(row["sku"], row["caption"], row["problem"]) for row in drawn] == [(str(n), prompt, "") for n, prompt in enumerate(PROMPTS)]
    assert all((job / "headrace-out" / row["picture"]).is_file() for row in drawn)
    assert (bad["picture"], bad["problem"]) == ("", "item 3: the prompt is empty")


def test_a_task_that_is_tried_again_pays_for_what_was_left_alone(
    job: Path, api: tuple[str, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_KEY", "sk-canary-any")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    delay = RetryPolicy.delay
    monkeypatch.setattr(RetryPolicy, "delay", lambda *args: None if delay(*args) is None else 0.0)
    spec = importlib.util.spec_from_file_location("task", EXAMPLES / "task.py")
    assert spec is not None
    assert spec.loader is not None
    task = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task)
    tables = {
        "provider": {"base_url": api[0]},
        "pool": [{"name": "unlimited"}],
        "key": [{"name": "a", "pool": "unlimited", "env": "JOB_KEY"}],
        "cache": {"policy": "off"},
        "fallback": {"ladder": []},
    }
    good, passing = [f"a task's {prompt}" for prompt in PROMPTS], "a task's cup [[fault:bad_gateway*4]]"
    (job / "in.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in [*good, passing]))
    with pytest.raises(RuntimeError, match=r"1 prompts of .* failed for what may pass"):
        task.draw(str(job / "in.jsonl"), str(job / "out.jsonl"), tables)
    assert [path.name for path in job.glob("out.jsonl*")] == ["out.jsonl.pictures"]
    for _ in range(2):
        assert task.draw(str(job / "in.jsonl"), str(job / "out.jsonl"), tables) == {"ok": 4}
    assert [api[1].bill[prompt] for prompt in [*good, passing]] == [1, 1, 1, 1]


def test_processes_that_deal_out_the_prompts_answer_each_once(job: Path, api: tuple[str, World], redis: RedisServer) -> None:
    (job / "headrace.toml").write_text(
        f"""
        [provider]
        base_url = "{api[0]}"
        [[pool]]
        name = "studio"
        images_per_minute = 6000
        [[key]]
        name = "studio-a"
        pool = "studio"
        env = "JOB_KEY"
        [quota]
        store = "{redis.url.reveal()}"
        namespace = "split"
        [cache]
        policy = "off"
        """
    )
    prompts = [{"id": f"p{n}", "prompt": f"a split fox, no. {n}"} for n in range(9)]
    (job / "my prompts.jsonl").write_bytes("\r\n".join(map(json.dumps, prompts)).encode())
    environ = os.environ | {
        "HOME": str(job),
        "JOB_KEY": "sk-canary-any",
        "NO_PROXY": "127.0.0.1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["sh", str(EXAMPLES / "split.sh"), "my prompts.jsonl", "my results.jsonl"]
    subprocess.run([*command, "2"], cwd=job, env=environ, capture_output=True, timeout=60, check=True)  # noqa: S603 - our own command
    found = [json.loads(line) for line in (job / "my results.jsonl").read_text().splitlines()]
    other = subprocess.run([*command, "3"], cwd=job, env=environ, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own command
    assert (other.returncode, other.stderr) == (
        2,
        "my results.jsonl.parts was made for 2 processes: go on with as many, or remove it\n",
    )
    assert sorted((line["id"], line["status"]) for line in found) == [(prompt["id"], "ok") for prompt in prompts]
    assert [api[1].bill[prompt["prompt"]] for prompt in prompts] == [1] * 9
