"""A key that the API does not take, in real lines with a real Redis between them."""

from __future__ import annotations

import gc
import hashlib
from typing import TYPE_CHECKING

import pytest
import trio

from headrace.assembly import open_race
from headrace.errors import StoppedError
from headrace.quota import turnstile
from headrace.redis.client import open_redis
from headrace.settings import Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from headrace.race import Race
    from tests.conftest import RedisServer

WRONG = "sk-canary-that-nobody-knows-0123"


def settings_of(folder: Path, url: str) -> Settings:
    return Settings.from_dict(
        {
            "pool": [{"name": "studio", "images_per_minute": 600}],
            "key": [{"name": "studio-a", "pool": "studio", "env": "KEY"}],
            "cache": {"policy": "off", "dir": str(folder / "cache")},
            "run": {"out_dir": str(folder / "out")},
            "quota": {"store": url, "namespace": "benches"},
        }
    )


@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")
@pytest.mark.usefixtures("opened_books")
def test_a_wrong_key_is_found_out_by_one_line_and_benched_in_the_other_which_a_new_run_asks_for_itself(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turnstile, "IDLE_BEAT_S", 0.05)
    monkeypatch.setattr(turnstile, "BEAT_S", 0.05)
    world = World(SimulatorSettings(pools=(SimulatedPool(keys=("sk-right",)),), latency_s=0.01, pictures="template"))

    async def main() -> None:
        def line(name: str) -> Settings:
            return settings_of(tmp_path / name, redis.url.reveal())

        def opened(name: str, key: str = WRONG) -> AbstractAsyncContextManager[Race]:
            return open_race(line(name), environ={"KEY": key}, app=make_app(world))

        with trio.fail_after(20):
            async with opened("first") as first, opened("second") as second, opened("third", "sk-right") as third:
                await trio.sleep(0.3)
                async with first.results(["a fox"]) as results:
                    with pytest.raises(StoppedError, match="studio-a"):
                        _ = [result async for result in results]
                while not second.statistics()[0].state.startswith("benched"):  # noqa: ASYNC110 - what is looked for has no event
                    await trio.sleep(0.05)
                assert second.statistics()[0].calls == 0
                assert third.statistics()[0].state == "ready"
            async with opened("fourth") as fourth:
                await trio.sleep(0.3)
                assert fourth.statistics()[0].state == "ready"
        async with open_redis(redis.url) as store:
            keys = [key async for key in store._client.scan_iter("{benches:*")]
            assert [key for key in keys if await store._client.ttl(key) <= 0] == []
            kept = str([await store._client.dump(key) for key in keys])
            assert "studio-a" in kept
            assert WRONG not in kept
            assert hashlib.sha256(WRONG.encode()).hexdigest()[:12] not in kept

    trio.run(main)
    gc.collect()
    told = [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg.get("event") == "benched_elsewhere"]
    assert [event["key"] for event in told] == ["studio-a"]
