from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def on_loopback(test: Callable[[World, httpx.AsyncClient], Awaitable[None]], settings: SimulatorSettings) -> None:
    async def main() -> None:
        world = World(settings)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                port = await nursery.start(serve, make_app(world), "127.0.0.1", 0)
                headers = {"authorization": "Bearer sk-sim-a"}
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
                    await test(world, http)
                nursery.cancel_scope.cancel()

    trio.run(main)


async def ask(http: httpx.AsyncClient, prompt: str) -> httpx.Response:
    return await http.post("/v1/images/generations", json={"prompt": prompt, "quality": "low"})


def test_a_real_socket_gives_pictures_refusals_and_broken_connections(capfd: pytest.CaptureFixture[str]) -> None:
    async def test(world: World, http: httpx.AsyncClient) -> None:
        answer = await ask(http, "a fox")
        assert answer.status_code == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.json()["data"][0]["b64_json"]
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await ask(http, "[[fault:disconnect]]")
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await ask(http, "[[fault:reset]]")
        assert (await ask(http, "a hare")).status_code == 200
        assert (await ask(http, "an owl")).headers["retry-after"] == "20"
        assert world.bill == {"a fox": 1, "[[fault:disconnect]]": 1, "a hare": 1}

    settings = SimulatorSettings(pools=(SimulatedPool(images_per_minute=3.0),), latency_s=0, pictures="template")
    on_loopback(test, settings)
    assert capfd.readouterr() == ("", "")


def test_a_client_that_hangs_up_is_billed_for_what_it_asked_for() -> None:
    async def test(world: World, http: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/v1/images/generations", json={"prompt": "a fox"}, timeout=0.05)
        while not world.bill:
            await trio.lowlevel.checkpoint()
        assert world.bill == {"a fox": 1}

    on_loopback(test, SimulatorSettings(latency_s=0.2, sigma=0, pictures="template"))


def test_a_stalled_call_ends_when_its_client_hangs_up() -> None:
    async def test(world: World, http: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/v1/images/generations", json={"prompt": "[[fault:stall]]"}, timeout=0.05)
        while (await ask(http, "a fox")).status_code != 200:
            await trio.lowlevel.checkpoint()
        assert world.bill == {"a fox": 1}

    settings = SimulatorSettings(pools=(SimulatedPool(max_concurrency=1),), latency_s=0, pictures="template")
    on_loopback(test, settings)


def test_drawn_pictures_are_made_in_threads_and_padded() -> None:
    async def test(_: World, http: httpx.AsyncClient) -> None:
        bodies: list[bytes] = []

        async def one(prompt: str) -> None:
            bodies.append((await ask(http, prompt)).content)

        async with trio.open_nursery() as nursery:
            for prompt in ("a fox", "a hare", "an owl"):
                nursery.start_soon(one, prompt)
        assert min(map(len, bodies)) > 1_000_000 * 4 / 3

    on_loopback(test, SimulatorSettings(latency_s=0, picture_bytes=1_000_000))
