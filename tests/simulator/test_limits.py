from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from headrace.models import catalogue
from headrace.records import Request
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app
from headrace.simulator.limits import go_duration
from headrace.tokens import prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WAIT = re.compile(
    r"Rate limit reached for (\S+) \(for limit gpt-image\) in organization org-studio on (.+?) per min.*?: "
    r"Limit (\d+), Used (\d+), Requested (\d+)\. Please try again in ([\d.]+m?s)\."
)


@attrs.frozen
class Caller:
    """A client of a world, in-process."""

    world: World
    http: httpx.AsyncClient

    async def ask(self, prompt: str = "a fox", key: str = "sk-sim-a", **fields: Any) -> httpx.Response:
        body = {"prompt": prompt, "model": "gpt-image-2", "quality": "low", "size": "1024x1024", **fields}
        return await self.http.post("/v1/images/generations", json=body, headers={"authorization": f"Bearer {key}"})


def in_virtual_time(test: Callable[[Caller], Awaitable[None]], *pools: SimulatedPool, **settings: Any) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"latency_s": 0, "pictures": "template"} | settings
        world = World(SimulatorSettings(pools=pools, **options))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(make_app(world)), base_url="http://simulator") as http:
            await test(Caller(world, http))

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_sixth_image_of_five_a_minute_is_told_to_wait_12_s() -> None:
    async def test(caller: Caller) -> None:
        assert [(await caller.ask()).status_code for _ in range(5)] == [200] * 5
        refused = await caller.ask()
        error = refused.json()["error"]
        assert (refused.status_code, error["type"], error["code"]) == (429, "input-images", "rate_limit_exceeded")
        match = WAIT.fullmatch(error["message"])
        assert match
        assert match.groups() == ("gpt-image-2", "input-images", "5", "5", "1", "12s")
        assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("12", "12000")
        assert not [name for name in refused.headers if name.startswith("x-ratelimit")]
        await trio.sleep(12)
        assert (await caller.ask()).status_code == 200
        assert caller.world.counts == {"ok": 6, "rate_limited": 1}

    in_virtual_time(test, SimulatedPool(images_per_minute=5.0))


@pytest.mark.parametrize(
    ("pool", "last", "refused"),
    [
        (SimulatedPool(images_per_minute=10.0), 120, 20),
        (SimulatedPool(images_per_minute=10.0, discipline="sliding"), 120, 2),
        # Of a minute with 10 images a tenth is forgotten every 6 s; then there were 9 in the next one.
        (SimulatedPool(images_per_minute=10.0, discipline="counter"), 186.667, 20),
        (SimulatedPool(images_per_minute=10.0, discipline="fixed"), 120, 2),
        (SimulatedPool(images_per_minute=120.0, discipline="fixed", window_s=10.0), 10, 1),
        (SimulatedPool(images_per_minute=120.0, discipline="fixed", window_s=1.0), 14, 14),
    ],
)
def test_a_client_that_waits_as_told_gets_everything_through(pool: SimulatedPool, last: float, refused: int) -> None:
    async def test(caller: Caller) -> None:
        while caller.world.counts["ok"] < 30:
            answer = await caller.ask()
            if answer.status_code == 429:
                await trio.sleep(int(answer.headers["retry-after-ms"]) / 1000)
        stats = caller.world.accepted["studio"]
        assert (stats.number, stats.images, stats.first) == (30, 30, 0)
        assert stats.last == pytest.approx(last, abs=0.1)
        assert caller.world.counts["rate_limited"] == refused

    in_virtual_time(test, pool, charge_rejected=False)


@pytest.mark.parametrize("discipline", ["continuous", "sliding", "counter", "fixed"])
def test_one_wait_as_told_is_enough_although_the_refused_call_was_charged(discipline: Any) -> None:
    async def test(caller: Caller) -> None:
        for _ in range(5):
            assert (await caller.ask()).status_code == 200
        await trio.sleep(9.6)
        refused = await caller.ask()
        assert ": Limit 5, Used 5, Requested 1. Please try again in " in refused.json()["error"]["message"]
        await trio.sleep(int(refused.headers["retry-after-ms"]) / 1000)
        assert (await caller.ask()).status_code == 200

    in_virtual_time(test, SimulatedPool(images_per_minute=5.0, discipline=discipline))


