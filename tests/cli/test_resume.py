from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from headrace.chaos import POINTS
from headrace.journal.database import FILE, alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from headrace.simulator import World

    Headrace = Callable[..., CompletedProcess[str]]
    Lines = Callable[[str], list[dict[str, Any]]]

COUNT = 8


@pytest.fixture
def prompts(tmp_path: Path) -> list[str]:
    """So many prompts, in the file ``in``."""
    texts = [f"{tmp_path} cat {n}" for n in range(COUNT)]
    (tmp_path / "in").write_text("".join(f"{text}\n" for text in texts))
    return texts


def statuses(headrace: Headrace) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(headrace("status", "--json").stdout)
    return told


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("time", [2])
def test_a_run_that_is_killed_anywhere_goes_on_and_the_file_has_every_line_once(
    started: Callable[..., Any],
    headrace: Headrace,
    lines_of: Lines,
    environ: dict[str, str],
    world: World,
    tmp_path: Path,
    prompts: list[str],
    point: str,
    time: int,
) -> None:
    arguments = ("run", "in", "-o", "out.jsonl", "--cache", "off", "--max-in-flight", "3")
    environ["HEADRACE_CHAOS"] = f"{point}:{time}"
    with started(*arguments) as process:
        process.communicate(timeout=20)
        assert process.returncode == -9
    books = statuses(headrace)
    paid_before = {text: world.bill[text] for text in prompts}
    ended = headrace(*arguments)
    assert ended.returncode == 0, ended.stderr
    lines = lines_of((tmp_path / "out.jsonl").read_text())
    assert sorted(line["seq"] for line in lines) == list(range(COUNT))
    assert all(line["status"] == "ok" and (tmp_path / "headrace-out" / line["images"][0]["path"]).is_file() for line in lines)
    # What is paid for again was in doubt, and was named.
    doubtful = {call["id"] for call in books["in_doubt"]}
    assert len(doubtful) <= 3
    again = {str(seq) for seq, text in enumerate(prompts) if world.bill[text] > 1}
    assert again <= doubtful
    assert sum(world.bill[text] for text in prompts) <= COUNT + len(doubtful)
    assert all(world.bill[text] == 1 for seq, text in enumerate(prompts) if str(seq) not in doubtful and paid_before[text])
    if doubtful:
        assert "may have been paid, and were made again: headrace status" in ended.stderr
        assert {call["id"] for call in statuses(headrace)["perhaps_paid"]} == doubtful


@pytest.mark.parametrize("change", ["another quality", "another input", "without its pictures", "another file in between"])
def test_whatever_changed_since_the_kill_the_file_has_one_line_a_prompt(
    started: Callable[..., Any],
    headrace: Headrace,
    lines_of: Lines,
    environ: dict[str, str],
    tmp_path: Path,
    prompts: list[str],
    change: str,
) -> None:
    arguments = ("run", "in", "-o", "out.jsonl", "--cache", "off", "--max-in-flight", "2")
    environ["HEADRACE_CHAOS"] = "line_recorded:4"
    with started(*arguments) as process:
        process.communicate(timeout=20)
    assert (tmp_path / "out.jsonl").read_bytes()
    del environ["HEADRACE_CHAOS"]
    if change == "another input":
        prompts = [f"{text} with a hat" for text in prompts]
        (tmp_path / "in").write_text("".join(f"{text}\n" for text in prompts))
    elif change == "without its pictures":
        shutil.rmtree(tmp_path / "headrace-out" / "images")
    elif change == "another file in between":
        headrace("run", "in", "-o", "other.jsonl", "--cache", "off")
    ended = headrace(*arguments, *(("--quality", "medium") if change == "another quality" else ()))
    assert ended.returncode == 0, ended.stderr
    lines = lines_of((tmp_path / "out.jsonl").read_text())
    assert sorted(line["prompt"] for line in lines) == prompts
    assert {line["quality"] for line in lines} == {"medium" if change == "another quality" else "low"}
    assert all((tmp_path / "headrace-out" / line["images"][0]["path"]).is_file() for line in lines)


