from __future__ import annotations

import base64
import hashlib
import json
from email import message_from_bytes
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from PIL import Image
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.provider.body import Saved, save
from headrace.provider.client import Client
from headrace.provider.failures import Reply
from headrace.provider.forms import VENDOR_FORM, AzureForm
from headrace.provider.memory import ByteBudget
from headrace.records import Kind, Problem, Request, Upload, Usage
from headrace.secret import Secret
from headrace.simulator import SimulatorSettings, World, make_app
from headrace.uploads import uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.provider.forms import Form

KEY = "canary-0123456789abcdef0123456789"
PLAIN = Request(prompt='make "it"\r\n--blue 日本', model="gpt-image-2", size="1024x1024", quality="low", n=2)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def request_of(tmp_path: Path, picture: Callable[[str, int, int], bytes]) -> Request:
    """An edit of a file and of a data URL, with a mask."""
    (tmp_path / "a.png").write_bytes(picture("png", 64, 64))
    Image.new("RGBA", (64, 64)).save(tmp_path / "mask.png")
    url = f"data:image/jpeg;base64,{base64.b64encode(picture('jpeg', 1024, 512)).decode()}"
    images, mask = uploads((str(tmp_path / "a.png"), url), str(tmp_path / "mask.png"))
    return attrs.evolve(PLAIN, images=images, mask=mask)


def asked(request: Request, form: Form = VENDOR_FORM, capacity: int = 2**26) -> tuple[Reply | Problem, int]:
    """What the simulator answers, and what of the budget is still held behind it."""
    world = World(SimulatorSettings(latency_s=0, pictures="template"))
    budget = ByteBudget(capacity)

    async def main() -> Reply | Problem:
        url = "http://127.0.0.1/v1" if form == VENDOR_FORM else "http://127.0.0.1"
        client = Client(base_url=url, secret=Secret(KEY), timeout_s=300, app=make_app(world), form=form)
        with budget.lease() as lease:
            answer = await client.post(request, lease)
        await client.aclose()
        return answer

    return trio.run(main, clock=MockClock(autojump_threshold=0)), budget.capacity - budget.free


def test_an_edit_is_a_form_with_the_parameters_and_the_pictures_as_they_are(on_the_wire: Any, request_of: Request) -> None:
    async def test(wire: Any) -> None:
        await wire.post(request_of)
        head, _, body = wire.seen[0].partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert first == "POST /v1/images/edits HTTP/1.1"
        assert headers["authorization"] == f"Bearer {wire.key}"
        assert int(headers["content-length"]) == len(body)
        form: Any = message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
        parts = [(part.get_param("name", header="content-disposition"), part.get_payload(decode=True)) for part in form.get_payload()]
        assert parts[:5] == [
            ("model", b"gpt-image-2"),
            ("prompt", PLAIN.prompt.encode()),
            ("size", b"1024x1024"),
            ("quality", b"low"),
            ("n", b"2"),
        ]
        assert [name for name, _ in parts[5:]] == ["image[]", "image[]", "mask"]
        assert [hashlib.sha256(content).hexdigest() for _, content in parts[5:]] == [upload.sha256 for upload in request_of.uploads]
        assert [part.get_content_type() for part in form.get_payload()[5:]] == ["image/png", "image/jpeg", "image/png"]

    on_the_wire(test, ["read", OK])


@pytest.mark.parametrize("form", [VENDOR_FORM, AzureForm(api_version="2025-04-01-preview")])
def test_an_edit_is_answered_and_input_pictures_are_billed_apart(request_of: Request, form: Form, tmp_path: Path) -> None:
    answer, held = asked(request_of, form)
    assert held == 0
    assert isinstance(answer, Reply)
    saved = save(answer, request_of, tmp_path)
    assert isinstance(saved, Saved)
    assert len(saved.pictures) == 2
    # 64x64 counts as 64 patches, 1024x512 has 512; the mask is no picture that the model looks at.
    assert saved.image_tokens == 64 + 512
    assert saved.usage == Usage(
        input_tokens=saved.image_tokens + json.loads(answer.body)["usage"]["input_tokens_details"]["text_tokens"], output_tokens=392
    )


def test_a_single_picture_is_called_so_and_moderation_is_left_out(on_the_wire: Any, request_of: Request) -> None:
    async def test(wire: Any) -> None:
        await wire.post(attrs.evolve(request_of, images=request_of.images[:1], moderation="low"))
        assert b'name="image"; filename="0.png"' in wire.seen[0]
        assert b"moderation" not in wire.seen[0]

    on_the_wire(test, ["read", OK])


def test_room_for_what_is_sent_is_given_back_before_room_for_the_answer_is_waited_for(request_of: Request) -> None:
    # With room for one of them at a time: who held the one and waited for the other would wait for ever.
    answer, held = asked(request_of, capacity=2**20)
    assert held == 0
    assert isinstance(answer, Reply | Problem)


def test_what_was_sent_makes_room_for_the_next_while_its_answer_is_waited_for(on_the_wire: Any, request_of: Request) -> None:
    async def test(wire: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.post, request_of)
            await wire.stalled.wait()
            await wait_all_tasks_blocked()
            assert isinstance(await wire.post(request_of), Reply)
            nursery.cancel_scope.cancel()

    on_the_wire(test, ["read", "stall"], ["read", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"], capacity=2**13)


@pytest.mark.parametrize("change", ["gone", "other", "folder"])
def test_a_file_that_is_another_one_now_is_not_sent(request_of: Request, tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.png"
    if change == "other":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        path.unlink()
    if change == "folder":
        path.mkdir()
    answer, held = asked(request_of)
    assert held == 0
    assert isinstance(answer, Problem)
    assert (answer.kind, answer.billed, answer.uncertain) == (Kind.BAD_REQUEST, False, False)
    assert str(path) in answer.message


def test_a_form_that_breaks_off_on_its_way_was_not_billed(on_the_wire: Any, tmp_path: Path) -> None:
    # Larger than what the sockets between take.
    Image.effect_noise((3000, 3000), 80).save(tmp_path / "noise.png")
    images, _ = uploads((str(tmp_path / "noise.png"),), None)

    async def test(wire: Any) -> None:
        problem = await wire.post(attrs.evolve(PLAIN, images=images))
        assert isinstance(problem, Problem)
        assert (problem.kind, problem.uncertain) == (Kind.NETWORK, False)

    on_the_wire(test, ["reset"])


def test_two_uploads_are_equal_by_their_content() -> None:
    one = Upload(sha256="a", format="png", width=8, height=8, length=9, path="/a")
    assert one == attrs.evolve(one, path="/b", data=b"x")
    assert hash(one) == hash(attrs.evolve(one, path=None))
    assert "data" not in repr(attrs.evolve(one, data=b"x"))
