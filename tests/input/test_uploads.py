from __future__ import annotations

import base64
import io
import os
from contextlib import suppress
from threading import Barrier, BrokenBarrierError, Thread
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from headrace import uploads as module
from headrace.errors import UsageError
from headrace.lines import Line
from headrace.prompts import PromptReader
from headrace.records import Kind, Prompt, Result
from headrace.settings import RequestSettings
from headrace.uploads import contents, uploads

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run is started: paths in lines are relative to it."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 4)).save("a.png")
    Image.new("RGBA", (8, 4)).save("mask.png")
    Image.new("RGB", (8, 4)).save("opaque.png")
    Image.new("RGBA", (4, 8)).save("tall.png")
    Image.new("RGB", (8, 4)).save("a.webp")
    Image.new("RGB", (8, 4)).save("a.gif")
    return tmp_path


def data_url(kind: str = "jpeg") -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 4)).save(file, kind)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def complaint(images: tuple[str, ...], mask: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        uploads(images, mask)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_and_data_urls_are_known_by_their_content(folder: Path) -> None:
    url = data_url()
    (png, webp, jpeg, again), mask = uploads(("a.png", "./a.webp", url, "opaque.png"), "mask.png")
    assert [(each.format, each.width, each.height) for each in (png, webp, jpeg)] == [(kind, 8, 4) for kind in ("png", "webp", "jpeg")]
    assert png == again
    assert mask is not None
    assert mask.transparent
    assert (png.path, jpeg.path) == (str(folder / "a.png"), None)
    assert contents((png, jpeg)) == [(folder / "a.png").read_bytes(), base64.b64decode(url.partition(",")[2])]


@pytest.mark.parametrize(
    ("images", "mask", "said"),
    [
        (("gone.png",), None, "images[0]: gone.png cannot be read: No such file or directory"),
        (("a.png", "."), None, "images[1]: . cannot be read: Is a directory"),
        (("",), None, "images[0]: an empty name cannot be read"),
        (("a\0b",), None, "cannot be read"),
        (("pipe",), None, "images[0]: pipe is no file"),
        (("/dev/zero",), None, "images[0]: /dev/zero is no file"),
        (("a.gif",), None, "a.gif is no whole PNG, JPEG or WebP picture"),
        (("half.png",), None, "half.png is no whole PNG, JPEG or WebP picture"),
        (("https://example.com/a.png",), None, "images[0] is a URL; give the path of a file or a data: URL, for nothing is fetched"),
        (("file:///a.png",), None, "images[0] is a URL"),
        (("data:text/plain;base64,aGk=",), None, "images[0] is no data: URL of a picture"),
        (("data:image/png,abc",), None, "images[0] is no data: URL of a picture"),
        (("data:image/png;base64,!!",), None, "images[0] is a data: URL whose base64 is broken"),
        (("data:image/png;base64,aGk=",), None, "images[0] is no whole PNG, JPEG or WebP picture"),
        (("a.png",) * 17, None, "images holds 17 pictures; the API takes 16"),
        ((), "mask.png", "mask goes with images"),
        (("a.png",), "opaque.png", "mask has to be a PNG picture with transparency"),
        (("a.png",), "a.webp", "mask has to be a PNG picture with transparency"),
        (("a.png",), "large.png", "mask is too large; the API takes one of less than 4,000,000 bytes"),
        (("a.png",), "tall.png", "mask is 4x8; it has to be 8x4, as images[0]"),
    ],
)
def test_what_cannot_be_edited_is_one_line_that_names_it(folder: Path, images: tuple[str, ...], mask: str | None, said: str) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "large.png").write_bytes((folder / "mask.png").read_bytes().ljust(4_000_000))
    noise = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(noise, "png")
    (folder / "half.png").write_bytes(noise.getvalue()[:1000])
    assert said in complaint(images, mask)


def test_pictures_are_bounded_one_by_one_and_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (folder / "a.png").stat().st_size
    monkeypatch.setattr(module, "MOST_BYTES", size)
    assert complaint(("a.png",)) == f"images[0] is too large; the API takes pictures of less than {size} bytes"
    monkeypatch.setattr(module, "MOST_BYTES", size + 1)
    monkeypatch.setattr(module, "MOST_IN_ALL", 2 * size)
    assert len(uploads(("a.png", "a.png"), None)[0]) == 2
    assert complaint(("a.png",) * 3) == f"images have {3 * size} bytes together; a prompt may have {2 * size}"


def test_a_bomb_is_no_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert complaint((str(folder / "a.png"),)).endswith("a.png is too large: it has more than 20 pixels")


def test_the_filters_of_warnings_are_changed_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together, met, opened = Barrier(2), [], Image.open

    def slowly(*args: Any, **options: Any) -> Image.Image:
        with suppress(BrokenBarrierError):
            met.append(together.wait(0.05))
        return opened(*args, **options)

    monkeypatch.setattr(Image, "open", slowly)
    threads = [Thread(target=uploads, args=(("a.png",), None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == []


def read(item: object) -> Prompt | Result | None:
    return PromptReader(RequestSettings()).read(item)


def test_a_line_may_name_pictures_and_its_complaints_name_the_line() -> None:
    record = read(Line(3, b'{"prompt": "x", "images": ["a.png"], "mask": "mask.png"}'))
    assert isinstance(record, Prompt)
    assert [upload.sha256 for upload in record.request.uploads] == [upload.sha256 for upload in uploads(("a.png", "mask.png"), None)[0]]
    failed = read(Line(4, b'{"prompt": "x", "images": ["gone.png"], "metadata": 1}'))
    assert isinstance(failed, Result)
    assert failed.error is not None
    assert (failed.error.kind, failed.error.message.partition(":")[0], failed.metadata) == (Kind.BAD_LINE, "line 4", 1)


@pytest.mark.parametrize(
    ("item", "blocks"),
    [
        (Line(1, b'{"prompt": "x", "images": ["a.png"]}'), True),
        (Line(1, b'{"prompt": "x"}'), False),
        ({"prompt": "x", "images": []}, True),
        ({"prompt": "x"}, False),
        ("images", False),
    ],
)
def test_only_what_may_look_at_files_is_read_in_a_thread(item: Any, blocks: bool) -> None:
    assert PromptReader(RequestSettings()).blocks(item) is blocks
