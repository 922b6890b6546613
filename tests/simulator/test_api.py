from __future__ import annotations

import base64
import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
from PIL import Image
from trio.testing import MockClock

from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app
from headrace.tokens import prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEY = "sk-sim-a"
DEFAULTS = SimulatorSettings(latency_s=10.0, sigma=0.0, pictures="template")


@attrs.frozen
class Caller:
    """A client of a world, in-process."""

    world: World
    http: httpx.AsyncClient

    async def ask(self, prompt: str = "a fox", *, key: str = KEY, **fields: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return await self.http.post("/v1/images/generations", json={"prompt": prompt, **fields}, headers=headers)


def in_virtual_time(test: Callable[[Caller], Awaitable[None]], settings: SimulatorSettings = DEFAULTS) -> None:
    async def main() -> None:
        world = World(settings)
        transport = httpx.ASGITransport(app=make_app(world))
        async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as http:
            await test(Caller(world, http))

    trio.run(main, clock=MockClock(autojump_threshold=0))


def with_pool(**limits: Any) -> SimulatorSettings:
    return attrs.evolve(DEFAULTS, pools=(SimulatedPool(**limits),))


def test_an_answer_has_the_recorded_form() -> None:
    async def test(caller: Caller) -> None:
        answer = await caller.ask("a siamese cat", model="gpt-image-2")
        assert answer.status_code == 200
        body = answer.json()
        assert list(body) == ["created", "background", "data", "output_format", "quality", "size", "usage"]
        assert (body["background"], body["output_format"]) == ("opaque", "png")
        assert (body["quality"], body["size"]) == ("high", "1024x1024")
        tokens = prompt_tokens("a siamese cat")
        assert body["usage"] == {
            "input_tokens": tokens,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": tokens},
            "output_tokens": 7024,
            "output_tokens_details": {"image_tokens": 7024, "text_tokens": 0},
            "total_tokens": 7024 + tokens,
        }
        assert answer.text.startswith('{\n  "created"')
        assert answer.headers["openai-processing-ms"] == "10000"
        assert answer.headers["x-request-id"].startswith("req_")
        assert not [name for name in answer.headers if name.startswith("x-ratelimit") or name == "content-length"]
        picture = Image.open(io.BytesIO(base64.b64decode(body["data"][0]["b64_json"])))
        assert (picture.format, picture.size) == ("PNG", (1024, 1024))

    in_virtual_time(test)


def test_n_pictures_differ_and_are_paid_together() -> None:
    async def test(caller: Caller) -> None:
        body = (await caller.ask(n=3, quality="low")).json()
        assert len({item["b64_json"] for item in body["data"]}) == 3
        assert body["usage"]["output_tokens"] == 3 * 196
        assert caller.world.bill == {"a fox": 1}

    in_virtual_time(test)


def test_the_same_settings_give_the_same_latencies_whatever_the_order() -> None:
    async def latencies(prompts: list[str], found: dict[str, float], caller: Caller) -> None:
        for prompt in prompts:
            start = trio.current_time()
            await caller.ask(prompt)
            found[prompt] = trio.current_time() - start

    one: dict[str, float] = {}
    other: dict[str, float] = {}
    settings = SimulatorSettings(pictures="template", seed=3)
    in_virtual_time(partial(latencies, ["a", "b", "c"], one), settings)
    in_virtual_time(partial(latencies, ["c", "a", "b"], other), settings)
    assert one == pytest.approx(other)
    assert len(set(one.values())) == 3


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
        ({"effort": "low"}, "unknown_parameter", "effort"),
        ({"prompt": ""}, "missing_required_parameter", "prompt"),
        ({"prompt": 5}, "invalid_type", "prompt"),
        ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": 11}, "invalid_value", "n"),
        ({"n": True}, "invalid_type", "n"),
        ({"n": "2"}, "invalid_type", "n"),
        ({"size": "512x512"}, "invalid_value", "size"),
        ({"quality": "ultra"}, "invalid_value", "quality"),
        ({"model": "gpt-image-2", "quality": "max"}, "invalid_value", "quality"),
        ({"output_format": "gif"}, "invalid_value", "output_format"),
        ({"output_compression": 101, "output_format": "jpeg"}, "invalid_value", "output_compression"),
        ({"output_compression": 50}, "invalid_value", "output_compression"),
        ({"background": "transparent", "output_format": "jpeg"}, "invalid_value", "background"),
        ({"background": "blue"}, "invalid_value", "background"),
        ({"moderation": "high"}, "invalid_value", "moderation"),
        ({"stream": True}, "invalid_value", "stream"),
        ({"prompt": "[[fault:no_such]]"}, "invalid_value", "prompt"),
    ],
)
def test_what_the_api_refuses_is_400_with_the_parameter(fields: dict[str, Any], code: str, param: str) -> None:
    async def test(caller: Caller) -> None:
        answer = await caller.ask(**{"prompt": "a fox", **fields})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
        assert trio.current_time() == 0
        assert not caller.world.bill

    in_virtual_time(test)


