from __future__ import annotations

import base64
import errno
import json
import resource
import signal
import stat
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headrace.errors import OutputError
from headrace.files import place
from headrace.provider.body import save
from headrace.provider.failures import Reply
from headrace.records import Kind, Picture, Problem, Request, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[str, int, int], bytes]

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="32x16", quality="low")
AUTO = attrs.evolve(REQUEST, size="auto")
USAGE = {"input_tokens": 10, "output_tokens": 196}


def item(data: bytes) -> dict[str, Any]:
    return {"b64_json": base64.b64encode(data).decode()}


def reply(document: Any, status: int = 200) -> Reply:
    return Reply(status, {}, document if isinstance(document, bytes) else json.dumps(document).encode())


def filed(reply: Reply, request: Request, root: Path) -> tuple[tuple[Picture, ...], Usage | None] | Problem:
    """What is in its place at the end."""
    outcome = save(reply, request, root)
    if isinstance(outcome, Problem):
        return outcome
    place(outcome.parts, durable=True)
    return outcome.pictures, outcome.usage


def refusal(document: Any, root: Path, request: Request = REQUEST) -> Problem:
    """What is wrong with an answer that leaves nothing behind."""
    problem = filed(reply(document), request, root)
    assert isinstance(problem, Problem), problem
    assert problem.message
    assert len(problem.message.splitlines()) == 1
    assert not [path for path in root.rglob("*") if path.is_file()]
    return problem


def png(width: int, height: int, idat: bytes = b"") -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(idat)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("form", ["as documented", "bare list", "data URL"])
def test_a_good_answer_becomes_a_file_named_by_its_content(form: str, kind: str, picture: Make, tmp_path: Path) -> None:
    data = picture(kind, 32, 16)
    one: dict[str, Any] = item(data)
    if form == "data URL":
        one = {"url": f"data:image/{kind};base64,{one['b64_json']}", "b64_json": None}
    document = [one] if form == "bare list" else {"created": 1, "data": [one], "usage": USAGE}
    outcome = filed(reply(document), REQUEST, tmp_path)
    assert not isinstance(outcome, Problem), outcome
    (made,), usage = outcome
    assert (made.format, made.width, made.height, made.bytes) == (kind, 32, 16, len(data))
    assert made.path == f"images/{made.sha256[:2]}/{made.sha256}.{kind}"
    assert (tmp_path / made.path).read_bytes() == data
    assert usage == (None if form == "bare list" else Usage(input_tokens=10, output_tokens=196))


def test_files_and_their_folders_are_the_users_alone(picture: Make, tmp_path: Path) -> None:
    filed(reply({"data": [item(picture("png", 32, 16))]}), REQUEST, tmp_path / "out")
    modes = {path.relative_to(tmp_path).parts[:2]: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    folders = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out" / "images", *(tmp_path / "out" / "images").iterdir())
    }
    assert set(modes.values()) == {0o600}
    assert set(folders.values()) == {0o700}


def test_n_pictures_come_in_order(picture: Make, tmp_path: Path) -> None:
    two = [item(picture("png", 32, 16)), item(picture("webp", 32, 16))]
    outcome = filed(reply({"data": two}), attrs.evolve(REQUEST, n=2), tmp_path)
    assert not isinstance(outcome, Problem)
    assert [made.format for made in outcome[0]] == ["png", "webp"]


def test_the_same_content_twice_is_one_file(picture: Make, tmp_path: Path) -> None:
    document = {"data": [item(picture("png", 32, 16))] * 2}
    first = filed(reply(document), attrs.evolve(REQUEST, n=2), tmp_path)
    assert filed(reply(document), attrs.evolve(REQUEST, n=2), tmp_path) == first
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_any_size_is_welcome_where_none_was_named(picture: Make, tmp_path: Path) -> None:
    assert not isinstance(filed(reply({"data": [item(picture("png", 8, 24))]}), AUTO, tmp_path), Problem)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("size", [(16, 32), (32, 17), (31, 16), (64, 32)])
