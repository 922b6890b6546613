from __future__ import annotations

import base64
import io
import json
import random
from collections import Counter
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
from PIL import Image
from trio.testing import MockClock

from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app
from headrace.simulator.faults import FAULTS, Stage, pick
from headrace.simulator.spoils import OVERSIZED_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ERRORS = {
    # fault: status, code, type
    "auth": (401, "invalid_api_key", "invalid_request_error"),
    "forbidden": (403, None, "invalid_request_error"),
    "rate_limited": (429, "rate_limit_exceeded", "input-images"),
    "rate_limited_message_only": (429, "rate_limit_exceeded", "input-images"),
    "rate_limited_old": (429, "rate_limit_exceeded", "requests"),
    "rate_limited_date": (429, "rate_limit_exceeded", "input-images"),
    "rate_limited_nonsense": (429, "rate_limit_exceeded", "input-images"),
    "slow_down": (429, "slow_down", "rate_limit_error"),
    "insufficient_quota": (429, "insufficient_quota", "insufficient_quota"),
    "credit_balance_exhausted": (429, "credit_balance_exhausted", "insufficient_quota"),
    "organization_spend_limit_exceeded": (429, "organization_spend_limit_exceeded", "insufficient_quota"),
    "project_spend_limit_exceeded": (429, "project_spend_limit_exceeded", "insufficient_quota"),
    "organization_usage_limit_exceeded": (429, "organization_usage_limit_exceeded", "insufficient_quota"),
    "billing_hard_limit_reached": (400, "billing_hard_limit_reached", "invalid_request_error"),
    "moderation_blocked": (400, "moderation_blocked", "image_generation_user_error"),
    "content_policy_violation": (400, "content_policy_violation", "invalid_request_error"),
    "invalid_value": (400, "invalid_value", "invalid_request_error"),
    "unknown_parameter": (400, "unknown_parameter", "invalid_request_error"),
    "model_not_found": (400, None, "image_generation_user_error"),
    "wrong_url": (404, None, "invalid_request_error"),
    "request_timeout": (408, None, "invalid_request_error"),
    "conflict": (409, None, "invalid_request_error"),
    "server_error": (500, "server_error", "server_error"),
    "overloaded": (503, "server_is_overloaded", "service_unavailable_error"),
    "error_in_200": (200, "server_error", "server_error"),
}
PAGES = {"bad_gateway": 502, "gateway_timeout": 504, "cloudflare_524": 524, "html_200": 200}
FREE_PICTURES = {"empty_data"}


@attrs.frozen
class Caller:
    """A client of a world, in-process."""

    world: World
    http: httpx.AsyncClient

    async def ask(self, prompt: str, **fields: Any) -> httpx.Response:
        headers = {"authorization": "Bearer sk-sim-a"}
        return await self.http.post("/v1/images/generations", json={"prompt": prompt, **fields}, headers=headers)

    async def strike(self, fault: str, **fields: Any) -> httpx.Response:
        return await self.ask(f"a fox [[fault:{fault}]]", **fields)


def in_virtual_time(test: Callable[[Caller], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"latency_s": 10.0, "sigma": 0.0, "pictures": "template", "pools": (SimulatedPool(),)} | settings
        world = World(SimulatorSettings(**options))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(world)), base_url="http://simulator") as http:
            await test(Caller(world, http))

    trio.run(main, clock=MockClock(autojump_threshold=0))


def decoded(answer: httpx.Response) -> list[bytes]:
    return [base64.b64decode(item["b64_json"], validate=True) for item in answer.json()["data"]]


def opened(answer: httpx.Response) -> Image.Image:
    picture = Image.open(io.BytesIO(decoded(answer)[0]))
    picture.load()
    return picture


@pytest.mark.parametrize("fault", [*ERRORS, *PAGES, "deep_json"])
def test_a_fault_without_pictures_answers_what_it_is_named_for(fault: str) -> None:
    async def test(caller: Caller) -> None:
        answer = await caller.strike(fault)
        if fault in ERRORS:
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["type"]) == ERRORS[fault]
            assert error["message"]
            assert "param" in error
        elif fault in PAGES:
            assert answer.status_code == PAGES[fault]
            assert answer.headers["content-type"].startswith("text/html")
            assert answer.text.startswith("<!DOCTYPE html>")
        else:
            assert answer.status_code == 200
            with pytest.raises(RecursionError):
                answer.json()
        # Refused at once and for nothing, or after the latency and charged.
        before = FAULTS[fault].stage is Stage.BEFORE
        assert trio.current_time() == (0 if before else 10)
        assert caller.world.accepted["studio"].number == (0 if before else 1)
        assert caller.world.counts == {fault: 1}
        assert not caller.world.bill

    in_virtual_time(test)


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.stage is Stage.PICTURES])
def test_pictures_spoilt_on_their_way_are_on_the_bill(fault: str) -> None:
    async def test(caller: Caller) -> None:
        try:
            answer = await caller.strike(fault)
        except ConnectionResetError:
            assert fault == "disconnect"
        else:
            assert answer.status_code == 200
        assert caller.world.counts == {fault: 1}
        assert sum(caller.world.bill.values()) == (fault not in FREE_PICTURES)

    in_virtual_time(test)


def test_each_way_to_say_when_to_come_back() -> None:
    async def test(caller: Caller) -> None:
        short = await caller.strike("rate_limited")
        assert (short.headers["retry-after"], short.headers["retry-after-ms"]) == ("1", "240")
        only = await caller.strike("rate_limited_message_only")
        assert "Please try again in 240ms." in only.text
        assert "retry-after" not in only.headers
        assert "try again after 1.84 seconds." in (await caller.strike("rate_limited_old")).text
        assert parsedate_to_datetime((await caller.strike("rate_limited_date")).headers["retry-after"]).tzinfo
        assert (await caller.strike("rate_limited_nonsense")).headers["retry-after"] == "NaN"
        assert (await caller.strike("overloaded")).headers["retry-after"] == "1"

    in_virtual_time(test)


