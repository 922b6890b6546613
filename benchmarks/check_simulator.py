"""Development check: the vendor's own SDK and API description against the simulator, on loopback.

Usage: ``python benchmarks/check_simulator.py OPENAPI_YAML``, where the file is an OpenAPI description with ``/images/generations``
whose schemas are valid JSON Schema. Prints a table; exits 1 if a line of it fails.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import trio
import yaml  # the check group has no stubs
from jsonschema import Draft202012Validator  # the check group has no stubs
from PIL import Image

from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "sk-check-0123456789"
Row = tuple[str, str, str]
"""What was checked, what was expected, what came."""

OTHER_MODELS = ("response_format", "style")
"""Parameters of the description that the vendor's GPT image models refuse."""
BY_FAULT = {
    "invalid_value": openai.BadRequestError,
    "moderation_blocked": openai.BadRequestError,
    "auth": openai.AuthenticationError,
    "forbidden": openai.PermissionDeniedError,
    "wrong_url": openai.NotFoundError,
    "conflict": openai.ConflictError,
    "rate_limited": openai.RateLimitError,
    "insufficient_quota": openai.RateLimitError,
    "server_error": openai.InternalServerError,
    "overloaded": openai.InternalServerError,
    "cloudflare_524": openai.InternalServerError,
    "disconnect": openai.APIConnectionError,
    "reset": openai.APIConnectionError,
}
REQUESTS: tuple[dict[str, Any], ...] = (
    {"model": "gpt-image-2", "quality": "low", "size": "1024x1024"},
    {"model": "gpt-image-2", "quality": "high", "size": "1536x1024", "n": 2, "output_format": "webp"},
    {"model": "gpt-image-1.5", "output_format": "jpeg", "output_compression": 50, "moderation": "low"},
    {"model": "gpt-image-2", "background": "transparent", "user": "someone"},
)
BEGINNINGS = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}


class Spec:
    """The part of an OpenAPI description that says what image calls look like."""

    def __init__(self, path: Path) -> None:
        document = yaml.safe_load(path.read_text("utf-8"))
        call = document["paths"]["/images/generations"]["post"]
        self._components = document["components"]
        self._request = call["requestBody"]["content"]["application/json"]["schema"]
        self._answer = call["responses"]["200"]["content"]["application/json"]["schema"]
        self.parameters: dict[str, Any] = document["components"]["schemas"]["CreateImageRequest"]["properties"]

    def request_problem(self, value: object) -> str:
        """What is wrong with a request body; ``valid`` where nothing is."""
        return self._problem(self._request, value)

    def answer_problem(self, value: object) -> str:
        """What is wrong with the body of a 200."""
        return self._problem(self._answer, value)

    def error_problem(self, value: object) -> str:
        """What is wrong with the body of an error."""
        return self._problem({"$ref": "#/components/schemas/ErrorResponse"}, value)

    def _problem(self, schema: dict[str, Any], value: object) -> str:
        validator = Draft202012Validator({**schema, "components": self._components})
        return next((error.message[:60] for error in validator.iter_errors(value)), "valid")


def _named(what: Callable[[], Any]) -> str:
    """What a call ends with: ``ok``, or the name of the SDK's exception."""
    try:
        what()
    except openai.OpenAIError as problem:
        return type(problem).__name__
    return "ok"


def _good_answers(client: openai.OpenAI, spec: Spec) -> Iterator[Row]:
    for fields in REQUESTS:
        body = {"prompt": "a red fox", **fields}
        name = " ".join(str(value) for value in fields.values())
        raw = client.images.with_raw_response.generate(**body)
        answer = raw.parse()
        files = [base64.b64decode(picture.b64_json or "") for picture in answer.data or ()]
        beginning = BEGINNINGS[fields.get("output_format", "png")]
        yield f"{name}: pictures", str(fields.get("n", 1)), str(sum(file.startswith(beginning) for file in files))
        yield f"{name}: usage", "True", str(bool(answer.usage and answer.usage.output_tokens > 0))
        yield f"{name}: request", "valid", spec.request_problem(body)
        yield f"{name}: answer", "valid", spec.answer_problem(json.loads(raw.text))


def _errors(client: openai.OpenAI, spec: Spec) -> Iterator[Row]:
    for fault, expected in BY_FAULT.items():
        body: Any = None
        try:
            client.images.generate(prompt=f"[[fault:{fault}]]", model="gpt-image-2")
            got = "ok"
        except openai.APIStatusError as problem:
            got = type(problem).__name__
            # The gateway's pages are no JSON.
            body = problem.response.json() if "json" in problem.response.headers["content-type"] else None
        except openai.OpenAIError as problem:
            got = type(problem).__name__
        yield f"fault {fault}", expected.__name__, got
        if body is not None:
            yield f"fault {fault}: error", "valid", spec.error_problem(body)


