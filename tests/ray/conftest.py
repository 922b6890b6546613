from __future__ import annotations

import gc
import logging
import os
import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.settings import Settings
from headrace.simulator import SimulatorSettings, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IN_FLIGHT = 16
"""In each line."""
KEY = "sk-canary-of-the-actors-0123456789"


@pytest.fixture(scope="session")
def world() -> World:
    """What the API saw; a picture takes 50 ms."""
    return World(SimulatorSettings(latency_s=1.0, sigma=0, time_scale=0.05, pictures="template"))


@pytest.fixture(scope="session")
def url(on_loopback: Callable[[World], str], world: World) -> str:
    """Where it is."""
    return on_loopback(world)


@pytest.fixture
def settings(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """``settings(run={...})``: those of an actor that calls it, with these tables over them."""
    monkeypatch.setenv("ACTORS_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def make(**tables: Any) -> Settings:
        made: dict[str, Any] = {
            "provider": {"base_url": url},
            "pool": [{"name": "studio"}],
            "key": [{"name": "studio-a", "pool": "studio", "env": "ACTORS_KEY"}],
            "cache": {"policy": "exact", "dir": str(tmp_path / "cache")},
            "run": {"out_dir": str(tmp_path / "out"), "max_in_flight": IN_FLIGHT},
        }
        for name, table in tables.items():
            made[name] = made.get(name, {}) | table if isinstance(table, dict) else table
        return Settings.from_dict(made)

    return make


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Ray of its own, as long as the module's tests run; the folder of its logs."""
    import ray.data  # noqa: PLC0415 - a second, and only these tests need it

    terminated = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("ACTORS_KEY", KEY)
        patch.setenv("NO_PROXY", "127.0.0.1")
        warnings.simplefilter("ignore")
        # Claims of an actor that is killed last for 15 s.
        site = tmp_path_factory.mktemp("site")
        (site / "sitecustomize.py").write_text("from headrace.shared_cache import claims\nclaims.LEASE_S = 2.0\n")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        node = ray._private.worker._global_node
        assert node is not None
        try:
            yield Path(node.get_session_dir_path()) / "logs"
        finally:
            ray.shutdown()
            signal.signal(signal.SIGTERM, terminated)
            gc.collect()  # what it leaves must not be found in another test