def test_other_dimensions_than_the_asked_ones_are_refused(kind: str, size: tuple[int, int], picture: Make, tmp_path: Path) -> None:
    assert "32x16 was asked for" in refusal({"data": [item(picture(kind, *size))]}, tmp_path).message


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b'{"data": [',
        b"\xff\xfe",
        b"<html>504</html>",
        b"[" * 100_000,
        b'{"data":' * 50_000,
        b'{"created": ' + b"9" * 5_000 + b"}",
        b"null",
        b"true",
        b"5",
        b"1.5",
        b'"text"',
        b"[]",
        b"{}",
        {"data": None},
        {"data": []},
        {"data": {}},
        {"data": "text"},
        {"data": [None]},
        {"data": ["text"]},
        {"data": [5]},
        {"data": [[]]},
        {"data": [{}]},
        {"data": [{"b64_json": None}]},
        {"data": [{"b64_json": ""}]},
        {"data": [{"b64_json": 5}]},
        {"data": [{"b64_json": ["a"]}]},
        {"data": [{"b64_json": "not base64!"}]},
        {"data": [{"b64_json": "YWJ"}]},
        {"data": [{"b64_json": "YWJj\nYWJj"}]},
        {"data": [{"b64_json": "日本"}]},
        {"data": [{"b64_json": "\ud800"}]},
        {"data": [{"b64_json": "YWJj"}]},
        {"data": [{"url": "https://example.com/picture.png"}]},
        {"data": [{"url": "http://169.254.169.254/latest/meta-data"}]},
        {"data": [{"url": "file:///etc/passwd"}]},
        {"data": [{"url": "data:text/html;base64,YWJj"}]},
        {"data": [{"url": "data:image/png;base64,"}]},
        {"data": [{"url": "data:image/png,raw"}]},
        {"data": [{"url": ""}]},
        {"data": [{"url": 5}]},
    ],
    ids=lambda document: repr(document)[:40],
)
def test_a_200_without_a_picture_is_a_bad_answer(document: Any, tmp_path: Path) -> None:
    problem = refusal(document, tmp_path)
    assert (problem.kind, problem.status, problem.retryable) == (Kind.BAD_ANSWER, 200, True)


def test_more_or_fewer_pictures_than_asked_for_are_refused(picture: Make, tmp_path: Path) -> None:
    one = item(picture("png", 32, 16))
    assert refusal({"data": [one, one]}, tmp_path).kind is Kind.BAD_ANSWER
    assert refusal({"data": [one]}, tmp_path, attrs.evolve(REQUEST, n=2)).kind is Kind.BAD_ANSWER


def test_one_bad_picture_of_two_leaves_no_file_of_the_other(picture: Make, tmp_path: Path) -> None:
    document = {"data": [item(picture("png", 32, 16)), item(b"nothing")]}
    assert refusal(document, tmp_path, attrs.evolve(REQUEST, n=2)).kind is Kind.BAD_ANSWER


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "blocked", "code": "moderation_blocked"}, Kind.MODERATION_BLOCKED),
        ({"message": "no credit", "type": "insufficient_quota"}, Kind.BILLING),
        ({"message": "slow", "code": "rate_limit_exceeded"}, Kind.RATE_LIMITED),
        ({"message": "odd"}, Kind.BAD_ANSWER),
        ("just text", Kind.BAD_ANSWER),
    ],
)
def test_an_error_inside_a_200_means_what_it_says(error: Any, kind: Kind, tmp_path: Path) -> None:
    assert refusal({"error": error}, tmp_path).kind is kind


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_that_is_cut_off_anywhere_is_refused(kind: str, picture: Make, tmp_path: Path) -> None:
    data = picture(kind, 32, 16)
    taken = [cut for cut in range(len(data)) if not isinstance(filed(reply({"data": [item(data[:cut])]}), REQUEST, tmp_path), Problem)]
    assert not taken
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("tail", [b"<script>alert(1)</script>", b"PK\x03\x04zip", b"\x00" * 4096])
def test_a_picture_with_something_behind_it_is_refused(kind: str, tail: bytes, picture: Make, tmp_path: Path) -> None:
    assert refusal({"data": [item(picture(kind, 32, 16) + tail)]}, tmp_path).kind is Kind.BAD_ANSWER


