from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from headrace.cache import pictures as module
from headrace.cache.pictures import Pictures
from headrace.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.records import Picture

    Make = Callable[..., Picture]


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return Pictures(folder)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read for their hash, in order."""
    found: list[str] = []
    digest = hashlib.file_digest

    def counted(file: Any, algorithm: str) -> object:
        found.append(str(file.name))
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return found


def touch(path: Path) -> None:
    """What a later write does to a file, whatever the clock of the file system is worth."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000_000))


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "edited in place":
        path.write_bytes(b"x" * len(content))
        touch(path)
        return
    path.unlink()
    if how == "truncated":
        path.write_bytes(content[:-1])
    elif how == "longer":
        path.write_bytes(content + b"x")
    elif how == "other content":
        path.write_bytes(b"x" * len(content))
    elif how == "a folder":
        path.mkdir()
        (path / "inside").touch()
    elif how == "dangling link":
        path.symlink_to("nowhere")
    elif how == "link to other content":
        path.with_name("other").write_bytes(b"x" * len(content))
        path.symlink_to("other")
    elif how == "relative link":
        path.with_name("same").write_bytes(content)
        path.symlink_to("same")


SPOILT = ["missing", "truncated", "longer", "other content", "edited in place", "a folder", "dangling link", "link to other content"]


def test_a_picture_is_kept_fetched_and_removed(pictures: Pictures, picture: Make, root: Path, folder: Path, tmp_path: Path) -> None:
    one = picture(root)
    assert pictures.keep([one], root)
    assert pictures.whole(one)
    shutil.rmtree(root)
    assert pictures.fetch([one], tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / one.path).read_bytes() == b"a picture"
    pictures.remove(one.path)
    pictures.remove(one.path)
    assert not pictures.whole(one)
    assert not (folder / one.path).exists()
    assert (tmp_path / "elsewhere" / one.path).exists()


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("how", [*SPOILT, "relative link"])
def test_a_file_of_the_cache_that_is_spoilt_is_noticed_and_mended_by_the_next_keep(
    how: str, remembered: bool, picture: Make, root: Path, folder: Path, tmp_path: Path
) -> None:
    pictures = Pictures(folder)
    one = picture(root)
    assert pictures.keep([one], root)
    if not remembered:
        pictures = Pictures(folder)
    spoil(folder / one.path, how)
    if how == "relative link":
        assert not pictures.fetch([one], tmp_path / "x") or (tmp_path / "x" / one.path).read_bytes() == b"a picture"
    else:
        assert not pictures.whole(one)
        assert not pictures.fetch([one], tmp_path / "x")
    one = picture(root)
    assert pictures.keep([one], root)
    assert pictures.whole(one)
    assert not (folder / one.path).is_symlink()
    assert (folder / one.path).read_bytes() == b"a picture"


@pytest.mark.parametrize("how", [how for how in SPOILT if how != "edited in place"])
def test_a_file_below_the_root_that_is_spoilt_is_replaced_from_the_cache(how: str, pictures: Pictures, picture: Make, root: Path) -> None:
    one = picture(root)
    assert pictures.keep([one], root)
    spoil(root / one.path, how)
    assert not pictures.known([one], root)
    assert pictures.fetch([one], root)
    assert (root / one.path).read_bytes() == b"a picture"


def test_a_picture_that_is_edited_where_it_lies_is_not_handed_out_though_both_names_are_one_file(
    pictures: Pictures, picture: Make, root: Path, folder: Path, tmp_path: Path
) -> None:
    one = picture(root)
    assert pictures.keep([one], root)
    assert (root / one.path).samefile(folder / one.path)
    spoil(root / one.path, "edited in place")
    assert not pictures.known([one], root)
    assert not pictures.fetch([one], root)
    assert not pictures.fetch([one], tmp_path / "elsewhere")


def test_a_picture_is_hashed_once_and_again_after_it_changed(
    pictures: Pictures, picture: Make, root: Path, folder: Path, hashed: list[str]
) -> None:
    one = picture(root)
    assert pictures.keep([one], root)
    for _ in range(3):
        assert pictures.fetch([one], root)
        assert pictures.whole(one)
    assert len(hashed) == len(set(hashed)) <= 3
    touch(folder / one.path)
    before = len(hashed)
    for _ in range(3):
        assert pictures.whole(one)
    assert len(hashed) == before + 1


