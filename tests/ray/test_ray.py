"""Datasets through actors of a real Ray."""

from __future__ import annotations

import gc
import os
import runpy
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace
from headrace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.settings import Settings
    from headrace.simulator import World
    from tests.conftest import RedisServer

pytestmark = pytest.mark.usefixtures("cluster")
PATIENCE_S = 30.0


def dataset(rows: list[dict[str, Any]], blocks: int = 2) -> Any:
    import ray.data  # noqa: PLC0415 - the cluster is there now

    return ray.data.from_items(rows, override_num_blocks=blocks)


def actors() -> set[int]:
    """Processes of this process's Ray in which lines run."""

    def parent(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.joinpath("cmdline").read_bytes().startswith(b"ray::MapWorker") and parent(parent(int(folder.name))) == os.getpid():
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def nothing_runs() -> bool:
    gc.collect()  # an actor ends when nobody holds it, and Ray holds it in a cycle
    return not actors()


def test_whoever_takes_a_few_rows_leaves_nothing_running(settings: Callable[..., Settings], world: World) -> None:
    drawn = headrace.ray.generate(dataset([{"prompt": f"a goat, no. {n}"} for n in range(200)], blocks=1), settings())
    assert len(drawn.take(3)) == 3
    until(nothing_runs)
    assert sum(prompt.startswith("a goat") for prompt in world.bill) < 200


def test_what_an_actor_could_not_use_is_said_before_there_is_one(
    settings: Callable[..., Settings], cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dataset([{"prompt": "a fox", "picture": 1}])
    refused: list[tuple[Settings, dict[str, Any], str]] = [
        (
            settings(key=[{"name": "studio-a", "pool": "studio", "env": "NOWHERE"}]),
            {},
            "key studio-a: the environment variable NOWHERE is not set",
        ),
        (settings(quota={"store": "redis://any-one@127.0.0.1:9"}), {}, r"\[quota\] store: no Redis can be used at 127.0.0.1:9"),
        (settings(), {"prompt_column": "promt"}, r"no 'promt' for prompt_column \(did you mean 'prompt'\?\)"),
        (settings(), {"id_column": "sku"}, "no 'sku' for id_column"),
    ]
    for made, more, said in refused:
        with pytest.raises(UsageError, match=said) as raised:
            headrace.ray.generate(given, made, **more)
        assert "\n" not in str(raised.value)
        assert "any-one" not in str(raised.value)
    monkeypatch.setattr("headrace.ray.TRIAL_S", 0.2)
    with pytest.raises(UsageError, match=r"within 0\.2 s; 'ray status' shows whether it has room for resources as asked"):
        headrace.ray.generate(given, settings(), resources={"nowhere": 1}, max_restarts=3)
    taken = given.rename_columns({"picture": "headrace_status"}).materialize()
    with pytest.raises(UsageError, match="the dataset has a column 'headrace_status' already"):
        headrace.ray.generate(taken, settings())
    logs = [file for file in cluster.rglob("*") if file.is_file()]
    assert logs
    assert not [file for file in logs if b"any-one" in file.read_bytes() or b"sk-canary" in file.read_bytes()]


def test_the_example_writes_every_row_once_though_an_actor_is_killed(
    url: str, world: World, redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "headrace.toml").write_text(
        f"""
        [provider]
        base_url = "{url}"
        [[pool]]
        name = "studio"
        [[key]]
        name = "studio-a"
        pool = "studio"
        env = "ACTORS_KEY"
        [quota]
        store = "{redis.url.reveal()}"
        namespace = "ray-killed"
        [cache]
        policy = "exact"
        dir = "cache"
        shared = "shared"
        [run]
        max_in_flight = 16
        """
    )
    (tmp_path / "shared").mkdir()
    captions = [f"a bear, no. {n}" for n in range(160)]
    columns = {"sku": range(200, 361), "caption": [*captions, " "], "cache": ["use", "bypass"] * 80 + ["use"]}
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), tmp_path / "prompts.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["on_ray.py", str(tmp_path / "prompts.parquet"), str(tmp_path / "drawn"), "2"])
    example = str(Path(__file__).parents[2] / "examples" / "on_ray.py")
    job = threading.Thread(target=runpy.run_path, args=(example,), daemon=True)
    job.start()

    def paid() -> Counter[str]:
        return Counter({prompt: times for prompt, times in world.bill.items() if prompt.startswith("a bear")})

    try:
        until(lambda: paid().total() >= 60)
        os.kill(min(actors()), signal.SIGKILL)
    finally:
        job.join(PATIENCE_S)  # Ray must not be shut down under it
    assert not job.is_alive()
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sorted(words for words in printed if words[:1] in (["ok"], ["failed"])) == [["failed", "1"], ["ok", "160"]]
    written = pq.read_table(tmp_path / "drawn").sort_by("headrace_seq")
    assert [written[name].to_pylist() for name in columns] == [list(values) for values in columns.values()]
    assert written["headrace_id"].to_pylist() == [str(sku) for sku in columns["sku"]]
    *drawn, bad = written["headrace_images"].to_pylist()
    assert bad == []
    assert not [images for images in drawn if not (tmp_path / "shared" / images[0]["path"]).is_file()]
    assert set(paid()) == set(captions)
    assert paid().total() - len(captions) <= 16  # what one line has in flight
    until(nothing_runs)
