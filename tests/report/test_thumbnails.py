from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import attrs
import pytest
from PIL import Image

from headrace.errors import OutputError
from headrace.records import Picture
from headrace.report.thumbnails import EDGE, Seen, Thumbnails

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "ab" * 32


def place(root: Path, data: bytes | None, digest: str = DIGEST) -> Picture:
    path = f"images/{digest[:2]}/{digest}.png"
    if data is not None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return Picture(path=path, sha256=digest, format="png", width=1, height=1, bytes=1)


def png(size: tuple[int, int] = (600, 300), mode: str = "RGB") -> bytes:
    file = BytesIO()
    Image.new(mode, size).save(file, "PNG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is that large, in few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1_000)) + chunk(b"IEND", b"")


def test_a_thumbnail_is_small_and_of_the_same_shape(tmp_path: Path) -> None:
    thumbnails, picture = Thumbnails(tmp_path), place(tmp_path, png((600, 300)))
    assert thumbnails.find(picture) is Seen.WHOLE
    assert thumbnails.path(picture) == f"thumbnails/ab/{DIGEST}.webp"
    with Image.open(tmp_path / "thumbnails" / "ab" / f"{DIGEST}.webp") as small:
        assert (small.format, small.size) == ("WEBP", (EDGE, EDGE // 2))


def test_a_thumbnail_is_made_once(tmp_path: Path) -> None:
    thumbnails, picture = Thumbnails(tmp_path), place(tmp_path, png())
    thumbnails.prepare([picture, picture], lambda _: None)
    (tmp_path / "thumbnails" / "ab" / f"{DIGEST}.webp").write_bytes(b"what was made before")
    thumbnails.prepare([picture], lambda _: None)
    assert thumbnails.read(picture) == b"what was made before"


def test_what_is_transparent_stays_so(tmp_path: Path) -> None:
    thumbnails, picture = Thumbnails(tmp_path), place(tmp_path, png((64, 64), "RGBA"))
    thumbnails.find(picture)
    assert Image.open(BytesIO(thumbnails.read(picture) or b"")).mode == "RGBA"


@pytest.mark.parametrize(
    "data", [b"", b"no picture", png()[:200], b"GIF89a" + bytes(100), bomb(60_000, 60_000), bomb(7_000, 7_000), bomb(0, 5)]
)
def test_a_file_that_is_no_picture_of_a_model_is_broken(tmp_path: Path, data: bytes) -> None:
    assert Thumbnails(tmp_path).find(place(tmp_path, data)) is Seen.BROKEN


def test_a_picture_that_was_taken_away_is_missing_though_its_thumbnail_is_there(tmp_path: Path) -> None:
    thumbnails, picture = Thumbnails(tmp_path), place(tmp_path, png())
    assert thumbnails.find(place(tmp_path, None, "cd" * 32)) is Seen.MISSING
    thumbnails.find(picture)
    (tmp_path / picture.path).unlink()
    assert thumbnails.find(picture) is Seen.MISSING


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "/etc/passwd",
        f"images/ab/../../{DIGEST}.png",
        f"images/cd/{DIGEST}.png",
        "javascript:alert(1)",
        "images/ab/x.png",
        "",
    ],
)
def test_a_path_that_no_run_writes_is_not_looked_at(tmp_path: Path, path: str) -> None:
    thumbnails = Thumbnails(tmp_path)
    picture = attrs.evolve(place(tmp_path, png()), path=path)
    assert (thumbnails.path(picture), thumbnails.find(picture), thumbnails.read(picture)) == (None, Seen.MISSING, None)


def test_a_link_to_somewhere_else_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.png"
    elsewhere.write_bytes(png())
    picture = place(tmp_path, b"")
    (tmp_path / picture.path).unlink()
    (tmp_path / picture.path).symlink_to(elsewhere)
    assert Thumbnails(tmp_path).find(picture) is Seen.BROKEN


def test_a_thumbnail_that_is_a_link_or_what_a_power_cut_left_is_made_again(tmp_path: Path) -> None:
    thumbnails, picture = Thumbnails(tmp_path), place(tmp_path, png())
    thumbnails.find(picture)
    small = tmp_path / "thumbnails" / "ab" / f"{DIGEST}.webp"
    made, secret = small.read_bytes(), tmp_path / "secret"
    secret.write_text("a secret")
    small.unlink()
    small.symlink_to(secret)
    assert thumbnails.read(picture) is None
    assert (thumbnails.find(picture), thumbnails.read(picture), secret.read_text()) == (Seen.WHOLE, made, "a secret")
    small.write_bytes(b"")
    assert (thumbnails.find(picture), thumbnails.read(picture)) == (Seen.WHOLE, made)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    picture = place(tmp_path, png())
    (tmp_path / "thumbnails").write_text("a file in its place")
    with pytest.raises(OutputError, match="cannot be written"):
        Thumbnails(tmp_path).prepare([picture], lambda _: None)


def test_whoever_waits_hears_how_many_have_been_seen_to(tmp_path: Path) -> None:
    told: list[int] = []
    pictures = [place(tmp_path, png((8, 8)), f"{number:064x}") for number in range(40)]
    Thumbnails(tmp_path).prepare(iter(pictures), told.append)
    assert told == sorted(told)
    assert told[-1] == 40
