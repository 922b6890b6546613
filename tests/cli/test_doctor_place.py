"""``headrace doctor`` of the place where processes share pictures."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.doctor.finding import Finding, State
from headrace.doctor.place import place
from headrace.redis.client import open_redis
from headrace.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RedisServer


# coredis leaves the streams of a connection that broke to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")


def looked(shared: Path | None, redis: RedisServer, **tables: Any) -> list[Finding]:
    cache = {} if shared is None else {"shared": str(shared)}
    quota = {"store": redis.url.reveal(), "namespace": "doctor-place"}
    found = trio.run(partial(place, Settings.from_dict({"cache": cache, "quota": quota, **tables}), {}))
    gc.collect()  # what broke must not be found in another test
    return found


def test_a_place_is_tried_and_left_as_it_was(redis: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (found,) = looked(tmp_path / "place", redis)
    assert (found.state, found.message) == (State.OK, f"{tmp_path}/place: pictures can be shared there")
    assert [*(tmp_path / "place").iterdir()] == []


def test_without_a_place_or_in_a_simulation_nothing_is_tried(redis: RedisServer, tmp_path: Path) -> None:
    assert looked(None, redis) == []
    (found,) = looked(tmp_path / "missing", redis, run={"simulate": True})
    assert found.state is State.SKIPPED


def test_a_place_that_is_not_there_or_not_that_of_the_others_is_one_line(redis: RedisServer, tmp_path: Path) -> None:
    (missing,) = looked(tmp_path / "missing", redis)
    assert (missing.state, missing.next) == (State.FAILED, "make it, or mount what is to be there")

    async def others_have_another() -> None:
        async with open_redis(redis.url) as store:
            await store._client.set("{doctor-place:cache}:place", "0123456789abcdef", ex=60)

    trio.run(others_have_another)
    (other,) = looked(tmp_path, redis)
    assert other.state is State.FAILED
    assert "is not where other processes" in other.message


def test_a_store_that_does_not_answer_is_one_line(redis: RedisServer, tmp_path: Path) -> None:
    (found,) = looked(tmp_path, redis, quota={"store": "redis://127.0.0.1:1"})
    assert found.state is State.FAILED
    assert "no Redis can be used at 127.0.0.1:1" in found.message