def test_rejected_calls_keep_an_impatient_client_out() -> None:
    async def rush(caller: Caller) -> None:
        for _ in range(600):
            await caller.ask()
            await trio.sleep(0.2)

    async def charged(caller: Caller) -> None:
        await rush(caller)
        assert caller.world.accepted["studio"].images == 10

    async def free(caller: Caller) -> None:
        await rush(caller)
        assert caller.world.accepted["studio"].images == 29

    pool = SimulatedPool(images_per_minute=10.0)
    in_virtual_time(charged, pool)
    in_virtual_time(free, pool, charge_rejected=False)


def test_n_images_are_charged_and_more_than_the_limit_can_never_pass() -> None:
    async def test(caller: Caller) -> None:
        assert (await caller.ask(n=4)).status_code == 200
        assert (await caller.ask(n=2)).headers["retry-after"] == "12"
        refused = await caller.ask(n=10)
        message = refused.json()["error"]["message"]
        assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
        assert "Limit 5, Requested 10." in message
        assert "Used" not in message
        assert "retry-after" not in refused.headers

    in_virtual_time(test, SimulatedPool(images_per_minute=5.0), charge_rejected=False)


def test_tokens_are_charged_at_admission_and_quoted_as_their_own_type() -> None:
    async def test(caller: Caller) -> None:
        request = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
        tokens = prompt_tokens("a fox") + catalogue().model("gpt-image-2").output_tokens(request)
        assert [(await caller.ask()).status_code for _ in range(1000 // tokens)] == [200] * (1000 // tokens)
        error = (await caller.ask()).json()["error"]
        assert error["type"] == "tokens"
        assert f"on tokens per min (TPM): Limit 1000, Used {1000 // tokens * tokens}, Requested {tokens}." in error["message"]
        assert caller.world.accepted["studio"].images == 1000 // tokens

    in_virtual_time(test, SimulatedPool(images_per_minute=None, tokens_per_minute=1000.0))


def test_what_one_limit_refuses_is_not_charged_to_the_tokens() -> None:
    async def test(caller: Caller) -> None:
        assert (await caller.ask()).status_code == 200
        for _ in range(20):
            assert (await caller.ask()).json()["error"]["type"] == "requests"
        await trio.sleep(60)
        assert (await caller.ask()).status_code == 200

    in_virtual_time(test, SimulatedPool(tokens_per_minute=400.0, requests_per_minute=1.0))


def test_keys_of_one_organisation_share_its_limits_and_others_have_their_own() -> None:
    async def test(caller: Caller) -> None:
        assert (await caller.ask(key="sk-1")).status_code == 200
        assert (await caller.ask(key="sk-2")).status_code == 429
        assert (await caller.ask(key="sk-3")).status_code == 200

    one = SimulatedPool(name="one", keys=("sk-1", "sk-2"), images_per_minute=1.0)
    in_virtual_time(test, one, SimulatedPool(name="two", keys=("sk-3",), images_per_minute=1.0))


def test_more_calls_at_once_than_allowed_are_told_to_slow_down_without_a_time() -> None:
    async def test(caller: Caller) -> None:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await caller.ask())

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 3
        assert {answer.json()["error"]["code"] for answer in refused} == {"slow_down"}
        assert not any("retry-after" in answer.headers for answer in refused)
        assert caller.world.peak == {"studio": 2}
        assert caller.world.counts == {"ok": 2, "slow_down": 3}
        assert (await caller.ask()).status_code == 200

    in_virtual_time(test, SimulatedPool(max_concurrency=2), latency_s=5.0)


def test_limit_headers_say_when_the_whole_limit_is_free_again() -> None:
    async def test(caller: Caller) -> None:
        answer = await caller.ask()
        assert answer.headers["x-ratelimit-limit-input-images"] == "5"
        assert answer.headers["x-ratelimit-remaining-input-images"] == "4"
        assert answer.headers["x-ratelimit-reset-input-images"] == "12s"
        for _ in range(4):
            await caller.ask()
        refused = await caller.ask()
        assert refused.headers["x-ratelimit-reset-input-images"] == "1m0s"
        assert refused.headers["retry-after"] == "12"

    in_virtual_time(test, SimulatedPool(images_per_minute=5.0), limit_headers=True)


def test_a_limit_changed_in_mid_run_holds_at_once() -> None:
    async def test(caller: Caller) -> None:
        for _ in range(4):
            assert (await caller.ask()).status_code == 200
        caller.world.change_limit("studio", images_per_minute=1.0)
        assert (await caller.ask()).status_code == 200
        assert (await caller.ask()).headers["retry-after"] == "60"
        caller.world.change_limit("studio", images_per_minute=None)
        assert (await caller.ask()).status_code == 200
        caller.world.change_limit("studio", images_per_minute=0)
        assert (await caller.ask()).headers["x-should-retry"] == "false"

    in_virtual_time(test, SimulatedPool(images_per_minute=5.0), charge_rejected=False)


def test_each_limit_can_be_changed_alone_and_the_others_stay() -> None:
    async def test(caller: Caller) -> None:
        change = caller.world.change_limit
        change("studio", requests_per_minute=1)
        assert (await caller.ask()).status_code == 200
        assert (await caller.ask()).json()["error"]["type"] == "requests"
        change("studio", requests_per_minute=None, tokens_per_minute=10)
        assert (await caller.ask()).json()["error"]["type"] == "tokens"
        change("studio", tokens_per_minute=None)
        assert [(await caller.ask()).status_code for _ in range(4)] == [200] * 4
        assert (await caller.ask()).json()["error"]["type"] == "input-images"

    in_virtual_time(test, SimulatedPool(images_per_minute=5.0), charge_rejected=False)


def test_calls_at_once_can_be_changed_while_some_are_under_way() -> None:
    async def test(caller: Caller) -> None:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await caller.ask()).status_code)

        async with trio.open_nursery() as nursery:
            for cap in (2, 2, 2, None, 4):
                caller.world.change_limit("studio", max_concurrency=cap)
                nursery.start_soon(ask)
                await trio.sleep(0.1)
        assert statuses == [429, 200, 200, 200, 200]

    async def nonsense(caller: Caller) -> None:
        with pytest.raises(ValueError, match="max_concurrency is 0"):
            caller.world.change_limit("studio", max_concurrency=0)
        with pytest.raises(ValueError, match="images_per_minute is nan"):
            caller.world.change_limit("studio", images_per_minute=math.nan)
        assert (await caller.ask()).status_code == 200

    in_virtual_time(test, SimulatedPool(), latency_s=5.0, sigma=0)
    in_virtual_time(nonsense, SimulatedPool())


def test_latency_goes_by_quality_and_scale_and_is_capped() -> None:
    async def seconds(caller: Caller, quality: str, found: list[float]) -> None:
        start = trio.current_time()
        await caller.ask(quality=quality)
        found.append(trio.current_time() - start)

    found: list[float] = []
    for quality in ("low", "medium", "high"):
        in_virtual_time(partial(seconds, quality=quality, found=found), latency_s=None, sigma=0)
    in_virtual_time(partial(seconds, quality="high", found=found), latency_s=None, sigma=0, time_scale=0.01)
    in_virtual_time(partial(seconds, quality="high", found=found), latency_s=1000.0, time_scale=0.5)
    assert found == pytest.approx([15, 35, 75, 0.75, 120])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0119, "12ms"), (0.24, "240ms"), (1, "1s"), (58.891, "58.891s"), (60, "1m0s"), (360, "6m0s"), (3600, "1h0m0s")],
)
def test_durations_read_as_go_prints_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
