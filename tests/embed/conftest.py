from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.settings import CacheSettings, KeySettings, PoolSettings, ProviderSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings, World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def api() -> Iterator[tuple[str, World]]:
    """An API on loopback for the whole session: its base URL and its books."""
    # A picture takes 10 ms; a slow body 0.3 s.
    world = World(SimulatorSettings(latency_s=2.0, sigma=0, time_scale=0.005, pictures="template"))
    listening = threading.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            found["port"] = await nursery.start(serve, make_app(world), "127.0.0.1", 0)
            found["end"] = nursery.cancel_scope.cancel
            found["token"] = trio.lowlevel.current_trio_token()
            listening.set()

    def run() -> None:
        # hypercorn breaks its own protocol where an answer is cancelled in the middle; at the end that is nobody's business.
        with suppress(BaseExceptionGroup):
            trio.run(main)

    thread = threading.Thread(target=run)
    thread.start()
    assert listening.wait(PATIENCE_S)
    yield f"http://127.0.0.1:{found['port']}/v1", world
    found["token"].run_sync_soon(found["end"])
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def world(api: tuple[str, World]) -> World:
    """What the API saw."""
    return api[1]


@pytest.fixture
def settings(api: tuple[str, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """``settings(max_in_flight=3)``: those of a caller of the API, with these in ``[run]``."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("EMBEDDED_KEY", "sk-canary-embedded-0123456789")
    monkeypatch.chdir(tmp_path)

    def make(**run: Any) -> Settings:
        return Settings(
            provider=ProviderSettings(base_url=api[0]),
            pool=(PoolSettings(name="studio"),),
            key=(KeySettings(name="studio-a", pool="studio", env="EMBEDDED_KEY"),),
            cache=CacheSettings(dir=str(tmp_path / "cache")),
            run=RunSettings(out_dir=str(tmp_path / "out"), **run),
        )

    return make


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No line goes on behind the back of its caller."""
    before = set(threading.enumerate())
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "headrace" and thread not in before] == []
