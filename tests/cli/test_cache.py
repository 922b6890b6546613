from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from headrace.cache import encoder as encoder_module

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

    from numpy.typing import NDArray

    Headrace = Callable[..., CompletedProcess[str]]

PROMPTS = ("a red fox in the snow", "two grey wolves", "a fox [red] \x1b[2J\x1b]0;owned\x07 under /moon\u202e")
CACHE = "headrace-out/cache"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which three prompts were answered by the simulator, and one of them was asked for again in other letters."""
    folder = tmp_path_factory.mktemp("template")
    lines = [{"prompt": text, "id": f"row-{number}"} for number, text in enumerate(PROMPTS)]
    lines.append({"prompt": "A red fox, in the snow!", "id": "again"})
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "headrace.toml").write_text("[[pool]]\nname = 'default'\n[cache]\npolicy = 'canonical'\n")
    command = [sys.executable, "-m", "headrace", "run", "in.jsonl", "--simulate", "-o", "out.jsonl", "--max-in-flight", "1"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def run(headrace: Headrace, template: Path, tmp_path: Path) -> Headrace:
    """``run(*arguments)`` is ``headrace cache`` where the simulator's answers are."""
    shutil.copytree(template / CACHE, tmp_path / CACHE)
    (tmp_path / "headrace.toml").write_text(f"[[pool]]\nname = 'default'\n[cache]\npolicy = 'canonical'\ndir = '{tmp_path / CACHE}'\n")
    return lambda *arguments: headrace("cache", *arguments)


