from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from headrace.settings import CacheSettings, KeySettings, PoolSettings, ProviderSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def api(on_loopback: Callable[[World], str]) -> tuple[str, World]:
    """An API on loopback for the whole session: its base URL and its books."""
    # A picture takes 10 ms; a slow body 0.3 s.
    world = World(SimulatorSettings(latency_s=2.0, sigma=0, time_scale=0.005, pictures="template"))
    return on_loopback(world), world


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
            cache=CacheSettings(policy="exact", dir=str(tmp_path / "cache")),
            run=RunSettings(out_dir=str(tmp_path / "out"), **run),
        )

    return make


@pytest.fixture(autouse=True)
def _pictures_of_the_embedded_simulator_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.owners.SIMULATED_TIME_SCALE", 0.001)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No line goes on behind the back of its caller."""
    before = set(threading.enumerate())
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "headrace" and thread not in before] == []
