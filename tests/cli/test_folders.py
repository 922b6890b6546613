from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

ANOTHER = 12_345


@pytest.fixture
def run(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    """``run(folder)`` writes one picture there."""
    (tmp_path / "in").write_text(f"a fox in {tmp_path}\n")
    return lambda folder, *options: headrace("run", "in", "--cache", "off", "--out-dir", str(folder), *options)


@pytest.fixture
def by_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs is somebody else than who made the files, and neither is root."""
    monkeypatch.setattr("headrace.files._ROOT", -1)
    monkeypatch.setattr("headrace.files.os.geteuid", lambda: ANOTHER)


def refused(ended: CompletedProcess[str], folder: Path) -> str:
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headrace: ")
    assert "--out-dir" in line
    assert list(folder.iterdir()) == []
    return line


def test_a_new_folder_is_its_owners_alone_whatever_the_umask(run: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ended = run("new/deeper")
    finally:
        os.umask(before)
    assert (ended.returncode, ended.stderr.count("folder_")) == (0, 0)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "new", *(tmp_path / "new").rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {"journal.sqlite", "journal.lock"} <= {path.name for path in modes}


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_a_folder_that_others_can_only_read_is_used(run: Callable[..., CompletedProcess[str]], tmp_path: Path, mode: int) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(mode)
    ended = run("out")
    assert (ended.returncode, "folder_" in ended.stderr) == (0, False)
    assert (tmp_path / "out").stat().st_mode & 0o777 == mode


def test_a_folder_that_a_group_can_change_is_used_with_a_word(run: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o775)
    ended = run("out", "--log-format", "json")
    assert ended.returncode == 0
    assert json.loads(ended.stderr.splitlines()[0])["event"] == "folder_open_to_group"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_anybody_can_change_is_refused(run: Callable[..., CompletedProcess[str]], tmp_path: Path, mode: int) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(mode)
    assert "chmod o-w out" in refused(run("out"), tmp_path / "out")
    # As it is with /tmp: a folder below it is nobody else's.
    assert run("out/mine").returncode == 0


def test_a_folder_by_way_of_a_link_of_ones_own_is_used(run: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "out").symlink_to("disk")
    assert run("out").returncode == 0
    assert (tmp_path / "disk" / "journal.sqlite").is_file()


@pytest.mark.usefixtures("by_another_user")
def test_a_folder_of_another_user_is_refused(run: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "the folder out belongs to user" in refused(run("out"), tmp_path / "out")


@pytest.mark.usefixtures("by_another_user")
def test_a_link_of_another_user_is_refused(
    run: Callable[..., CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    assert "the link out belongs to user" in refused(run("out"), tmp_path / "disk")
    # What belongs to root is as good as one's own.
    monkeypatch.setattr("headrace.files._ROOT", os.getuid())
    assert run("out").returncode == 0


def test_a_name_that_no_folder_can_have_is_one_line(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a fox\n")
    (tmp_path / "headrace.toml").write_text("[[pool]]\nname = 'p'\n[run]\nout_dir = \"a\\u0000b\"\n")
    ended = headrace("run", "in")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (74, "", 1)
    assert "null byte" in ended.stderr