def test_a_blocked_prompt_has_the_stage_and_the_categories() -> None:
    async def test(caller: Caller) -> None:
        details = (await caller.strike("moderation_blocked")).json()["error"]["moderation_details"]
        assert details["moderation_stage"] in {"input", "output", "unknown"}
        assert details["categories"]

    in_virtual_time(test)


def test_spoilt_bodies_are_spoilt_as_their_names_say() -> None:
    async def test(caller: Caller) -> None:
        assert (await caller.strike("empty_data")).json()["data"] == []
        assert isinstance((await caller.strike("bare_list")).json(), list)
        assert "b64_json" not in (await caller.strike("missing_b64")).json()["data"][0]
        with pytest.raises(ValueError, match=r"base64|Only"):
            decoded(await caller.strike("broken_base64"))
        with pytest.raises(json.JSONDecodeError):
            (await caller.strike("truncated_json")).json()
        with pytest.raises((OSError, SyntaxError)):
            opened(await caller.strike("truncated_png"))
        assert (await caller.strike("url_instead")).json()["data"][0]["url"].startswith("https://")
        assert len((await caller.strike("oversized")).content) > OVERSIZED_BYTES

    in_virtual_time(test)


def test_a_picture_in_another_form_is_still_a_picture() -> None:
    async def test(caller: Caller) -> None:
        packed = await caller.strike("gzip")
        assert packed.headers["content-encoding"] == "gzip"
        assert opened(packed).size == (1024, 1024)
        url = (await caller.strike("data_url", output_format="webp")).json()["data"][0]["url"]
        head, _, data = url.partition(",")
        assert head == "data:image/webp;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == "WEBP"
        start = trio.current_time()
        slow = await caller.strike("slow_body")
        assert opened(slow).size == (1024, 1024)
        assert trio.current_time() - start > 60

    in_virtual_time(test)


def test_pictures_other_than_asked_for_are_called_what_was_asked_for() -> None:
    async def test(caller: Caller) -> None:
        assert len(decoded(await caller.strike("wrong_count"))) == 2
        assert len(decoded(await caller.strike("wrong_count", n=4))) == 3
        other = await caller.strike("wrong_format")
        assert (opened(other).format, other.json()["output_format"]) == ("JPEG", "png")
        other = await caller.strike("wrong_format", output_format="jpeg", output_compression=50)
        assert (opened(other).format, other.json()["output_format"]) == ("PNG", "jpeg")
        other = await caller.strike("wrong_size")
        assert (opened(other).size, other.json()["size"]) == ((512, 512), "1024x1024")

    in_virtual_time(test)


def test_broken_connections_are_connection_errors_in_process() -> None:
    async def test(caller: Caller) -> None:
        with pytest.raises(ConnectionResetError):
            await caller.strike("disconnect")
        with pytest.raises(ConnectionResetError):
            await caller.strike("reset")
        assert caller.world.bill == {"a fox [[fault:disconnect]]": 1}

    in_virtual_time(test)


def test_a_stalled_call_holds_its_place_until_the_client_gives_up() -> None:
    async def test(caller: Caller) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.strike, "stall")
            await trio.sleep(80_000)
            assert (await caller.ask("a hare")).status_code == 429
            nursery.cancel_scope.cancel()
        assert (await caller.ask("a hare")).status_code == 200
        assert caller.world.bill == {"a hare": 1}

    in_virtual_time(test, pools=(SimulatedPool(max_concurrency=1),))


def test_a_marker_with_a_number_strikes_that_often_and_several_take_turns() -> None:
    async def test(caller: Caller) -> None:
        prompt = "[[fault:server_error*2]] a fox [[fault:overloaded*1]]"
        assert [(await caller.ask(prompt)).status_code for _ in range(5)] == [500, 500, 503, 200, 200]
        assert caller.world.counts == {"server_error": 2, "overloaded": 1, "ok": 2}
        assert caller.world.bill == {prompt: 2}

    in_virtual_time(test)


def test_a_call_that_a_limit_refused_uses_up_no_marker() -> None:
    async def test(caller: Caller) -> None:
        assert (await caller.ask("a hare")).status_code == 200
        prompt = "a fox [[fault:server_error*1]]"
        assert (await caller.ask(prompt)).status_code == 429
        await trio.sleep(60)
        assert (await caller.ask(prompt)).status_code == 500

    in_virtual_time(test, pools=(SimulatedPool(images_per_minute=1.0),))


def test_faults_by_probability_come_as_often_as_they_should_and_the_same_in_every_run() -> None:
    chances = {"server_error": 0.2, "reset": 0.1}
    rng = random.Random(0)
    picked = [pick("a fox", 0, chances, rng) for _ in range(5000)]
    counts = Counter(picked)
    assert counts["server_error"] == pytest.approx(1000, rel=0.15)
    assert counts["reset"] == pytest.approx(500, rel=0.15)

    outcomes: list[list[int]] = []

    async def test(caller: Caller) -> None:
        outcomes.append([(await caller.ask(f"p{number}", quality="low")).status_code for number in range(60)])

    for _ in range(2):
        in_virtual_time(test, faults={"server_error": 0.3}, latency_s=0, pools=())
    assert outcomes[0] == outcomes[1]
    assert {200, 500} == set(outcomes[0])
