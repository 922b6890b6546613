from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
from PIL import Image
from trio.testing import MockClock

from headrace.simulator import SimulatorSettings, World, make_app
from headrace.simulator.form import Form, read_form

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

File = tuple[str, tuple[str | None, bytes, str | None]]
FIELDS = {"prompt": "a fox", "model": "gpt-image-2", "quality": "low", "size": "1024x1024"}


def picture(mode: str = "RGB", kind: str = "png", size: tuple[int, int] = (64, 64), colour: Any = 0) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind)
    return file.getvalue()


def image(content: bytes, field: str = "image[]") -> File:
    return field, ("a.png", content, "image/png")


def asked(*bodies: tuple[dict[str, str], Sequence[File]], path: str = "/v1/images/edits") -> list[httpx.Response]:
    answers = []

    async def main() -> None:
        world = World(SimulatorSettings(latency_s=0, pictures="template"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(world)), base_url="http://simulator") as http:
            answers.extend([await http.post(path, data=data, files=files, headers={"authorization": "Bearer k"}) for data, files in bodies])

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return answers


def test_an_edit_answers_as_a_generation_does_and_counts_its_pictures() -> None:
    files = [image(picture()), image(picture(size=(1024, 1024), colour="red")), image(picture("RGBA"), "mask")]
    (answer,) = asked((FIELDS | {"n": "2"}, files))
    assert answer.status_code == 200
    usage = answer.json()["usage"]
    assert usage["input_tokens_details"]["image_tokens"] == 64 + 1024
    assert (len(answer.json()["data"]), usage["output_tokens"]) == (2, 2 * 196)


def test_edits_of_different_pictures_differ_and_of_equal_ones_do_not() -> None:
    red, blue = (picture(colour=colour) for colour in ("red", "blue"))
    answers = asked(*((FIELDS, [image(content)]) for content in (red, blue, red)))
    first, second, third = (answer.json()["data"][0]["b64_json"] for answer in answers)
    assert first == third != second


@pytest.mark.parametrize(
    ("fields", "files", "code", "param"),
    [
        ({}, [("user", (None, b"me", None))], "missing_required_parameter", "image"),
        ({}, [image(picture())] * 17, "array_above_max_length", "image"),
        ({}, [image(b"no picture")], "invalid_image_file", "image"),
        ({}, [image(picture(kind="gif"))], "invalid_image_file", "image"),
        ({}, [image(picture()), image(picture(), "mask")], "invalid_image_file", "mask"),
        ({}, [image(picture()), image(picture("RGBA", size=(32, 64)), "mask")], "invalid_image_file", "mask"),
        ({"n": "two"}, [image(picture())], "invalid_type", "n"),
        ({"n": "11"}, [image(picture())], "invalid_value", "n"),
        ({"response_format": "b64_json"}, [image(picture())], "unknown_parameter", "response_format"),
        ({"moderation": "low"}, [image(picture())], "unknown_parameter", "moderation"),
        ({"prompt": ""}, [image(picture())], "missing_required_parameter", "prompt"),
    ],
)
def test_what_an_edit_cannot_be_is_400_with_the_parameter(fields: dict[str, str], files: list[File], code: str, param: str) -> None:
    (answer,) = asked((FIELDS | fields, files))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


def test_a_body_that_is_no_form_is_400() -> None:
    (answer,) = asked(({"prompt": "x"}, []))
    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]


@pytest.mark.parametrize("tail", [b"", b"\r\n", b"--", b"\r\n--", b"\n\r", b"\r\n--x--"])
def test_contents_come_through_to_the_byte(tail: bytes, written: Callable[[bytes], tuple[bytes, str]]) -> None:
    content = picture(colour="green") + tail
    form = read_form(*written(content))
    assert isinstance(form, Form)
    assert form.images[0].length == len(content)


@pytest.fixture
def written() -> Callable[[bytes], tuple[bytes, str]]:
    """A form with that content, and its type."""

    def write(content: bytes) -> tuple[bytes, str]:
        request = httpx.Request("POST", "http://x", data=FIELDS, files=[image(content)])
        return request.read(), request.headers["content-type"]

    return write
