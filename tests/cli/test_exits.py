from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from headrace.simulator import World

USAGE, OUTPUT = 2, 74


@pytest.fixture
def fox(tmp_path: Path) -> str:
    """A file with one prompt that no other test has."""
    (tmp_path / "fox.txt").write_text(f"a fox in {tmp_path}\n")
    return "fox.txt"


def told(ended: CompletedProcess[str]) -> str:
    """The one line that it said."""
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("headrace: ")
    return ended.stderr.removeprefix("headrace: ").rstrip("\n")


def test_all_answered_is_0(headrace: Callable[..., CompletedProcess[str]], fox: str) -> None:
    assert headrace("run", fox).returncode == 0


def test_no_prompt_at_all_is_0(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n\n")
    ended = headrace("run", "empty")
    assert (ended.returncode, ended.stdout) == (0, "")


def test_a_prompt_that_failed_is_1(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "in").write_text(f"{tmp_path} a fox\n{tmp_path} [[fault:moderation_blocked]]\n")
    ended = headrace("run", "in")
    assert ended.returncode == 1
    assert "1 ok, 1 failed, 0 skipped" in ended.stderr
    assert "1 moderation_blocked" in ended.stderr


@pytest.mark.parametrize("key", [None, "", "  "])
def test_without_a_key_one_line_names_the_three_ways_on(
    headrace: Callable[..., CompletedProcess[str]], environ: dict[str, str], fox: str, key: str | None
) -> None:
    del environ["OPENAI_API_KEY"]
    if key is not None:
        environ["OPENAI_API_KEY"] = key
    ended = headrace("run", fox)
    assert ended.returncode == USAGE
    text = told(ended)
    assert "OPENAI_API_KEY" in text
    assert "configuration file" in text
    assert "--simulate" in text


def test_a_wrong_key_is_3_and_names_the_key_without_showing_it(
    headrace: Callable[..., CompletedProcess[str]], environ: dict[str, str], fox: str
) -> None:
    environ["OPENAI_API_KEY"] = "sk-nobody-knows-this-0123456789"
    ended = headrace("run", fox)
    assert ended.returncode == 3
    assert "headrace: no key can work any more: key default: Incorrect API key" in ended.stderr
    assert "sk-nobody" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("[request\n", "is not TOML"),
        ("[request]\nmodle = 'x'\n", "unknown key request.modle (did you mean 'model'?)"),
        ("[request]\nn = 11\n", "n is 11; it has to be from 1 to 10"),
        ("[pool]\nname = 'x'\n", "[[name]]"),
        ("[[key]]\nname = 'a'\nenv = 'NOT_SET_ANYWHERE'\n", "NOT_SET_ANYWHERE is not set"),
        ("[[key]]\nname = 'a'\nfile = 'not-there'\n", "not-there cannot be read"),
        ("[[pool]]\nname = 'a'\ntier = 9\n", "there is no tier 9"),
        ("[provider]\nbase_url = 'http://example.com/v1'\n", "https"),
        ("[[pool]]\nname = 'p'\n[fallback.alternative]\nbase_url = 'https://x.example/v1'\nmodel = 'm'\n", "has no key of its own"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(
    headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, fox: str, config: str, complaint: str
) -> None:
    (tmp_path / "my.toml").write_text(config)
    ended = headrace("run", fox, "-c", "my.toml")
    assert ended.returncode == USAGE
    assert complaint in told(ended)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("missing.txt",), "missing.txt cannot be read: No such file or directory"),
        (("folder",), "folder is a directory"),
        (("fox.txt", "-c", "missing.toml"), "missing.toml cannot be read: No such file or directory"),
        (("fox.txt", "-c", "folder"), "folder cannot be read: Is a directory"),
        (("fox.txt", "--tier", "9"), "there is no tier '9'; there are 1, 2"),
        (("fox.txt", "--profile", "fast"), "there is no profile 'fast'; there are speed, balanced, quality"),
        (("fox.txt", "--n", "11"), "n is 11; it has to be from 1 to 10"),
        (("fox.txt", "--n", "0"), "n is 0; it has to be from 1 to 10"),
        (("fox.txt", "--output-format", "gif"), "--output-format is 'gif'; it can be png, jpeg, webp"),
        (("fox.txt", "--cache", "magic"), "--cache is 'magic'; it can be"),
        (("fox.txt", "--max-cost", "-1"), "--max-cost is -1.0; it has to be at least 0"),
        (("fox.txt", "--max-cost", "nan"), "--max-cost is nan; it has to be at least 0"),
        (("fox.txt", "--max-in-flight", "0"), "--max-in-flight is 0; it has to be from 1 to"),
    ],
)
def test_an_argument_that_cannot_be_used_is_one_line(
    headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, fox: str, arguments: tuple[str, ...], complaint: str
) -> None:
    assert fox == "fox.txt"
    (tmp_path / "folder").mkdir()
    ended = headrace("run", *arguments)
    assert ended.returncode == USAGE
    assert complaint in told(ended)


