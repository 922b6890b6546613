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
        time.sleep(0.02)


def nothing_runs() -> bool:
    gc.collect()  # an actor ends when nobody holds it, and Ray holds it in a cycle
    return not actors()


def test_rows_come_back_as_they_were_with_pictures_or_with_reasons(settings: Callable[..., Settings], tmp_path: Path) -> None:
    rows = [{"caption": f"a fox, no. {n % 40}", "row": n} for n in range(50)] + [{"caption": "", "row": 50}]
    drawn = headrace.ray.generate(dataset(rows), settings(), prompt_column="caption")
    found = sorted(drawn.take_all(), key=lambda row: row["headrace_seq"])
    assert [{"caption": row["caption"], "row": row["row"]} for row in found] == rows
    assert [row["headrace_status"] for row in found] == ["ok"] * 50 + ["failed"]
    assert len({row["headrace_images"][0]["sha256"] for row in found[:50]}) == 40
    assert all((tmp_path / "out" / row["headrace_images"][0]["path"]).is_file() for row in found[:50])
    until(nothing_runs)


def test_the_example_writes_a_table_with_pictures(
    url: str, redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "headrace.toml").write_text(
        f"""
        [provider]
        base_url = "{url}"
        [[pool]]
        name = "studio"
        images_per_minute = 6000
        [[key]]
        name = "studio-a"
        pool = "studio"
        env = "ACTORS_KEY"
        [quota]
        store = "{redis.url.reveal()}"
        namespace = "ray-example"
        [cache]
        policy = "exact"
        """
    )
    pq.write_table(pa.table({"sku": [1, 2, 3], "caption": ["a red cup", "a blue cup", " "]}), tmp_path / "prompts.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["on_ray.py", str(tmp_path / "prompts.parquet"), str(tmp_path / "drawn"), "1"])
    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "on_ray.py"))
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sorted(words for words in printed if words[:1] in (["ok"], ["failed"])) == [["failed", "1"], ["ok", "2"]]
    written = pq.read_table(tmp_path / "drawn").sort_by("headrace_seq")
    assert written["caption"].to_pylist() == ["a red cup", "a blue cup", " "]
    found = {row["sku"]: row for row in written.to_pylist()}
    assert {sku: row["headrace_id"] for sku, row in found.items()} == {1: "1", 2: "2", 3: "3"}
    assert all((tmp_path / "headrace-out" / found[sku]["headrace_images"][0]["path"]).is_file() for sku in (1, 2))


def test_whoever_takes_a_few_rows_leaves_nothing_running(settings: Callable[..., Settings], world: World) -> None:
    drawn = headrace.ray.generate(dataset([{"prompt": f"a goat, no. {n}"} for n in range(200)], blocks=1), settings())
    assert len(drawn.take(3)) == 3
    until(nothing_runs)
    assert sum(prompt.startswith("a goat") for prompt in world.bill) < 200


def test_what_an_actor_could_not_use_is_said_before_there_is_one(settings: Callable[..., Settings], cluster: Path) -> None:
    given = dataset([{"prompt": "a fox", "picture": 1}])
    refused: list[tuple[Settings, dict[str, Any], str]] = [
        (
            settings(key=[{"name": "studio-a", "pool": "studio", "env": "NOWHERE"}]),
            {},
            "key studio-a: the environment variable NOWHERE is not set",
        ),
        (settings(quota={"store": "redis://:hush-hush@127.0.0.1:9"}), {}, r"\[quota\] store: no Redis can be used at 127.0.0.1:9"),
        (settings(), {"prompt_column": "promt"}, r"no 'promt' for prompt_column \(did you mean 'prompt'\?\)"),
        (settings(), {"id_column": "sku"}, "no 'sku' for id_column"),
    ]
    for made, more, said in refused:
        with pytest.raises(UsageError, match=said) as raised:
            headrace.ray.generate(given, made, **more)
        assert "\n" not in str(raised.value)
        assert "hush-hush" not in str(raised.value)
    taken = given.rename_columns({"picture": "headrace_status"}).materialize()
    with pytest.raises(UsageError, match="the dataset has a column 'headrace_status' already"):
        headrace.ray.generate(taken, settings())
    logs = [file for file in cluster.rglob("*") if file.is_file()]
    assert logs
    assert not [file for file in logs if b"hush-hush" in file.read_bytes() or b"sk-canary" in file.read_bytes()]


def test_a_killed_actor_loses_no_row(settings: Callable[..., Settings], world: World, redis: RedisServer, tmp_path: Path) -> None:
    shared = settings(
        quota={"store": redis.url.reveal(), "namespace": "ray-killed"},
        cache={"policy": "exact", "shared": str(tmp_path / "shared")},
    )
    rows = [{"prompt": f"a bear, no. {n}", "cache": "bypass" if n % 2 else "use"} for n in range(160)]
    expected = {str(number): row["prompt"] for number, row in enumerate(rows)}
    (tmp_path / "shared").mkdir()
    drawn, found = headrace.ray.generate(dataset(rows, blocks=1), shared, concurrency=2), []
    job = threading.Thread(target=lambda: found.extend(drawn.take_all()), daemon=True)
    job.start()

    def paid() -> Counter[str]:
        return Counter({prompt: times for prompt, times in world.bill.items() if prompt.startswith("a bear")})

    until(lambda: paid().total() >= 60)
    os.kill(min(actors()), signal.SIGKILL)
    job.join(PATIENCE_S)
    assert not job.is_alive()
    assert len(found) == len(rows)
    assert {row["headrace_id"]: row["prompt"] for row in found} == expected
    assert {row["headrace_status"] for row in found} == {"ok"}
    left = [row for row in found if not (tmp_path / "shared" / row["headrace_images"][0]["path"]).is_file()]
    assert not left
    assert set(paid()) == set(expected.values())
    assert paid().total() - len(rows) <= 16  # what one line has in flight