def test_names_that_are_no_utf_8_are_names_too(shell: Callable[[str], CompletedProcess[str]], prompts: list[str]) -> None:
    assert prompts
    ended = shell("mv in $'in\\xff'; $HEADRACE run $'in\\xff' -o $'out\\xff' && wc -l < $'out\\xff'")
    assert (ended.returncode, ended.stdout.strip()) == (0, str(COUNT))


def test_the_journal_is_no_place_for_results(headrace: Headrace, tmp_path: Path, prompts: list[str]) -> None:
    assert prompts
    headrace("run", "in")
    before = (tmp_path / "headrace-out" / FILE).read_bytes()
    ended = headrace("run", "in", "-o", f"headrace-out/{FILE}")
    assert ended.returncode == 2
    assert ended.stderr == f"headrace: headrace-out/{FILE} is the journal; choose another file for the results\n"
    assert (tmp_path / "headrace-out" / FILE).read_bytes() == before


def test_what_is_in_doubt_is_held_where_that_is_asked_for_and_nothing_is_paid_twice(
    started: Callable[..., Any], headrace: Headrace, environ: dict[str, str], world: World, tmp_path: Path, prompts: list[str]
) -> None:
    arguments = ("run", "in", "-o", "out.jsonl", "--cache", "off", "--max-in-flight", "3")
    environ["HEADRACE_CHAOS"] = "answered:3"
    with started(*arguments) as process:
        process.communicate(timeout=20)
    doubtful = {call["id"] for call in statuses(headrace)["in_doubt"]}
    assert doubtful
    held = headrace(*arguments, "--in-doubt", "hold")
    assert held.returncode == 1
    assert "are left alone; --in-doubt retry asks again" in held.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == COUNT
    assert {line["id"] for line in lines if line["status"] == "skipped"} == doubtful
    assert {line["error"]["kind"] for line in lines if line["error"]} == {"in_doubt"}
    assert max(world.bill[text] for text in prompts) == 1
    assert headrace(*arguments).returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(line["seq"] for line in lines) == list(range(COUNT))
    assert {line["status"] for line in lines} == {"ok"}