@pytest.mark.parametrize("arguments", [("--colour", "red"), ("--format", "xml"), ("--drain", "-1"), ("--n", "many"), ("a", "b")])
def test_an_option_that_is_none_is_one_line(headrace: Callable[..., CompletedProcess[str]], arguments: tuple[str, ...]) -> None:
    ended = headrace("run", *arguments)
    assert ended.returncode == USAGE
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headrace: ")
    assert "Traceback" not in ended.stderr


def test_a_size_that_the_model_does_not_have_fails_every_prompt_without_a_call(
    headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], fox: str, world: World, tmp_path: Path
) -> None:
    ended = headrace("run", fox, "--size", "7x7")
    assert ended.returncode in (1, USAGE)
    assert world.calls(f"a fox in {tmp_path}") == 0
    for line in lines_of(ended.stdout):
        assert line["error"]["kind"] == "bad_request"
        assert "7x7" in line["error"]["message"]


def test_a_model_that_the_vendor_shut_down_is_refused_before_anything_is_sent(
    headrace: Callable[..., CompletedProcess[str]], environ: dict[str, str], fox: str
) -> None:
    # Were it sent, it would fail at a proxy that is not there, and the exit status would be 1.
    del environ["OPENAI_BASE_URL"]
    ended = headrace("run", fox, "--model", "gpt-image-1")
    assert ended.returncode == USAGE
    assert told(ended) == "model gpt-image-1 was shut down on 2026-10-23; set model = 'gpt-image-2.6-flare'"


def test_a_model_that_the_vendor_shut_down_is_asked_for_elsewhere(headrace: Callable[..., CompletedProcess[str]], fox: str) -> None:
    ended = headrace("run", fox, "--model", "gpt-image-1")
    assert ended.returncode == 0
    assert "model_retired" in ended.stderr


def test_the_budget_is_not_overspent_and_its_end_is_3(
    headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("".join(f"{tmp_path} cat {n}\n" for n in range(50)))
    ended = headrace("run", "in", "--max-cost", "0.02", "--max-in-flight", "2")
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1].startswith("headrace: the budget of $0.02 is spent")
    lines = lines_of(ended.stdout)
    made = [line for line in lines if line["status"] == "ok"]
    assert 0.012 < sum(line["cost_usd"] for line in made) <= 0.02
    others = [line for line in lines if line["status"] != "ok"]
    assert {(line["status"], line["error"]["kind"], line["error"]["retryable"]) for line in others} == {("skipped", "over_budget", True)}
    assert len(lines) < 10


def test_a_budget_of_nothing_spends_nothing(headrace: Callable[..., CompletedProcess[str]], fox: str, world: World, tmp_path: Path) -> None:
    assert headrace("run", fox, "--max-cost", "0").returncode == 3
    assert world.calls(f"a fox in {tmp_path}") == 0


# ---- output that cannot be written --------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["missing/out.jsonl", "folder"])
def test_an_output_that_cannot_be_opened_is_74_before_anything_is_paid(
    headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, fox: str, world: World, output: str
) -> None:
    (tmp_path / "folder").mkdir()
    ended = headrace("run", fox, "-o", output)
    assert ended.returncode == OUTPUT
    assert told(ended).startswith(f"{output} cannot be written: ")
    assert world.calls(f"a fox in {tmp_path}") == 0


def test_an_output_on_a_full_disk_is_74_and_says_that_nothing_is_lost(headrace: Callable[..., CompletedProcess[str]], fox: str) -> None:
    ended = headrace("run", fox, "-o", "/dev/full")
    assert ended.returncode == OUTPUT
    assert ended.stderr.splitlines()[-1] == "headrace: /dev/full cannot be written after 0 lines: No space left on device"
    assert "the same command goes on from here" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_full_disk_behind_stdout_is_74(shell: Callable[[str], CompletedProcess[str]], fox: str) -> None:
    ended = shell(f"$HEADRACE run {fox} > /dev/full")
    assert ended.returncode == OUTPUT
    assert ended.stderr.splitlines()[-1] == "headrace: stdout cannot be written after 0 lines: No space left on device"


def test_an_output_folder_that_is_a_file_is_74(headrace: Callable[..., CompletedProcess[str]], fox: str) -> None:
    ended = headrace("run", fox, "--out-dir", fox)
    assert ended.returncode == OUTPUT
    assert told(ended) == f"the output folder {fox} cannot be made: File exists"