def test_an_unknown_parameter_is_named_in_the_vendors_words() -> None:
    async def test(caller: Caller) -> None:
        assert (await caller.ask(effort=1)).json()["error"]["message"] == "Unknown parameter: 'effort'."
        error = (await caller.ask(model="dall-e-3")).json()["error"]
        assert (error["message"], error["type"]) == (
            "The model 'dall-e-3' does not exist.",
            "image_generation_user_error",
        )

    in_virtual_time(test)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 200_000])
def test_a_body_that_is_no_object_is_400(raw: bytes) -> None:
    async def test(caller: Caller) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await caller.http.post("/v1/images/generations", content=raw, headers=headers)
        assert answer.status_code == 400

    in_virtual_time(test)


def test_null_is_as_good_as_absent_and_every_unicode_prompt_is_answered() -> None:
    async def test(caller: Caller) -> None:
        body = json.dumps({"prompt": "\ud800 \0 🦊 日本", "n": None, "size": None})
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await caller.http.post("/v1/images/generations", content=body, headers=headers)
        assert answer.status_code == 200
        assert (await caller.http.get("/_simulator/bill")).json() == {"\ud800 \0 🦊 日本": 1}

    in_virtual_time(test)


def test_a_retired_model_is_served() -> None:
    async def test(caller: Caller) -> None:
        assert (await caller.ask(model="gpt-image-1")).status_code == 200

    in_virtual_time(test)


def test_a_wrong_key_is_401_and_never_quoted() -> None:
    async def test(caller: Caller) -> None:
        answer = await caller.ask(key="sk-canary-0123456789")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert "canary-0123456789" not in answer.text
        assert (await caller.http.post("/v1/images/generations", json={"prompt": "x"})).status_code == 401
        assert (await caller.http.get("/v1/models")).status_code == 401

    in_virtual_time(test, with_pool())


def test_a_revoked_key_is_401_from_then_on() -> None:
    async def test(caller: Caller) -> None:
        assert (await caller.ask()).status_code == 200
        caller.world.revoke(KEY)
        assert (await caller.ask()).status_code == 401

    in_virtual_time(test, with_pool())


def test_a_benched_pool_answers_with_its_money_code_for_every_key_and_others_go_on() -> None:
    async def test(caller: Caller) -> None:
        caller.world.bench("one", "insufficient_quota")
        for key in ("sk-1", "sk-2"):
            answer = await caller.ask(key=key)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
        assert (await caller.ask(key="sk-3")).status_code == 200
        with pytest.raises(ValueError, match="no pool"):
            caller.world.bench("three", "insufficient_quota")
        with pytest.raises(ValueError, match="keep a call out"):
            caller.world.bench("one", "stall")

    pools = (SimulatedPool(name="one", keys=("sk-1", "sk-2")), SimulatedPool(name="two", keys=()))
    in_virtual_time(test, attrs.evolve(DEFAULTS, pools=pools))


def test_the_listings_and_everything_else() -> None:
    async def test(caller: Caller) -> None:
        await caller.ask()
        get = partial(caller.http.get, headers={"authorization": f"Bearer {KEY}"})
        models = {model["id"]: model for model in (await get("/v1/models")).json()["data"]}
        assert models["gpt-image-1"]["shutdown_date"] == "2026-10-23"
        assert "shutdown_date" not in models["gpt-image-2.6-flare"]
        assert (await get("/_simulator/bill")).json() == {"a fox": 1}
        assert (await get("/_simulator/counts")).json() == {"ok": 1}
        wrong = await caller.http.post("/v1/images/generate", json={})
        assert (wrong.status_code, wrong.json()["error"]["message"]) == (404, "Invalid URL (POST /v1/images/generate)")
        assert (await get("/v1/images/generations")).status_code == 404
        assert (await caller.http.post("/v1/models")).status_code == 404

    in_virtual_time(test)


def test_a_generation_that_is_cancelled_is_not_paid_and_gives_its_place_back() -> None:
    async def test(caller: Caller) -> None:
        with trio.move_on_after(5):
            await caller.ask()
        assert not caller.world.bill
        assert (await caller.ask()).status_code == 200
        assert caller.world.bill == {"a fox": 1}
        assert caller.world.peak == {"studio": 1}

    in_virtual_time(test, with_pool(max_concurrency=1))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="same key"):
        SimulatorSettings(pools=(SimulatedPool(name="a"), SimulatedPool(name="b")))
    with pytest.raises(ValueError, match="same name"):
        SimulatorSettings(pools=(SimulatedPool(keys=("1",)), SimulatedPool(keys=("2",))))
    with pytest.raises(ValueError, match="probabilities"):
        SimulatorSettings(faults={"reset": 0.7, "stall": 0.7})
    with pytest.raises(ValueError, match="no fault 'nonsense'"):
        World(SimulatorSettings(faults={"nonsense": 0.1}))
    with pytest.raises(ValueError, match="images_per_minute"):
        SimulatedPool(images_per_minute=-1.0)