@pytest.mark.parametrize("kind", ["gif", "bmp", "tiff", "ico", "ppm"])
def test_other_formats_are_refused(kind: str, picture: Make, tmp_path: Path) -> None:
    assert refusal({"data": [item(picture(kind, 32, 16))]}, tmp_path).kind is Kind.BAD_ANSWER


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg" width="32" height="16"><script/></svg>',
        b"%PDF-1.7",
        b"GIF89a" + bytes(20),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xd9",
        b"RIFF\x04\x00\x00\x00WEBP",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    ],
)
def test_what_only_begins_like_a_picture_is_refused(data: bytes, tmp_path: Path) -> None:
    assert refusal({"data": [item(data)]}, tmp_path, AUTO).kind is Kind.BAD_ANSWER


@pytest.mark.parametrize("size", [(65_535, 65_535), (10_000, 10_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (0, 0)])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused_without_a_warning(size: tuple[int, int], tmp_path: Path) -> None:
    # Warnings are errors here: one on stderr for every such answer would be noise, one in a caller's strict tests a crash.
    assert refusal({"data": [item(png(*size))]}, tmp_path).kind is Kind.BAD_ANSWER
    assert refusal({"data": [item(png(*size))]}, tmp_path, AUTO).kind is Kind.BAD_ANSWER


@given(kind=st.sampled_from(["png", "jpeg", "webp"]), place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_picture_is_refused_or_taken_and_never_raises(kind: str, place: float, value: int, *, cut: bool, picture: Make) -> None:
    data = bytearray(picture(kind, 32, 16))
    at = int(place * len(data))
    data[at:] = bytes([value]) + (b"" if cut else data[at + 1 :])
    with tempfile.TemporaryDirectory() as root:
        outcome = filed(reply({"data": [item(bytes(data))]}), REQUEST, Path(root))
    assert isinstance(outcome, Problem | tuple)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        5,
        "text",
        [],
        {},
        {"input_tokens": 10},
        {"input_tokens": True, "output_tokens": True},
        {"input_tokens": -1, "output_tokens": 5},
        {"input_tokens": 10.0, "output_tokens": 5},
        {"input_tokens": "10", "output_tokens": 5},
        {"input_tokens": 10, "output_tokens": None},
        {"input_tokens": 10, "output_tokens": 10**20},
        {"input_tokens": 10**400, "output_tokens": 5},
    ],
)
def test_a_bill_that_cannot_be_believed_is_no_bill_and_the_picture_stays(usage: Any, picture: Make, tmp_path: Path) -> None:
    outcome = filed(reply({"data": [item(picture("png", 32, 16))], "usage": usage}), REQUEST, tmp_path)
    assert not isinstance(outcome, Problem)
    assert outcome[1] is None


def test_a_folder_that_cannot_be_written_is_one_line(picture: Make, tmp_path: Path) -> None:
    document = {"data": [item(picture("png", 32, 16))]}
    taken = tmp_path / "file"
    taken.write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot be written: \w") as raised:
        filed(reply(document), REQUEST, taken)
    assert "\n" not in str(raised.value)
    (tmp_path / "images").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError):
        filed(reply(document), REQUEST, tmp_path)


def test_a_full_disk_leaves_no_part_behind(tmp_path: Path) -> None:
    data = png(32, 16, bytes(range(256)) * 40)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            filed(reply({"data": [item(data)]}), REQUEST, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "b64_json", "url", "error", "message", "code", "usage", "input_tokens"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
NOWHERE = Path("/proc/headrace-tests-write-nothing")


@given(
    json_values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=100)
    | json_values.map(lambda value: json.dumps({"data": value}).encode())
)
def test_no_json_raises(body: bytes) -> None:
    assert isinstance(filed(Reply(200, {}, body), REQUEST, NOWHERE), Problem)


def test_no_depth_of_nesting_that_the_parser_takes_trips_what_follows() -> None:
    for depth in range(900, 1000):
        nested = "[" * depth + "]" * depth
        for text in (f'{{"error":{{"message":{nested}}}}}', f'{{"data":{nested}}}', nested):
            assert isinstance(filed(reply(text.encode()), REQUEST, NOWHERE), Problem)


def test_out_of_descriptors_a_good_picture_is_not_taken_for_a_bad_one(
    picture: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_them(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Image, "open", out_of_them)
    with pytest.raises(OutputError, match="Too many open files") as error:
        save(reply({"data": [item(picture("png", 32, 16))]}), REQUEST, tmp_path)
    assert isinstance(error.value.__cause__, OSError)
