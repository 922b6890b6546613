from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.arrow import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from headrace.simulator import World

    Headrace = Callable[..., CompletedProcess[str]]
    Lines = Callable[[str], list[dict[str, Any]]]

COUNT = 8


def by_seq(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(lines, key=lambda line: int(line["seq"]))


def table_of(tmp_path: Path, name: str, rows: int = COUNT) -> list[str]:
    """A Parquet file, and its prompts."""
    prompts = [f"{tmp_path} cat {n}" for n in range(rows)]
    pq.write_table(pa.table({"caption": prompts, "id": [f"row-{n}" for n in range(rows)], "shelf": list(range(rows))}), tmp_path / name)
    return prompts


def test_a_table_by_the_name_of_its_file(headrace: Headrace, lines_of: Lines, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(f'\ufeffsku,caption,price\r\n07,"{tmp_path} a fox,\r\nred",1.50\r\n8,,2\r\n9,a,b,c\r\n'.encode())
    ended = headrace("run", "in.csv", "--prompt-column", "caption", "--id-column", "sku")
    assert ended.returncode == 1
    fox, empty, long = by_seq(lines_of(ended.stdout))
    assert (fox["id"], fox["prompt"], fox["metadata"], fox["status"]) == ("07", f"{tmp_path} a fox,\nred", {"price": "1.50"}, "ok")
    assert (empty["id"], empty["metadata"], empty["error"]["message"]) == ("8", {"price": "2"}, "line 4: the prompt is empty")
    assert long["error"]["message"].startswith("line 5: it has 4 fields, the header has 3; ")
    assert ended.stderr.startswith("headrace: columns: id is 'sku', prompt is 'caption'; into metadata: price\n")


def test_a_table_through_a_pipe(shell: Callable[[str], CompletedProcess[str]], lines_of: Lines, tmp_path: Path) -> None:
    ended = shell(f"printf 'prompt\\tn\\n{tmp_path} a fox\\t2\\n' | $HEADRACE run --format tsv --cache exact")
    assert ended.returncode == 0, ended.stderr
    (line,) = lines_of(ended.stdout)
    assert (line["prompt"], len(line["images"])) == (f"{tmp_path} a fox", 2)


def test_what_says_how_lines_are_read_wins_over_the_name(headrace: Headrace, lines_of: Lines, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"{tmp_path} a fox, red\n")
    (line,) = lines_of(headrace("run", "in.csv", "--format", "text").stdout)
    assert line["prompt"] == f"{tmp_path} a fox, red"


def test_from_parquet_to_parquet(headrace: Headrace, tmp_path: Path, world: World) -> None:
    prompts = table_of(tmp_path, "in.parquet")
    arguments = ("run", "in.parquet", "--prompt-column", "caption", "-o", "out.parquet", "--cache", "off", "--ordered")
    ended = headrace(*arguments)
    assert (ended.returncode, ended.stdout) == (0, "")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.select(["prompt", "id", "status"]).to_pylist() == [
        {"prompt": prompt, "id": f"row-{n}", "status": "ok"} for n, prompt in enumerate(prompts)
    ]
    assert [json.loads(each) for each in table["metadata"].to_pylist()] == [{"shelf": n} for n in range(COUNT)]
    images = [path for pictures in table["images"].to_pylist() for path in pictures]
    assert all((tmp_path / "headrace-out" / image["path"]).is_file() for image in images)
    assert headrace(*arguments).returncode == 0
    assert pq.read_table(tmp_path / "out.parquet").equals(table)
    assert [world.bill[prompt] for prompt in prompts] == [1] * COUNT


def test_all_of_pyarrow_takes_its_memory_from_the_system(environ: dict[str, str]) -> None:
    looked = "import sys; from headrace.cli.main import main; sys.exit = print; main(); import pyarrow; "
    looked += "print(pyarrow.default_memory_pool().backend_name)"
    command = [sys.executable, "-c", looked, "--version"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    assert ended.stdout.split()[-1] == "system"


@pytest.mark.parametrize("point", ["picture_written", "finished"])
def test_a_killed_run_leaves_no_broken_table_and_the_next_one_has_every_row_once(
    started: Callable[..., Any], headrace: Headrace, environ: dict[str, str], tmp_path: Path, world: World, point: str
) -> None:
    prompts = table_of(tmp_path, "in.parquet")
    arguments = ("run", "in.parquet", "--prompt-column", "caption", "-o", "out.parquet", "--cache", "off", "--max-in-flight", "3")
    environ["HEADRACE_CHAOS"] = f"{point}:4"
    with started(*arguments) as process:
        process.communicate(timeout=20)
        assert process.returncode == -9
    assert not (tmp_path / "out.parquet").exists()
    paid = {prompt for prompt in prompts if world.bill[prompt]}
    ended = headrace(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert sorted(pq.read_table(tmp_path / "out.parquet")["seq"].to_pylist()) == list(range(COUNT))
    assert paid
    assert sum(world.bill[prompt] for prompt in prompts) <= COUNT + 3
    assert [path.name for path in tmp_path.glob("*out.parquet*")] == ["out.parquet"]


def test_a_run_that_is_stopped_leaves_a_whole_table_of_what_came_out(
    started: Callable[..., Any], until: Callable[[Callable[[], bool]], None], tmp_path: Path, world: World
) -> None:
    with started("run", "-o", "out.parquet", "--cache", "off") as process:
        assert process.stdin is not None
        process.stdin.write(f"{tmp_path} a fox\n")
        process.stdin.flush()
        until(lambda: world.bill[f"{tmp_path} a fox"] == 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert pq.read_table(tmp_path / "out.parquet")["status"].to_pylist() == ["ok"]


@pytest.mark.parametrize("command", [("run",), ("estimate",), ("cache", "audit")])
def test_a_column_that_is_not_there_is_one_line_with_the_nearest(headrace: Headrace, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "in.csv").write_text("caption,id\n")
    ended = headrace(*command, "in.csv", "--prompt-column", "captoin")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "headrace: in.csv has the columns caption, id, and no 'captoin' for --prompt-column (did you mean 'caption'?)\n"
    assert not (tmp_path / "headrace-out").exists()


def test_columns_are_for_tables(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a fox"}\n')
    ended = headrace("run", "in.jsonl", "--id-column", "sku")
    assert ended.returncode == 2
    assert ended.stderr == "headrace: --id-column is for tables, and in.jsonl is read line by line; say --format csv, tsv or parquet\n"


def test_an_empty_table_is_no_prompts_and_an_empty_parquet_file_is_none(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "in.csv").touch()
    (tmp_path / "in.parquet").touch()
    ended = headrace("run", "in.csv")
    assert (ended.returncode, ended.stdout) == (0, "")
    ended = headrace("run", "in.parquet")
    assert ended.returncode == 2
    assert ended.stderr.startswith("headrace: in.parquet is no Parquet file that can be read: ")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("in.parquet",), ("in.txt", "-o", "out.parquet")])
def test_without_pyarrow_one_line_says_what_to_install(
    headrace: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    table_of(tmp_path, "in.parquet")
    (tmp_path / "in.txt").write_text("a fox\n")
    for name in ("headrace.parquet", "headrace.parquet_output"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(name, raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ended = headrace("run", *arguments)
    assert ended.returncode == 2
    assert ended.stderr == "headrace: Parquet is read and written by pyarrow; pip install 'headrace[parquet]'\n"


def test_an_estimate_and_an_audit_read_what_a_run_reads(headrace: Headrace, tmp_path: Path) -> None:
    table_of(tmp_path, "in.parquet")
    (tmp_path / "in.csv").write_text('caption\na fox\na fox\n"a\n')
    found = json.loads(headrace("estimate", "in.parquet", "--prompt-column", "caption", "--cache", "exact", "--json").stdout)
    assert (found["prompts"], found["bad"]) == (COUNT, 0)
    found = json.loads(headrace("estimate", "in.csv", "--prompt-column", "caption", "--cache", "exact", "--json").stdout)
    assert (found["prompts"], found["free"][0]["in_file"]) == (2, 1)
    assert found["bad_lines"] == [{"line": 4, "message": "a quote that it opens is not closed up to line 4"}]
    (tmp_path / "headrace.toml").write_text("[cache]\npolicy = 'exact'\n")
    ended = headrace("cache", "audit", "in.csv", "--prompt-column", "caption")
    assert ended.returncode == 0
    assert ended.stderr == "headrace: line 4: a quote that it opens is not closed up to line 4\n"
    assert "50.0%" in ended.stdout


def test_pictures_are_copied_to_a_url_before_their_lines_are_written(
    started: Callable[..., Any], headrace: Headrace, lines_of: Lines, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("".join(f"{tmp_path} cat {n}\n" for n in range(COUNT)))
    arguments = ("run", "in", "-o", "out.jsonl", "--cache", "off", "--max-in-flight", "2")
    copies = ("--pictures-to", f"file://{tmp_path}/shared")
    # What was finished and written without copies is copied by the first run that is to.
    environ["HEADRACE_CHAOS"] = "line_recorded:2"
    with started(*arguments) as process:
        process.communicate(timeout=20)
    environ["HEADRACE_CHAOS"] = "line_written:3"
    with started(*arguments, *copies) as process:
        process.communicate(timeout=20)
        assert process.returncode == -9
    *whole, _ = (tmp_path / "out.jsonl").read_text().split("\n")
    assert whole
    for line in map(json.loads, whole):
        assert (tmp_path / "shared" / line["images"][0]["path"]).stat().st_size == line["images"][0]["bytes"]
    ended = headrace(*arguments, *copies)
    assert ended.returncode == 0, ended.stderr
    lines = lines_of((tmp_path / "out.jsonl").read_text())
    assert sorted(line["seq"] for line in lines) == list(range(COUNT))
    for line in lines:
        path = line["images"][0]["path"]
        assert (tmp_path / "shared" / path).read_bytes() == (tmp_path / "headrace-out" / path).read_bytes()


def test_without_fsspec_one_line_says_what_to_install(headrace: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").write_text("a fox\n")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    ended = headrace("run", "in", "--pictures-to", "s3://nowhere")
    assert (ended.returncode, ended.stderr) == (2, "headrace: --pictures-to goes by fsspec; pip install 'headrace[fsspec]'\n")


def test_pictures_on_s3(headrace: Headrace, lines_of: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="pip install --group s3")
    server = pytest.importorskip("moto.server", reason="pip install --group s3").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    boto3 = pytest.importorskip("boto3")
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="shots")
        (tmp_path / "in").write_text("".join(f"{tmp_path} cat {n}\n" for n in range(COUNT)))
        first = headrace("run", "in", "--cache", "off", "--pictures-to", "s3://shots/run")
        assert first.returncode == 0, first.stderr
        pictures = {f"run/{line['images'][0]['path']}": line["images"][0]["bytes"] for line in lines_of(first.stdout)}
        assert {each["Key"]: each["Size"] for each in s3.list_objects_v2(Bucket="shots")["Contents"]} == pictures
        assert headrace("run", "in", "--cache", "off", "--pictures-to", "s3://shots/run").returncode == 0
        ended = headrace("run", "in", "--pictures-to", "s3://missing/run")
        assert (ended.returncode, ended.stderr) == (
            74,
            "headrace: s3://missing/run cannot be written: The specified bucket does not exist\n",
        )
    finally:
        server.stop()


def test_a_killed_run_leaves_whole_shards_and_the_next_one_has_every_picture_once(
    started: Callable[..., Any], headrace: Headrace, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("".join(f"{tmp_path} cat {n}\n" for n in range(COUNT)))
    (tmp_path / "set").mkdir()
    arguments = ("run", "in", "-o", "out.jsonl", "--cache", "off", "--max-in-flight", "2", "--shards", "set/p-%06d.tar")
    environ["HEADRACE_CHAOS"] = "line_recorded:3"
    with started(*arguments) as process:
        process.communicate(timeout=20)
        assert process.returncode == -9
    assert [path.name for path in tmp_path.glob("set/p-*")] == []
    ended = headrace(*arguments)
    assert ended.returncode == 0, ended.stderr
    with tarfile.open(tmp_path / "set" / "p-000000.tar") as shard:
        assert sorted(shard.getnames()) == sorted(f"{seq:09d}.{ending}" for seq in range(COUNT) for ending in ("json", "png"))
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["p-000000.tar"]


def test_a_mistake_in_another_output_leaves_the_shards_of_an_earlier_run(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a fox\n")
    earlier = tmp_path / "p-000000.tar"
    earlier.touch()
    for output in ("missing/out.jsonl", "missing/out.parquet"):
        ended = headrace("run", "in", "-o", output, "--shards", "p-%06d.tar")
        assert ended.returncode == 74
        assert ended.stderr == f"headrace: {output} cannot be written: No such file or directory\n"
        assert earlier.exists()