def test_what_lies_below_the_root_already_is_known_without_being_read(
    pictures: Pictures, picture: Make, root: Path, hashed: list[str]
) -> None:
    one = picture(root)
    assert not pictures.known([one], root)
    assert pictures.keep([one], root)
    assert pictures.fetch([one], root)
    hashed.clear()
    assert pictures.known([one], root)
    assert hashed == []


def test_only_so_many_hashes_are_remembered(pictures: Pictures, picture: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 4)
    made = [picture(root, b"%d" % number) for number in range(9)]
    assert all(pictures.keep([one], root) for one in made)
    assert len(pictures._whole) <= 4
    assert all(pictures.whole(one) for one in made)


@pytest.mark.parametrize(
    "path",
    [
        "../../escaped.png",
        "/tmp/escaped.png",  # noqa: S108 - nothing is written there
        "images/../../escaped.png",
        "images/aa/../../../escaped.png",
        "",
        "images",
        f"images/aa/{'a' * 64}.png/../x.png",
        f"images/aa/{'a' * 64}.png\n",
        f"images/AA/{'a' * 64}.png",
        f"images/aa/{'a' * 64}.p/g",
        f"images//aa/{'a' * 64}.png",
        "images/aa/\0.png",
    ],
)
def test_a_path_that_leads_anywhere_but_to_a_picture_places_nothing(
    path: str, pictures: Pictures, picture: Make, root: Path, folder: Path, tmp_path: Path
) -> None:
    one = attrs.evolve(picture(root), path=path)
    (tmp_path / "escaped.png").write_bytes(b"a picture")
    before = sorted(tmp_path.rglob("*"))
    assert not pictures.keep([one], root)
    assert not pictures.fetch([one], root)
    assert not pictures.known([one], root)
    assert not pictures.whole(one)
    assert sorted(tmp_path.rglob("*")) == before
    assert not folder.exists()


def test_a_path_is_that_of_its_content_so_that_no_row_can_replace_the_file_of_another(
    pictures: Pictures, picture: Make, root: Path, tmp_path: Path
) -> None:
    mine = picture(root)
    assert pictures.keep([mine], root)
    other = picture(tmp_path / "stranger", b"another picture")
    there = tmp_path / "stranger" / mine.path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(b"another picture")
    assert not pictures.keep([attrs.evolve(other, path=mine.path)], tmp_path / "stranger")
    assert pictures.whole(mine)


@pytest.mark.parametrize("size", [0, 8, 10**12, -1])
def test_a_picture_of_another_size_than_its_row_says_is_broken_though_its_hash_is_right(
    size: int, pictures: Pictures, picture: Make, root: Path
) -> None:
    one = picture(root)
    assert pictures.keep([one], root)
    assert not pictures.whole(attrs.evolve(one, bytes=size))
    assert not pictures.keep([attrs.evolve(one, bytes=size)], root)


def test_a_picture_that_goes_away_while_it_is_fetched_is_a_miss(
    pictures: Pictures, picture: Make, root: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another process evicts it between the look and the link.
    one = picture(root)
    assert pictures.keep([one], root)
    link = Path.hardlink_to

    def late(self: Path, target: Path) -> None:
        (folder / one.path).unlink()
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", late)
    assert not pictures.fetch([one], tmp_path / "elsewhere")


def no_links(*_: object, **__: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_where_links_are_impossible_the_file_is_copied_and_no_part_stays(
    pictures: Pictures, picture: Make, root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    one = picture(root)
    assert pictures.keep([one], root)
    assert (folder / one.path).stat().st_ino != (root / one.path).stat().st_ino
    assert [path.name for path in (folder / one.path).parent.iterdir()] == [Path(one.path).name]


def test_a_full_disk_is_said_in_one_line_and_leaves_no_part(
    pictures: Pictures, picture: Make, root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, target: Path) -> None:
        target.write_bytes(b"a p")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(shutil, "copyfile", full)
    one = picture(root)
    with pytest.raises(OutputError, match="No space left on device") as raised:
        pictures.keep([one], root)
    assert len(str(raised.value).splitlines()) == 1
    assert list((folder / one.path).parent.iterdir()) == []


def test_two_processes_that_place_one_picture_at_once_both_have_it(
    pictures: Pictures, picture: Make, root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = picture(root)
    link = Path.hardlink_to

    def beaten(self: Path, target: Path) -> None:
        shutil.copyfile(target, self)
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", beaten)
    assert pictures.keep([one], root)
    assert (folder / one.path).read_bytes() == b"a picture"