@attrs.define
class Letters:
    """Stands for the encoder that ships: counts letters."""

    fingerprint: str = "all-MiniLM-L6-v2:53aa51172d142c89"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.array([[1 + text.lower().count(chr(97 + place)) for place in range(26)] for text in texts], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]  # it is an array


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is loaded."""
    monkeypatch.setattr(encoder_module, "load", lambda _: Letters())


def harmless(ended: CompletedProcess[str]) -> bool:
    """No controls that move the cursor, no change of direction, no traceback."""
    shown = ended.stdout + ended.stderr
    return "Traceback" not in shown and all(character.isprintable() or character == "\n" for character in shown)


def one_line(ended: CompletedProcess[str], status: int = 2) -> str:
    assert ended.returncode == status, ended
    assert harmless(ended)
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headrace: ")
    return line


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / CACHE).glob("images/*/*"))


# Looking


def test_stats_count_what_is_there_and_what_it_saved(run: Headrace) -> None:
    ended = run("stats")
    assert ended.returncode == 0
    assert harmless(ended)
    assert "3 in 1 scopes" in ended.stdout
    assert "1, which saved $0.0" in ended.stdout
    assert "default: 3 entries" in ended.stdout


@pytest.mark.usefixtures("letters")
def test_search_shows_the_nearest_first_in_clean_words(run: Headrace) -> None:
    ended = run("search", "a red fox in snow", "--count", "2")
    assert ended.returncode == 0
    assert harmless(ended)
    assert "a red fox in" in ended.stdout
    assert "two grey" not in ended.stdout
    ended = run("search", "two gray wolves")
    assert harmless(ended)
    assert ended.stdout.index("two grey") < ended.stdout.index("a red fox")
    assert "[red]" in ended.stdout.replace("\n", ""), "foreign text is no markup"


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    ("asked", "known", "so"),
    [
        ("a red fox", "a red fox", "A gets the picture of B"),
        ("a red fox", "please draw a red fox!", "A gets the picture of B"),
        ("a red fox", "a blue fox", "A is paid for"),
        ('a sign that says "OPEN"', 'a sign that says "SHUT"', "A is paid for"),
        ("\x1b[2J [bold]x[/bold] \u202e", "[/nothing] \x07", "A is paid for"),
        ("", "", "A gets the picture of B"),
        ("日本", "🦊", "A is paid for"),
    ],
)
def test_why_shows_the_chain_and_what_comes_of_it(run: Headrace, tmp_path: Path, asked: str, known: str, so: str) -> None:
    (tmp_path / "verified.toml").write_text("")
    ended = run("why", asked, known, "-c", str(tmp_path / "verified.toml"))
    assert ended.returncode == 0, ended
    assert harmless(ended)
    assert so in ended.stdout
    assert "cosine" in ended.stdout


@pytest.mark.parametrize(
    ("policy", "asked", "so"),
    [
        ("off", "a red fox", "A is paid for"),
        ("exact", "a red fox", "A gets the picture of B"),
        ("exact", "A red fox!", "A is paid for"),
        ("canonical", "A red fox!", "A gets the picture of B"),
        ("canonical", "a fox that is red", "A is paid for"),
    ],
)
def test_why_goes_no_further_than_the_policy_and_needs_no_encoder_for_it(
    run: Headrace, tmp_path: Path, policy: str, asked: str, so: str
) -> None:
    (tmp_path / "other.toml").write_text(f"[cache]\npolicy = '{policy}'\n")
    ended = run("why", asked, "a red fox", "-c", str(tmp_path / "other.toml"))
    assert so in ended.stdout, ended
    assert "cosine" not in ended.stdout
    (tmp_path / "two").write_text(f"a red fox\n{asked}\n")
    shared = run("audit", "two", "-c", str(tmp_path / "other.toml")).stdout
    assert ("100.0%" in shared) == (so == "A is paid for"), shared


def test_audit_without_an_encoder_counts_letters_and_content_and_names_bad_lines(run: Headrace, tmp_path: Path) -> None:
    lines: list[object] = ["a red fox", "a red fox", "A red fox!", {"prompt": ""}, {"prompt": "\x1b[2J", "colour": 1}, "[/red] fox"]
    (tmp_path / "in").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ended = run("audit", "in")
    assert ended.returncode == 0
    assert harmless(ended)
    rows = [row.split("│") for row in ended.stdout.splitlines() if "%" in row]
    assert {row[1].strip(): row[2].strip() for row in rows} == {"paid for": "2", "exact": "1", "canonical": "1"}
    assert [line.split(":")[1].strip() for line in ended.stderr.splitlines()] == ["line 4", "line 5"]


@pytest.mark.usefixtures("letters")
def test_audit_by_meaning_lists_the_pairs_nearest_to_the_border(run: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.cli.audit.load", lambda _: Letters(), raising=False)
    (tmp_path / "verified.toml").write_text(f"[cache]\ndir = '{tmp_path / CACHE}'\n")
    (tmp_path / "in").write_text("a red fox runs in snow\na blue fox runs in snow\na red fox is running in snow\n")
    ended = run("audit", "in", "-c", "verified.toml", "--show", "5")
    assert ended.returncode == 0, ended
    assert harmless(ended)
    assert "paid for" in ended.stdout


# Keeping in order


def test_verify_agrees_names_what_is_broken_and_prune_mends_it(run: Headrace, tmp_path: Path) -> None:
    ended = run("verify")
    assert (ended.returncode, ended.stdout) == (0, "the store and its files agree\n")
    first, second, _ = pictures(tmp_path)
    first.unlink()
    second.write_bytes(b"x")
    (first.parent / "\x1b[2Jstray").touch()
    ended = run("verify")
    assert ended.returncode == 1
    assert harmless(ended)
    assert len(ended.stdout.splitlines()) == 3
    assert ended.stderr == "headrace: 3 problems; 'headrace cache prune' removes what is broken\n"
    ended = run("prune")
    assert ended.returncode == 0
    assert ended.stdout.startswith("removed 2 entries (2 of them broken), 1 stray files, ")
    assert ended.stdout.endswith("; 1 entries stay\n")
    assert run("verify").returncode == 0
    assert len(pictures(tmp_path)) == 1


@pytest.mark.parametrize(("limit", "stay"), [("max_entries = 1", 1), ("max_bytes = 0", 0), ("ttl_days = 0.0", 0), ("max_entries = 3", 3)])
def test_prune_removes_what_is_too_old_or_too_much(run: Headrace, tmp_path: Path, limit: str, stay: int) -> None:
    with (tmp_path / "headrace.toml").open("a") as file:
        file.write(f"{limit}\n")
    ended = run("prune")
    assert ended.returncode == 0
    assert f"removed {3 - stay} entries (0 of them broken), 0 stray files" in ended.stdout
    assert len(pictures(tmp_path)) == stay
    with closing(sqlite3.connect(tmp_path / CACHE / "answers.sqlite")) as db:
        assert db.execute("select count(*) from entry").fetchone() == (stay,)


@pytest.mark.parametrize("damage", ["update entry set request = 'x'", "update picture set path = '../' || path", "drop table picture"])
def test_a_damaged_database_is_no_traceback(run: Headrace, tmp_path: Path, damage: str) -> None:
    (tmp_path / "mine").touch()
    with closing(sqlite3.connect(tmp_path / CACHE / "answers.sqlite")) as db:
        db.execute(damage)
        db.commit()
    for command in (("stats",), ("verify",), ("export", "there"), ("forget", "row-1"), ("prune",), ("verify",)):
        ended = run(*command)
        assert harmless(ended)
        assert ended.returncode in (0, 1, 2, 74)
    assert (tmp_path / "mine").exists()
    assert (tmp_path / "headrace.toml").exists()


# Moving


def test_what_was_exported_answers_where_it_is_imported(run: Headrace, headrace: Headrace, template: Path, tmp_path: Path) -> None:
    assert run("export", "there").stdout == "3 entries are in there\n"
    ended = run("import", "there", "--dir", "another/headrace-out/cache")
    assert (ended.returncode, ended.stdout) == (0, "3 entries taken, 0 there already, 0 refused\n")
    assert run("verify", "--dir", "another/headrace-out/cache").returncode == 0
    shutil.copy(template / "in.jsonl", tmp_path / "in.jsonl")
    (tmp_path / "headrace.toml").write_text("[[pool]]\nname = 'default'\n[cache]\npolicy = 'canonical'\n")
    ended = headrace("run", "in.jsonl", "--simulate", "--out-dir", "another/headrace-out", "--ordered")
    assert ended.returncode == 0, ended.stderr
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["strategy"] for line in found] == ["cache_exact"] * 3 + ["cache_canonical"]
    assert [line["match"]["of"] for line in found] == ["row-0", "row-1", "row-2", "row-0"]
    assert all((tmp_path / "another/headrace-out" / line["images"][0]["path"]).is_file() for line in found)
    assert run("import", "there", "--dir", "another/headrace-out/cache").stdout == "0 entries taken, 3 there already, 0 refused\n"


def test_lines_that_were_tampered_with_are_refused_by_name(run: Headrace, tmp_path: Path) -> None:
    run("export", "there")
    manifest = tmp_path / "there" / "entries.jsonl"
    first, second, third = [json.loads(line) for line in manifest.read_text().splitlines()]
    first["pictures"][0]["path"] = "../../escaped.png"
    second["\x1b[2J"] = 1
    path = tmp_path / "there" / third["pictures"][0]["path"]
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(b"x" * size)
    manifest.write_text("".join(json.dumps(line) + "\n" for line in (first, second, third)) + "{\n")
    ended = run("import", "there", "--dir", "new")
    assert (ended.returncode, ended.stdout) == (1, "0 entries taken, 0 there already, 4 refused\n")
    assert harmless(ended)
    assert [line.split(":")[1].strip() for line in ended.stderr.splitlines() if line.startswith("headrace: ")] == [
        "line 1",
        "line 2",
        "line 3",
        "line 4",
    ]
    assert not list(tmp_path.rglob("escaped.png"))
    assert run("verify", "--dir", "new").returncode == 0
    assert run("verify").returncode == 0, "nor was the other harmed"


# Forgetting


@pytest.mark.parametrize("words", ["row-1", "two grey wolves", "#2"])
def test_what_is_forgotten_by_id_words_or_number_is_gone_with_its_picture(run: Headrace, tmp_path: Path, words: str) -> None:
    with closing(sqlite3.connect(tmp_path / CACHE / "answers.sqlite")) as db:
        ((number,),) = db.execute("select id from entry where prompt = 'two grey wolves'").fetchall()
    ended = run("forget", f"#{number}" if words == "#2" else words)
    assert (ended.returncode, ended.stdout) == (0, f"forgot #{number}: two grey wolves\n")
    assert len(pictures(tmp_path)) == 2
    assert run("verify").returncode == 0
    assert "no prompt with the id" in one_line(run("forget", words if words != "#2" else f"#{number}"))


def test_what_is_forgotten_is_told_in_clean_words(run: Headrace) -> None:
    ended = run("forget", "row-2")
    assert ended.returncode == 0
    assert harmless(ended)
    assert "a fox [red]" in ended.stdout


@pytest.mark.parametrize("words", ["nothing", "", "#", "#99", "#" + "9" * 5000, "#-1", "%", "\x1b[2J", "a\nb"])
def test_what_is_not_there_cannot_be_forgotten(run: Headrace, tmp_path: Path, words: str) -> None:
    assert "no prompt with the id" in one_line(run("forget", words))
    assert len(pictures(tmp_path)) == 3


# Mistakes


COMMANDS = [("stats",), ("search", "x"), ("prune",), ("verify",), ("export", "there"), ("forget", "x")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("folder", ["none", "empty", "file", "~nobody-at-all/cache", "[/red]", "\x1b[2J"])
def test_a_folder_without_a_cache_is_one_line_and_is_left_as_it_is(
    run: Headrace, tmp_path: Path, command: tuple[str, ...], folder: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert "there is no cache in" in one_line(run(*command, "--dir", folder))
    assert not list((tmp_path / "empty").iterdir())
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_cache_that_is_none_is_one_line(run: Headrace, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "answers.sqlite").write_bytes(b"this is no database" * 100)
    one_line(run(*command, "--dir", "odd"))
    (tmp_path / "older").mkdir()
    with closing(sqlite3.connect(tmp_path / "older" / "answers.sqlite")) as db:
        db.execute("pragma user_version=1")
    assert "version 1" in one_line(run(*command, "--dir", "older"))


@pytest.mark.parametrize(
    "command",
    [
        ("export", "full"),
        ("export", "file"),
        ("export", "file/below"),
        ("import", "none"),
        ("import", "file"),
        ("import", "full"),
        ("import", "full", "--dir", "file"),
        ("import", "full", "--dir", "~nobody-at-all/x"),
        ("audit", "none"),
        ("audit", "full"),
        ("stats", "-c", "none.toml"),
        ("stats", "-c", "file", "--dir", "none"),
        ("why", "a", "b", "-c", "bad.toml"),
        ("audit", "file", "-c", "bad.toml"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line(run: Headrace, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    (tmp_path / "file").touch()
    (tmp_path / "bad.toml").write_text("[cache]\nverifier = 'none.json'\npolicy = 'verified'\n")
    ended = run(*command)
    one_line(ended, ended.returncode if ended.returncode in (2, 74) else 2)


def test_a_folder_of_any_name_can_be_looked_into(run: Headrace, tmp_path: Path) -> None:
    for name in ("[/red]", "[bold]x", "日本", "a b"):
        shutil.copytree(tmp_path / CACHE, tmp_path / name)
        ended = run("stats", "--dir", name)
        assert ended.returncode == 0
        assert name in ended.stdout.replace("\n", "")


def test_help_is_there_for_every_command(headrace: Headrace) -> None:
    ended = headrace("cache", "--help")
    for command in ("stats", "search", "why", "audit", "prune", "verify", "export", "import", "forget"):
        assert command in ended.stdout
        assert headrace("cache", command, "--help").returncode == 0


# What it costs


IMPORTED = """
import sys
sys.argv = ["headrace", *sys.argv[1:]]
from headrace.cli.main import main
try:
    main()
finally:
    print(sorted({"torch", "sentence_transformers", "transformers", "faiss", "numpy", "sklearn"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [("run", "in", "--simulate", "--cache", policy) for policy in ("exact", "canonical")] + [("cache", "stats"), ("--help",)],
    ids=" ".join,
)
@pytest.mark.usefixtures("run")
def test_what_needs_no_encoder_imports_none(arguments: tuple[str, ...], tmp_path: Path, environ: dict[str, Any]) -> None:
    (tmp_path / "in").write_text("a red fox\na red fox\nA red fox!\n")
    command = [sys.executable, "-c", IMPORTED, *arguments]
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == "[]"