def test_pictures_that_cannot_be_written_are_74(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, fox: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images").write_text("in the way")
    ended = headrace("run", fox, "--out-dir", "out")
    assert ended.returncode == OUTPUT
    assert "cannot be written" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_cache_folder_that_cannot_be_made_is_one_line(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, fox: str) -> None:
    (tmp_path / "headrace.toml").write_text(f"[[pool]]\nname = 'p'\n[cache]\ndir = '{fox}/cache'\n")
    ended = headrace("run", fox)
    assert ended.returncode == USAGE
    assert "--cache off" in told(ended)
    assert headrace("run", fox, "--cache", "off").returncode == 0


@pytest.mark.parametrize("output", ["fox.txt", "./fox.txt", "link.txt"])
def test_an_output_that_is_the_input_is_refused_and_the_prompts_are_still_there(
    headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, fox: str, output: str
) -> None:
    (tmp_path / "link.txt").symlink_to(fox)
    ended = headrace("run", fox, "-o", output)
    assert (tmp_path / fox).read_text() == f"a fox in {tmp_path}\n"
    assert ended.returncode == USAGE
    told(ended)


def test_a_run_that_cannot_start_leaves_the_results_of_the_last_one(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("results\n")
    (tmp_path / "in").write_text("a fox\n")
    assert headrace("run", "missing", "-o", "out.jsonl").returncode == USAGE
    assert headrace("run", "in", "-o", "out.jsonl", "--out-dir", "in").returncode == OUTPUT
    assert headrace("run", "in", "-o", "out.jsonl", "--n", "11").returncode == USAGE
    assert (tmp_path / "out.jsonl").read_text() == "results\n"


# ---- pipes and closed descriptors ---------------------------------------------------------------------------------


def test_a_reader_that_has_had_enough_is_74_and_the_input_is_left_alone(
    shell: Callable[[str], CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], world: World, tmp_path: Path
) -> None:
    prompt = f"{tmp_path} cat"
    ended = shell(
        f"for n in $(seq 150); do echo '{prompt}' $n; done | $HEADRACE run --max-in-flight 4 --cache off | head -3; exit ${{PIPESTATUS[1]}}"
    )
    assert ended.returncode == OUTPUT
    assert len(lines_of(ended.stdout)) == 3
    assert ended.stderr.splitlines()[-1].startswith("headrace: stdout cannot be written after ")
    assert ended.stderr.endswith(": its reader has gone\n")
    assert "Traceback" not in ended.stderr
    assert sum(world.calls(f"{prompt} {n}") for n in range(501)) < 50


def test_a_closed_stdin_is_one_line(shell: Callable[[str], CompletedProcess[str]]) -> None:
    ended = shell("$HEADRACE run <&-")
    assert ended.returncode == USAGE
    assert "cannot be read" in told(ended) or "closed" in told(ended)


def test_an_input_that_breaks_while_it_is_read_is_one_line(headrace: Callable[..., CompletedProcess[str]]) -> None:
    ended = headrace("run", "/proc/self/mem")
    assert ended.returncode == USAGE
    assert ended.stderr.splitlines()[-1].endswith("cannot be read: Input/output error")


@pytest.mark.parametrize("source", ["fox.txt", "< fox.txt"])
def test_a_closed_stdout_is_74_and_its_number_is_not_taken_for_another_file(
    shell: Callable[[str], CompletedProcess[str]], tmp_path: Path, fox: str, world: World, source: str
) -> None:
    assert source.endswith(fox)
    ended = shell(f"$HEADRACE run {source} >&-")
    assert ended.returncode == OUTPUT
    assert ended.stderr.splitlines()[-1].startswith("headrace: stdout cannot be written")
    assert (tmp_path / fox).read_text() == f"a fox in {tmp_path}\n"
    # It is known before anything is paid.
    assert world.calls(f"a fox in {tmp_path}") == 0


def test_a_closed_stdout_does_not_matter_to_an_output_file(shell: Callable[[str], CompletedProcess[str]], tmp_path: Path, fox: str) -> None:
    ended = shell(f"$HEADRACE run {fox} -o out.jsonl >&-")
    assert ended.returncode == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


def test_a_closed_stderr_changes_nothing_but_what_is_told(
    shell: Callable[[str], CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], fox: str
) -> None:
    ended = shell(f"$HEADRACE run {fox} 2>&-")
    assert ended.returncode == 0
    assert [line["status"] for line in lines_of(ended.stdout)] == ["ok"]
    assert shell("$HEADRACE run missing 2>&-").returncode == USAGE


def test_a_full_disk_behind_stderr_changes_nothing_but_what_is_told(
    shell: Callable[[str], CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], fox: str
) -> None:
    ended = shell(f"$HEADRACE run {fox} --log-level debug 2>/dev/full")
    assert ended.returncode == 0
    assert [line["status"] for line in lines_of(ended.stdout)] == ["ok"]


def test_everything_closed_still_writes_the_output_file(
    shell: Callable[[str], CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path, fox: str
) -> None:
    # As a job of cron or of a service manager may be started.
    ended = shell(f"$HEADRACE run {fox} -o out.jsonl <&- >&- 2>&-")
    assert ended.returncode == 0
    assert [line["status"] for line in lines_of((tmp_path / "out.jsonl").read_text())] == ["ok"]


def test_a_named_pipe_can_be_read_and_written(
    started: Callable[..., Any], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "in.pipe")
    os.mkfifo(tmp_path / "out.pipe")
    with started("run", "in.pipe", "-o", "out.pipe", stdin=subprocess.DEVNULL) as process:
        (tmp_path / "in.pipe").write_text(f"{tmp_path} piped\n")
        text = (tmp_path / "out.pipe").read_text()
        assert process.wait(20) == 0
    assert [line["status"] for line in lines_of(text)] == ["ok"]
