from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Command = Callable[..., CompletedProcess[str]]


def prompts(folder: Path, *words: str) -> str:
    path = folder / "prompts.txt"
    path.write_text("".join(f"{each}\n" for each in words))
    return str(path)


def test_report_makes_a_page_and_says_where(headrace: Command, tmp_path: Path) -> None:
    headrace("run", prompts(tmp_path, "a fox", "a heron"), "--out-dir", "out", "-o", "out.jsonl")
    ended = headrace("report", "out")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "out/report.html\n", "")
    ended = headrace("report", "out", "-o", "page.html")
    assert (ended.returncode, ended.stdout) == (0, "page.html\n")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "Interrupted." not in page


def test_run_with_report_makes_one_also_of_a_run_that_failed(headrace: Command, tmp_path: Path) -> None:
    ended = headrace(
        "run", prompts(tmp_path, "a fox", "a bomb [[fault:moderation_blocked]]"), "--out-dir", "out", "-o", "out.jsonl", "--report"
    )
    assert ended.returncode == 1
    assert "headrace: report: out/report.html" in ended.stderr
    assert "moderation blocked" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_run_that_is_stopped_by_its_budget_has_its_report(headrace: Command, tmp_path: Path) -> None:
    ended = headrace("run", prompts(tmp_path, "a fox"), "--out-dir", "out", "-o", "out.jsonl", "--max-cost", "0.000001", "--report")
    assert ended.returncode == 3
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_run_that_could_not_start_has_none(headrace: Command, tmp_path: Path) -> None:
    ended = headrace("run", "no such file", "--out-dir", "out", "--report")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_report_that_cannot_be_made_changes_nothing_about_how_the_run_ended(headrace: Command, tmp_path: Path) -> None:
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    ended = headrace("run", prompts(tmp_path, "a fox"), "--out-dir", "out", "-o", "out.jsonl", "--report")
    assert ended.returncode == 0
    assert "headrace: no report: out/report.html cannot be the report" in ended.stderr


def test_report_and_roi_of_a_folder_without_a_run_are_one_line(headrace: Command) -> None:
    for command in ("report", "roi"):
        ended = headrace(command, "nowhere")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == "headrace: nowhere holds no journal; name the --out-dir of a run\n"


def test_roi_shows_the_formula_and_json_has_its_numbers(headrace: Command, tmp_path: Path) -> None:
    headrace("run", prompts(tmp_path, "a fox", "a fox", "a heron"), "--out-dir", "out", "-o", "out.jsonl")
    ended = headrace("roi", "out", "--volume", "3000", "--setup-cost", "100")
    assert ended.returncode == 0
    assert "30 days x 3,000 prompts x 3/3 x $" in ended.stdout
    found = json.loads(headrace("roi", "out", "--volume", "3000", "--setup-cost", "100", "--json").stdout)
    assert (found["volume"], found["setup_usd"], found["measured"]["simulated"]) == (3000, 100, None)
    assert found["saving_usd"] == found["without_usd"] - found["with_usd"] > 0
    assert found["payback_months"] == 100 / found["saving_usd"]


def test_roi_refuses_a_volume_that_is_none(headrace: Command) -> None:
    ended = headrace("roi", "nowhere", "--volume", "-3")
    assert ended.returncode == 2
    assert ended.stderr.startswith("headrace: --volume")
