"""A client as one writes it first: a loop, or several at once, that asks once and gives a prompt up on every error."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reliability.simulation import Simulation


def ask_once(simulation: Simulation, request: Mapping[str, Any], prompts: Sequence[str], at_once: int) -> tuple[list[float], float]:
    """When each picture was there that came whole, and when the last call had ended, in virtual seconds."""
    key, waiting = simulation.owners[0].keys[0].secret, iter(prompts)

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(simulation.door)) as client, trio.open_nursery() as nursery:
            client.headers["Authorization"] = f"Bearer {key.reveal()}"
            for _ in range(at_once):
                nursery.start_soon(worker, client)

    async def worker(client: httpx.AsyncClient) -> None:
        for prompt in waiting:
            try:
                answer = await client.post("http://simulated/v1/images/generations", json={**request, "prompt": prompt})
                base64.b64decode(answer.raise_for_status().json()["data"][0]["b64_json"])
            except (httpx.HTTPError, OSError, ValueError):
                continue

    simulation.run(main)
    ended = [(call.ended or 0.0, call.usable) for call in simulation.door.calls]
    return sorted(at for at, usable in ended if usable), max(at for at, _ in ended)