def test_what_failed_and_may_pass_is_tried_again_and_its_line_takes_the_place_of_the_old_one(
    headrace: Headrace, world: World, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text(f"{tmp_path} good\n\n{tmp_path} [[fault:server_error*4]]\n")
    config = "[[pool]]\nname = 'default'\n[fallback]\nladder = []\n"
    (tmp_path / "headrace.toml").write_text(config)
    first = headrace("run", "in", "-o", "out.jsonl")
    assert first.returncode == 1
    second = headrace("run", "in", "-o", "out.jsonl")
    assert second.returncode == 0
    assert [json.loads(line)["status"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["ok", "ok"]
    assert world.bill[f"{tmp_path} good"] == 1
    assert "1 of them were finished by earlier runs" in second.stderr


def test_the_same_input_piped_again_in_another_order_and_with_more_lines_pays_for_what_is_new_alone(
    shell: Callable[[str], CompletedProcess[str]], lines_of: Lines, world: World, tmp_path: Path, prompts: list[str]
) -> None:
    first = shell("cat in | $HEADRACE run --cache off")
    assert first.returncode == 0
    again = shell(f"(tac in; echo '{tmp_path} new'; head -1 in) | $HEADRACE run --cache off")
    lines = lines_of(again.stdout)
    assert [world.bill[text] for text in prompts] == [2] + [1] * (COUNT - 1)  # one line more asks for the first
    assert world.bill[f"{tmp_path} new"] == 1
    assert {line["seq"]: line["prompt"] for line in lines} == dict(enumerate([*reversed(prompts), f"{tmp_path} new", prompts[0]]))


def test_two_jobs_in_one_folder_keep_out_of_each_others_files(
    headrace: Headrace, lines_of: Lines, tmp_path: Path, prompts: list[str]
) -> None:
    (tmp_path / "other").write_text(f"{tmp_path} dog\n{prompts[0]}\n")
    headrace("run", "in", "-o", "a.jsonl")
    headrace("run", "other", "-o", "b.jsonl")
    assert len(lines_of((tmp_path / "a.jsonl").read_text())) == COUNT
    assert sorted(line["prompt"] for line in lines_of((tmp_path / "b.jsonl").read_text())) == sorted([f"{tmp_path} dog", prompts[0]])
    # Another job's results take the place of what was there.
    headrace("run", "other", "-o", "a.jsonl")
    assert len(lines_of((tmp_path / "a.jsonl").read_text())) == 2


def test_a_file_that_somebody_removed_is_written_again_without_a_call(
    headrace: Headrace, lines_of: Lines, world: World, tmp_path: Path, prompts: list[str]
) -> None:
    headrace("run", "in", "-o", "out.jsonl", "--cache", "off")
    before = sorted(lines_of((tmp_path / "out.jsonl").read_text()), key=str)
    (tmp_path / "out.jsonl").unlink()
    headrace("run", "in", "-o", "out.jsonl", "--cache", "off")
    assert sorted(lines_of((tmp_path / "out.jsonl").read_text()), key=str) == before
    assert [world.bill[text] for text in prompts] == [1] * COUNT


def test_the_budget_is_that_of_the_job_and_not_of_one_run(headrace: Headrace, lines_of: Lines, world: World, prompts: list[str]) -> None:
    arguments = ("run", "in", "--cache", "off", "--max-in-flight", "1")
    price = lines_of(headrace(*arguments, "--max-cost", "0.014").stdout)[0]["cost_usd"]
    paid = sum(world.bill[text] for text in prompts)
    assert 0 < paid * price <= 0.014
    assert paid < COUNT
    again = headrace(*arguments, "--max-cost", "0.014")
    assert again.returncode == 3
    assert sum(world.bill[text] for text in prompts) == paid
    assert headrace(*arguments, "--max-cost", "1").returncode == 0
    assert [world.bill[text] for text in prompts] == [1] * COUNT


def test_a_second_run_in_the_same_folder_is_refused_in_one_line(headrace: Headrace, tmp_path: Path, prompts: list[str]) -> None:
    assert prompts
    (tmp_path / "headrace-out").mkdir()
    with alone(tmp_path / "headrace-out"):
        ended = headrace("run", "in")
    assert ended.returncode == 2
    assert (
        ended.stderr.splitlines()[-1]
        == f"headrace: process {os.getpid()} works in headrace-out; wait for its end, or choose another --out-dir"
    )
    assert ended.stdout == ""


def test_a_simulation_is_not_taken_for_the_real_thing(headrace: Headrace, world: World, prompts: list[str]) -> None:
    assert headrace("run", "in", "--simulate", "--cache", "off").returncode == 0
    assert [world.bill[text] for text in prompts] == [0] * COUNT
    assert headrace("run", "in", "--cache", "off").returncode == 0
    assert [world.bill[text] for text in prompts] == [1] * COUNT


def test_the_status_of_a_folder_is_told_for_people_and_for_machines(headrace: Headrace, tmp_path: Path, prompts: list[str]) -> None:
    assert prompts
    (tmp_path / "in").write_text((tmp_path / "in").read_text() + f"{tmp_path} [[fault:moderation_blocked]]\n")
    headrace("run", "in")
    told = headrace("status")
    assert told.returncode == 0
    assert told.stdout.splitlines()[0] == "headrace-out: no run is at work"
    assert told.stdout.splitlines()[1] == f"prompts: {COUNT + 1} ({COUNT} ok, 1 failed, 0 skipped, 0 unfinished), pictures: {COUNT}"
    assert statuses(headrace)["attempts"] == {"paid": COUNT, "spoilt": 0, "unpaid": 1, "unknown": 0, "open": 0}
    nothing = headrace("status", "nowhere")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert nothing.stderr == "headrace: nowhere holds no journal; name the --out-dir of a run\n"


def test_a_file_that_is_no_journal_is_refused_and_starting_over_gets_out_of_it(
    headrace: Headrace, tmp_path: Path, prompts: list[str]
) -> None:
    assert prompts
    (tmp_path / "headrace-out").mkdir()
    (tmp_path / "headrace-out" / FILE).write_text("notes" * 100)
    ended = headrace("run", "in")
    assert ended.returncode == 2
    assert "is no journal" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert headrace("run", "in", "--fresh").returncode == 0
