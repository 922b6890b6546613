from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Headrace = Callable[..., CompletedProcess[str]]

NASTY = {"prompt": "fox", "model": "\x1b[2J [bold]x[/bold] \u202e"}


@pytest.fixture(autouse=True)
def _no_encoder(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[[pool]]\nname = 'default'\ntier = 5\n[cache]\npolicy = 'canonical'\n")


@pytest.fixture
def keyless(headrace: Headrace, environ: dict[str, str], tmp_path: Path) -> Headrace:
    """The command line without a key, on ``in.jsonl`` with three prompts of which two ask for the same."""
    del environ["OPENAI_API_KEY"]
    (tmp_path / "in.jsonl").write_text('"a red fox"\n"A red fox!"\n"a blue fox"\n')
    return headrace


def report(ended: CompletedProcess[str]) -> dict[str, Any]:
    assert len(ended.stdout.splitlines()) == 1, ended
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_an_estimate_needs_no_key_and_leaves_nothing_behind(keyless: Headrace, tmp_path: Path) -> None:
    ended = keyless("estimate", "in.jsonl", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = report(ended)
    assert (found["prompts"], found["paid"]["prompts"], found["policy"]) == (3, 2, "canonical")
    assert [row["name"] for row in found["profiles"]] == ["speed", "balanced", "quality"]
    assert {path.name for path in tmp_path.iterdir()} == {"headrace.toml", "in.jsonl"}


def test_options_are_those_of_the_run(keyless: Headrace) -> None:
    found = report(keyless("estimate", "in.jsonl", "--json", "--quality", "high", "--n", "2", "--cache", "off", "--max-in-flight", "1"))
    assert (found["paid"]["images"], found["paid"]["output_tokens"]) == (6, 6 * 1756)
    assert found["time"]["binding"][0]["cause"] == "max_in_flight"
    assert all("high" not in (row["quality"], row["name"]) or row["quality"] == "high" for row in found["profiles"])
    assert {row["quality"] for row in found["profiles"]} == {"high"}  # an option wins over a profile
    assert report(keyless("estimate", "in.jsonl", "--json", "--profile", "quality"))["paid"]["output_tokens"] == 2 * 1756


def test_what_a_run_has_kept_is_free_by_the_cache(keyless: Headrace, tmp_path: Path) -> None:
    assert keyless("run", "in.jsonl", "--simulate", "--out-dir", "out").returncode == 0
    lines = ("a red fox", "A red fox!", "a blue fox", "the blue fox", "a green fox")
    # With ids of their own they are not what the run has done.
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"prompt": words, "id": f"new {words}"}) + "\n" for words in lines))
    found = report(keyless("estimate", "in.jsonl", "--simulate", "--out-dir", "out", "--json"))
    assert found["paid"]["prompts"] == 1
    assert {free["tier"]: (free["on_disk"], free["in_file"]) for free in found["free"]} == {"exact": (2, 0), "canonical": (2, 0)}
    assert found["finished"] == 0
    # Answers are of use for what they were made with.
    assert report(keyless("estimate", "in.jsonl", "--simulate", "--out-dir", "out", "--json", "--quality", "high"))["paid"]["prompts"] == 3


def test_what_a_run_has_finished_is_not_paid_for_again(keyless: Headrace, tmp_path: Path) -> None:
    again = ("estimate", "in.jsonl", "--simulate", "--out-dir", "out", "--cache", "off", "--json")
    assert keyless("run", "in.jsonl", "--simulate", "--out-dir", "out").returncode == 0
    found = report(keyless(*again, "--max-cost", "0.001"))
    assert (found["prompts"], found["finished"], found["paid"]["prompts"], found["notes"][:-1]) == (3, 3, 0, found["notes"][1:])
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write('"a blue fox"\n"a green fox"\n')
    found = report(keyless(*again, "--max-cost", "0.001"))
    # The second of two equal prompts is another one.
    assert (found["prompts"], found["finished"], found["paid"]["prompts"], found["without_cache"]["prompts"]) == (5, 3, 2, 2)
    assert report(keyless(*again, "--quality", "high"))["paid"]["prompts"] == 5
    next((tmp_path / "out" / "images").rglob("*.png")).unlink()
    assert report(keyless(*again))["finished"] < 3


def test_a_budget_that_is_too_small_is_said(keyless: Headrace) -> None:
    assert keyless("run", "in.jsonl", "--simulate", "--out-dir", "out", "--quality", "low", "--max-cost", "0.008").returncode == 3
    again = ("estimate", "in.jsonl", "--simulate", "--out-dir", "out", "--quality", "high", "--json")
    cost = report(keyless(*again))["paid"]["cost_usd"]
    notes = report(keyless(*again, "--max-cost", str(cost)))["notes"]
    assert any("of which earlier runs spent $0.00592: a run stops" in note for note in notes), notes
    assert not any("budget" in note for note in report(keyless(*again, "--max-cost", str(cost + 1)))["notes"])


def test_tables_show_it_and_foreign_text_is_harmless(keyless: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    (tmp_path / "in.jsonl").write_text(
        '"fox"\n' + json.dumps(NASTY) + "\n" + json.dumps({"prompt": "x", "\x1b[2J": 1}) + "\n" + "\n".join("{}" * 12)
    )
    ended = keyless("estimate", "in.jsonl", "--format", "jsonl")
    assert ended.returncode == 1
    assert not any(character in ended.stdout + ended.stderr for character in "\x1b\u202e")
    assert [
        word
        for word in ("2, and", "line 3", "what each pool does", "balanced", "gpt-image-2.5-flare", "unknown")
        if word not in ended.stdout
    ] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl cannot be read"),
        (("in.jsonl", "--tier", "9"), "there is no tier '9'"),
        (("in.jsonl", "--cache", "some"), "--cache"),
        (("in.jsonl", "-c", "none.toml"), "none.toml cannot be read"),
    ],
)
def test_a_mistake_is_one_line(keyless: Headrace, arguments: tuple[str, ...], reason: str) -> None:
    ended = keyless("estimate", *arguments)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert reason in ended.stderr
