"""``headrace doctor`` of the Redis that processes share."""

from __future__ import annotations

import gc
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.doctor.finding import Finding, State
from headrace.doctor.store import store
from headrace.quota.exchange import SCRIPT, encoded, keys_of, prefix_of
from headrace.redis import client
from headrace.redis.client import open_redis
from headrace.settings import VENDOR_URL, Settings

if TYPE_CHECKING:
    from tests.conftest import RedisServer

# coredis leaves the streams of a connection that broke to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")


def looked(url: str | None, environ: dict[str, str] | None = None, **tables: Any) -> list[Finding]:
    quota = {} if url is None else {"store": url}
    settings = Settings.from_dict({"quota": quota | tables.pop("quota", {}), **tables})
    found = trio.run(partial(store, settings, environ or {}))
    gc.collect()  # what broke must not be found in another test
    return found


def test_a_store_that_works_is_a_line_with_how_far_it_is_and_who_is_there(redis: RedisServer) -> None:
    async def comes() -> None:
        async with open_redis(redis.url) as server:
            for name in ("a", "b"):
                told = encoded({"worker": name, "ttl": 10**9})
                await server.run(SCRIPT, keys_of(prefix_of("doctor", VENDOR_URL, "studio"), ()), told)

    trio.run(comes)
    (found,) = looked(redis.url.reveal(), pool=[{"name": "studio"}, {"name": "other"}], quota={"namespace": "doctor"})
    assert found.state is State.OK
    assert found.message.startswith("Redis ")
    assert f"at 127.0.0.1:{redis.port}: scripts work, " in found.message
    assert found.message.endswith("ms there and back; processes at work now: studio 2, other 0")


def test_without_a_store_or_in_a_simulation_nobody_is_asked() -> None:
    assert looked(None) == []
    (found,) = looked("redis://127.0.0.1:1", run={"simulate": True})
    assert found.state is State.SKIPPED


def test_a_store_that_evicts_keys_is_a_warning_with_what_to_do(own_redis: RedisServer) -> None:
    async def evicts() -> None:
        async with open_redis(own_redis.url) as server:
            await server._client.config_set({"maxmemory-policy": "allkeys-lru"})

    trio.run(evicts)
    fine, found = looked(own_redis.url.reveal())
    assert fine.state is State.OK
    assert (found.state, found.next) == (State.WARNING, "set maxmemory-policy noeviction there")
    assert "allkeys-lru" in found.message


def test_a_store_that_is_a_replica_fails_before_a_run_does(own_redis: RedisServer) -> None:
    async def follows() -> None:
        async with open_redis(own_redis.url) as server:
            await server._client.replicaof("127.0.0.1", own_redis.port + 1)

    trio.run(follows)
    (found,) = looked(own_redis.url.reveal())
    assert found.state is State.FAILED
    assert "ReadOnlyError" in found.message
    assert "replica" in found.next


def test_a_password_is_taken_and_not_shown(locked_redis: RedisServer) -> None:
    url = locked_redis.url.reveal().replace("//", "//:{}@")
    (fine,) = looked(url.format("hush-hush"))
    (wrong,) = looked(url.format("hush-now"))
    assert (fine.state, wrong.state) == (State.OK, State.FAILED)
    assert "hush" not in f"{fine} {wrong}"
    (unset,) = looked(locked_redis.url.reveal(), quota={"password_env": "NO_SUCH_PASSWORD"})
    assert "NO_SUCH_PASSWORD" in unset.message + unset.next


def test_a_store_that_does_not_answer_is_one_line(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CALL_S", 0.2)
    own_redis.stop()
    (found,) = looked(own_redis.url.reveal())
    own_redis.go_on()
    assert found.state is State.FAILED
    assert f"no Redis can be used at 127.0.0.1:{own_redis.port}" in found.message


def test_a_missing_extra_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coredis", None)
    (found,) = looked("redis://127.0.0.1:1")
    assert (found.state, found.next) == (State.FAILED, "install it with: pip install 'headrace[redis]'")
