"""Any answer of the API: a picture that was asked for, or one reason why there is none; and the other prompts do not notice."""

from __future__ import annotations

import base64
import io
import json
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio
from hypothesis import strategies as st
from PIL import Image
from trio.testing import MockClock

from headrace.assembly import open_race
from headrace.errors import lone
from headrace.files import place
from headrace.journal.status import status
from headrace.offload import inline
from headrace.provider.body import save
from headrace.provider.failures import Reply, problem_of
from headrace.records import Problem, Request, Result, Status
from headrace.settings import CacheSettings, FallbackSettings, PoolSettings, RequestSettings, RunSettings, Settings
from reliability.invariants import held, running, unexplained
from reliability.mutations import TEXTS, VALUES, changed_bytes, changed_tree, one_line_of_text

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from starlette.types import Receive, Scope, Send


OK = 200
SIZE = (816, 816)
REQUEST = Request(prompt="a cat", model="gpt-image-2", size="816x816", quality="low", output_format="webp")
PATIENCE_S = 1e6
GOOD = 4
# What says nothing about a key, its money or its pace: those answers stop a key, and are tried elsewhere.
STATUSES = (200, 200, 200, 200, 201, 204, 206, 299, 400, 408, 409, 413, 422, 500, 502, 503, 504, 599)
_TOKENS = (b'"', b"{", b"}", b"[", b"null", b"NaN", b"\\ud800", b"\\u0000", b"\xff", b"1e999", b"<html>", b"=", b"A" * 50)
_HEADERS = (b"content-type", b"retry-after", b"retry-after-ms", b"date", b"content-encoding", b"x-ratelimit-reset-images", b"server", b"x")
_HEADER_VALUES = (
    b"",
    b"-1",
    b"nan",
    b"1e999",
    b"0.5",
    b"gzip",
    b"identity, br",
    b"Fri, 31 Feb 2026 25:00:00 GMT",
    b"\xff\xfe",
    b"1" * 5_000,
)


@cache
def picture(kind: str = "webp") -> bytes:
    """A small file of the size that is asked for."""
    file = io.BytesIO()
    Image.new("RGB", SIZE, (70, 90, 110)).save(file, kind)
    return file.getvalue()


def document(data: bytes | None = None) -> dict[str, Any]:
    """The API's answer with one picture."""
    usage = {"input_tokens": 9, "output_tokens": 196, "total_tokens": 205, "input_tokens_details": {"text_tokens": 9}}
    encoded = base64.b64encode(picture() if data is None else data).decode()
    return {"created": 1_790_000_000, "data": [{"b64_json": encoded}], "output_format": "webp", "size": "816x816", "usage": usage}


def dumped(value: object) -> bytes:
    """The bytes of some JSON."""
    return json.dumps(value).encode()


BODIES: SearchStrategy[bytes] = st.one_of(
    changed_tree(document()).map(dumped),
    changed_bytes(dumped(document()), _TOKENS),
    st.sampled_from(("webp", "png", "jpeg")).flatmap(lambda kind: changed_bytes(picture(kind))).map(document).map(dumped),
    changed_tree({"error": {"message": "It failed.", "type": "x", "code": None, "param": None}}).map(dumped),
    st.fixed_dictionaries({"error": st.fixed_dictionaries({"message": VALUES, "type": TEXTS, "code": VALUES})}).map(dumped),
    VALUES.map(dumped),
    st.binary(max_size=200),
    st.sampled_from((b"", b"[" * 200_000, b'{"data":' * 50_000, b"9" * 10_000, b"<html>" + b"x" * 10_000, b'"' + b"x" * 3_000_000 + b'"')),
)
_ANSWERS = st.tuples(
    st.sampled_from(STATUSES),
    st.lists(st.tuples(st.sampled_from(_HEADERS), st.one_of(st.sampled_from(_HEADER_VALUES), st.binary(max_size=20))), max_size=3),
    BODIES,
)
ANSWER_LISTS = st.lists(st.tuples(_ANSWERS, st.integers(1, 3)), min_size=1, max_size=4)
"""Bad answers, and how often each comes before a good one does."""


def bad_body(body: bytes) -> list[str]:
    """What makes pictures of an answer files those that were asked for, or says in one line what is wrong and leaves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for code in STATUSES:
            if not one_line_of_text(said := problem_of(Reply(code, {}, body)).message):
                return [f"{code}: {said!r}"]
        outcome = save(Reply(OK, {}, body), REQUEST, root)
        files = [path for path in root.rglob("*") if path.is_file()]
        if isinstance(outcome, Problem):
            return [f"{outcome}, and {files}"] if files or not one_line_of_text(outcome.message) else []
        place(outcome.parts, durable=False)
        with Image.open(root / outcome.pictures[0].path) as made:
            return [] if made.size == SIZE and len(outcome.pictures) == len(files) == 1 else [f"{outcome}, and {files}"]


@attrs.define(eq=False)
class _Api:
    """Answers ``bad 0`` with the first bad answer as often as that says, and everything else with a picture."""

    bad: list[tuple[tuple[int, list[tuple[bytes, bytes]], bytes], int]]
    calls: Counter[str] = attrs.field(factory=Counter)

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        prompt = json.loads((await receive())["body"])["prompt"]
        self.calls[prompt] += 1
        kind, _, number = prompt.partition(" ")
        code, headers, body = OK, list[tuple[bytes, bytes]](), dumped(document())
        if kind == "bad":
            answer, times = self.bad[int(number)]
            if self.calls[prompt] <= times:
                code, headers, body = answer
        await trio.sleep(10)
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def bad_answers(bad: list[tuple[tuple[int, list[tuple[bytes, bytes]], bytes], int]]) -> list[str]:
    """Prompts that get bad answers between others that get good ones: each has one result, and the others are ok."""
    prompts = [f"good {number}" for number in range(GOOD)]
    for number in range(len(bad)):
        prompts.insert(2 * number, f"bad {number}")
    results, broken = list[Result](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(folder, at_once=1 + len(bad))

        async def main() -> None:
            with trio.fail_after(PATIENCE_S):
                async with open_race(settings, environ={"OPENAI_API_KEY": "sk-sim"}, offload=inline, app=_Api(bad)) as race:
                    async with race.results(prompts) as line:
                        results.extend([result async for result in line])
                    broken.extend(held(race))
                broken.extend(running())

        try:
            trio.run(main, clock=MockClock(autojump_threshold=0))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
            broken.append(f"it breaks: {lone(error)!r}")
        broken += unexplained(results, Path(folder, "out"))
        books = status(Path(folder, "out"))
        if books["attempts"]["open"] or books["unfinished"] or books["prompts"] != len(prompts):
            broken.append(f"the journal: {books}")
    if Counter(result.prompt for result in results) != Counter(prompts):
        broken.append(f"results: {[result.prompt for result in results]}")
    broken += [
        f"{result.prompt}: {result.error}" for result in results if str(result.prompt).startswith("good") and result.status is not Status.OK
    ]
    return broken


def _settings(folder: str, at_once: int) -> Settings:
    return Settings(
        request=RequestSettings(model=REQUEST.model, size=REQUEST.size, output_format=REQUEST.output_format),
        pool=(PoolSettings(name="one", max_concurrency=at_once),),
        cache=CacheSettings(policy="off"),
        fallback=FallbackSettings(ladder=("reduced_quality",) if at_once % 2 else ()),
        run=RunSettings(out_dir=f"{folder}/out", journal=True),
    )