def _parameters(client: openai.OpenAI, spec: Spec) -> Iterator[Row]:
    generate = partial(client.images.generate, prompt="a red fox", model="gpt-image-2")
    for name, schema in spec.parameters.items():
        if name in ("prompt", "model"):
            continue
        value = schema.get("example", schema.get("default", 1))
        extra: dict[str, Any] = {"output_format": "webp"} if name == "output_compression" else {}
        expected = "BadRequestError" if name in OTHER_MODELS else "ok"
        yield f"parameter {name}", expected, _named(partial(generate, extra_body={**extra, name: value}))
    yield "parameter effort", "BadRequestError", _named(partial(generate, extra_body={"effort": "low"}))
    yield "size 512x512", "BadRequestError", _named(partial(generate, size="512x512"))


def _accounts(client: openai.OpenAI) -> Iterator[Row]:
    generate = {"prompt": "a red fox", "model": "gpt-image-2"}
    wrong = client.with_options(api_key="sk-wrong-0123456789")
    yield "a wrong key", "AuthenticationError", _named(partial(wrong.images.generate, **generate))
    elsewhere = client.with_options(base_url=f"{client.base_url}nowhere")
    yield "a wrong URL", "NotFoundError", _named(partial(elsewhere.images.generate, **generate))
    limited = client.with_options(api_key="sk-limited-0123456789")
    calls = [_named(partial(limited.images.generate, **generate)) for _ in range(2)]
    yield "one image a minute, twice", "ok RateLimitError", " ".join(calls)
    patient = client.with_options(max_retries=1)
    prompt = "[[fault:rate_limited*1]]"
    yield "a retry after 240 ms", "ok", _named(partial(patient.images.generate, prompt=prompt, model="gpt-image-2"))
    yield "models", "True", str("gpt-image-2" in [model.id for model in client.models.list()])


def _edits(client: openai.OpenAI | openai.AzureOpenAI, name: str) -> Iterator[Row]:
    first, second = _png("red"), _png("blue")
    for what, given in (("one picture", first), ("two pictures", [first, second])):
        answer = client.images.edit(image=given, mask=_png((0, 0, 0, 0)), prompt="a red fox", model="gpt-image-2", quality="low")
        yield f"{name}: edit of {what}", "64 image tokens each", f"{_image_tokens(answer) // (1 + (given is not first))} image tokens each"
    wrong = partial(client.images.edit, image=("a.png", b"no picture"), prompt="a red fox", model="gpt-image-2")
    yield f"{name}: edit of no picture", "BadRequestError", _named(wrong)


def _image_tokens(answer: Any) -> int:
    return int(answer.usage.input_tokens_details.image_tokens)


def _png(colour: str | tuple[int, ...]) -> tuple[str, bytes]:
    file = io.BytesIO()
    Image.new("RGBA", (128, 128), colour).save(file, "png")
    return "a.png", file.getvalue()


def _azure(client: openai.AzureOpenAI) -> Iterator[Row]:
    generate = partial(client.images.generate, model="gpt-image-2", quality="low")
    yield "azure: a deployment", "ok", _named(partial(generate, prompt="a red fox"))
    yield "azure: no such deployment", "NotFoundError", _named(partial(client.images.generate, model="nobody", prompt="a red fox"))
    yield "azure: its filter", "BadRequestError", _named(partial(generate, prompt="[[fault:content_policy_violation]]"))
    yield "azure: a call too many", "RateLimitError", _named(partial(generate, prompt="[[fault:rate_limited]]"))
    wrong = client.with_options(api_key="sk-wrong-0123456789")
    yield "azure: a wrong key", "AuthenticationError", _named(partial(wrong.images.generate, model="gpt-image-2", prompt="a red fox"))
    yield "azure: models", "True", str("gpt-image-2" in [model.id for model in client.models.list()])


def _check(port: int, spec: Spec) -> list[Row]:
    root = f"http://127.0.0.1:{port}"
    with openai.AzureOpenAI(api_key=KEY, azure_endpoint=root, api_version="2025-04-01-preview", max_retries=0) as client:
        azure = [*_azure(client), *_edits(client, "azure")]
    with openai.OpenAI(api_key=KEY, base_url=f"{root}/v1", max_retries=0) as client:
        return [
            *_good_answers(client, spec),
            *_errors(client, spec),
            *_parameters(client, spec),
            *_accounts(client),
            *_edits(client, "openai"),
            *azure,
        ]


async def _rows(spec: Spec) -> list[Row]:
    pools = (
        SimulatedPool(name="open", keys=(KEY,), images_per_minute=None),
        SimulatedPool(name="limited", keys=("sk-limited-0123456789",), images_per_minute=1.0),
    )
    world = World(SimulatorSettings(pools=pools, latency_s=0, pictures="template"))
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, make_app(world), "127.0.0.1", 0)
        rows = await trio.to_thread.run_sync(_check, port, spec)
        nursery.cancel_scope.cancel()
    return rows


def main() -> int:
    """Print the table; 0 if every line of it is as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("openapi", type=Path, help="OpenAPI description, YAML")
    rows = trio.run(_rows, Spec(parser.parse_args().openapi))
    width = max(len(what) for what, _, _ in rows)
    for what, expected, got in rows:
        print(f"{'ok  ' if got == expected else 'FAIL'} {what:{width}}  {expected:24} {got}")
    failed = sum(got != expected for _, expected, got in rows)
    print(f"{len(rows) - failed} of {len(rows)} as expected, openai {openai.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
