from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Headrace = Callable[..., CompletedProcess[str]]


@pytest.fixture
def ran(headrace: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Headrace:
    """The command line, in a folder where a run has met with this and that."""
    monkeypatch.setattr("headrace.admission.retry.RetryPolicy.delay", lambda _, attempts, *__: None if attempts > 2 else 0.0)
    monkeypatch.setenv("COLUMNS", "80")
    items = [
        {"prompt": f"{tmp_path} a fox"},
        {"prompt": f"{tmp_path} an owl [[fault:server_error*1]]"},
        {"prompt": f"{tmp_path} a dog [[fault:moderation_blocked]]"},
        {"prompt": f"{tmp_path} \x1b[2J\u202e[bold]" + "wide \u5bbd " * 30, "id": "[red]\x1b[31mx"},
        {"prompt": f"{tmp_path} a cat [[fault:server_error*3]]", "quality": "medium", "id": "cat"},
    ]
    (tmp_path / "in").write_text("".join(f"{json.dumps(item)}\n" for item in items))
    assert headrace("run", "in").returncode == 1
    (tmp_path / "again").write_text(json.dumps({"prompt": f"{tmp_path} a fox", "id": "late"}))
    assert headrace("run", "again").returncode == 0
    return headrace


def test_a_call_that_the_ladder_made_says_which_rung(ran: Headrace) -> None:
    (prompt,) = json.loads(ran("trace", "cat", "--json").stdout)["prompts"]
    assert [call["strategy"] for call in prompt["calls"]] == [*["primary"] * 3, "reduced_quality"]
    calls = [line for line in ran("trace", "cat").stdout.splitlines() if line.startswith("call ")]
    assert [", by reduced_quality" in line for line in calls] == [False, False, False, True]


def test_the_way_of_a_prompt_is_told_in_eighty_columns(ran: Headrace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    told = ran("trace", "1").stdout
    assert [line[:8].strip() for line in told.splitlines() if line[:8].strip()] == [
        "id",
        "prompt",
        "read",
        "runs",
        "call 1",
        "call 2",
        "result",
    ]
    assert "no picture after" in told
    assert "500 server_error" in told
    assert "answered with a picture after" in told
    assert "ok by primary, $0.0" in told
    told = ran("trace", "2").stdout
    assert "400 moderation_blocked" in told
    assert "result  failed, $0.0000" in told
    told = " ".join(ran("trace", "late").stdout.split())
    assert "picture of prompt 0: the same to the letter, similarity 1.0, saved $0.0" in told
    assert "call" not in told
    assert "runs 2 cache" in told


def test_foreign_words_are_cleaned_and_no_markup(ran: Headrace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    told = ran("trace", "[red]\x1b[31mx").stdout
    assert "[red] [31mx" in told
    assert "[bold]wide" in told
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert all(len(line) + line.count("\u5bbd") <= 80 for line in told.splitlines())


def test_what_goes_into_a_file_is_not_broken_into_lines(ran: Headrace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    told = ran("trace", "1").stdout.splitlines()
    assert [line for line in told if line.startswith("        images/") and line.endswith(".png")]
    assert not [line for line in told if line != line.rstrip()]


def test_what_is_not_known_is_said_to_be_so(ran: Headrace) -> None:
    with closing(sqlite3.connect("headrace-out/journal.sqlite")) as db:
        db.execute("update attempt set waited_s = null, waited_for = null, outcome = 'we\x1bird'")
        db.execute("insert into item (identity, line, name) select x'00', 1, '1' from item, item as twice")
        db.commit()
    told = ran("trace", "1").stdout
    assert "\n\n27 more of this id, all of them earlier; --json has all\n" in told
    assert told.count("id      1\n") == 10
    assert len(json.loads(ran("trace", "1", "--json").stdout)["prompts"]) == 37
    with closing(sqlite3.connect("headrace-out/journal.sqlite")) as db:
        db.execute("delete from item where line = 1 and identity = x'00'")
        db.commit()
    told = ran("trace", "1").stdout
    assert "call 1  not known whether it waited, pool default" in told
    assert "we ird after" in told


def test_machines_get_one_object(ran: Headrace) -> None:
    way = json.loads(ran("trace", "1", "headrace-out", "--json").stdout)
    (prompt,) = way["prompts"]
    assert [call["outcome"] for call in prompt["calls"]] == ["unpaid", "paid"]
    assert {"run", "pool", "key", "waited_s", "waited_for", "paused_s", "sent_at", "ended_at", "request_id", "status", "message"} <= prompt[
        "calls"
    ][0].keys()


def test_an_unknown_id_is_one_line_with_the_nearest(ran: Headrace) -> None:
    ended = ran("trace", "12")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "headrace: no prompt in headrace-out has the id '12'; the nearest are 2, 1, 0\n"
    ended = ran("trace", "1", "nowhere")
    assert (ended.returncode, ended.stderr) == (2, "headrace: nowhere holds no journal; name the --out-dir of a run\n")


def test_words_of_prompts_are_logged_only_when_asked(ran: Headrace, tmp_path: Path) -> None:
    (tmp_path / "words").write_text(f"{tmp_path} a canaryword\n{tmp_path} a canaryword [[fault:moderation_blocked]]\n")
    for flags, found in (((), False), (("--log-prompts",), True)):
        ended = ran("run", "words", "--log-level", "debug", "--out-dir", f"out-{found}", *flags)
        assert ended.returncode == 1
        assert ended.stderr.count("result ") >= 2
        assert ("canaryword" in ended.stderr) is found
