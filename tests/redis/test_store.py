"""A real Redis that fails, and real lines that share one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.assembly import open_race
from headrace.errors import UsageError, lone
from headrace.quota.quota import open_quota
from headrace.records import Status
from headrace.redis import client
from headrace.redis.client import LostError, open_redis
from headrace.redis.link import open_link
from headrace.settings import Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.conftest import RedisServer

ENVIRON = {"KEY": "sk-sim-a"}
# coredis leaves the streams of a connection that broke to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        with trio.fail_after(30):
            await main()

    trio.run(in_time)


def settings_of(folder: Path, url: str, **pool: Any) -> Settings:
    return Settings.from_dict(
        {
            "request": {"output_format": "webp", "output_compression": 50, "size": "816x816"},
            "pool": [{"name": "studio"} | pool],
            "key": [{"name": "studio-a", "pool": "studio", "env": "KEY"}],
            "cache": {"policy": "off", "dir": str(folder / "cache")},
            "run": {"out_dir": str(folder / "out")},
            "quota": {"store": url},
        }
    )


def simulated(limit: float) -> World:
    pool = SimulatedPool(images_per_minute=limit, max_concurrency=None, discipline="sliding")
    return World(SimulatorSettings(pools=(pool,), latency_s=0.05, sigma=0.0, pictures="template"))


async def answered(settings: Settings, app: Any, prompts: int) -> list[Status]:
    async with open_race(settings, environ=ENVIRON, app=app) as race, race.results(f"a fox, no. {n}" for n in range(prompts)) as results:
        return [result.status async for result in results]


def test_a_server_that_hangs_dies_or_forgets_is_lost_and_comes_back(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CALL_S", 0.3)

    async def main() -> None:
        async with open_redis(own_redis.url) as store:
            own_redis.stop()
            with pytest.raises(LostError, match="no answer"):
                await store.ping()
            own_redis.go_on()
            await store.ping()
            own_redis.kill()
            with pytest.raises(LostError):
                await store.ping()
            own_redis.start()
            await store.ping()
            assert await store.run("return 1", []) == 1

    run(main)


@pytest.mark.parametrize("bug", [(), (KeyError("a bug"),)])
def test_a_connection_that_breaks_in_several_places_is_lost_and_a_bug_beside_it_is_none_of_that(bug: tuple[Exception, ...]) -> None:
    class Broken:
        async def ping(self) -> None:
            raise ExceptionGroup("reading and writing", [EOFError(), ExceptionGroup("", [ConnectionResetError(), *bug])])

    async def main() -> None:
        with pytest.raises(ExceptionGroup if bug else LostError):
            await client.Redis(Broken(), (OSError, EOFError)).ping()

    run(main)


def test_who_is_cancelled_can_tell_the_store_something_yet(redis: RedisServer) -> None:
    said = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with open_redis(redis.url) as store:
                scope.cancel()
                with trio.CancelScope(shield=True):
                    said.append(await store.run("return 1", []))

    run(main)
    assert said == [1]


def test_who_is_cancelled_while_it_connects_does_not_hang(redis: RedisServer) -> None:
    async def main() -> None:
        for step in range(20):
            with suppress(UsageError), trio.move_on_after(step * 0.0005):
                async with open_redis(redis.url):
                    await trio.sleep_forever()

    run(main)


@pytest.mark.usefixtures("opened_books")
def test_lines_with_one_store_share_one_limit(redis: RedisServer, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, redis.url.reveal(), images_per_minute=1_200)
    world, ended = simulated(1_200), []

    async def main() -> None:
        async def line() -> None:
            ended.append(await answered(settings, make_app(world), 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(line)
            nursery.start_soon(line)
        async with open_redis(redis.url) as store:
            (key,) = [key async for key in store._client.scan_iter("{headrace:*}:images")]
            assert int(await store._client.hget(key, "total")) == 20
            assert await store._client.zcard(key.replace(b":images", b":workers")) == 0

    run(main)
    assert ended == [[Status.OK] * 10] * 2


def test_nothing_is_lost_while_the_store_is(own_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CALL_S", 0.3)
    settings = settings_of(tmp_path, own_redis.url.reveal(), images_per_minute=3_600, max_concurrency=50)
    world, ended = simulated(3_600), []

    async def main() -> None:
        async with open_race(settings, environ=ENVIRON, app=make_app(world)) as race:
            async with race.results(f"a fox, no. {n}" for n in range(60)) as results:
                async for result in results:
                    ended.append(result.status)
                    if len(ended) == 10:
                        own_redis.stop()
                    elif len(ended) == 20:
                        own_redis.go_on()
                    elif len(ended) == 40:
                        own_redis.kill()
                    elif len(ended) == 45:
                        own_redis.start()
            assert race.statistics()[0].refused == 0

    run(main)
    assert ended == [Status.OK] * 60


def unusable(settings: Settings, environ: dict[str, str] | None = None) -> str:
    async def main() -> None:
        async with open_link(settings, environ or {}) as link, open_quota(settings.quota, link):
            pass

    with pytest.raises((UsageError, ExceptionGroup)) as raised:
        run(main)
    error = lone(raised.value)
    assert isinstance(error, UsageError)
    assert "\n" not in str(error)
    return str(error)


def quota(**table: Any) -> Settings:
    return Settings.from_dict({"quota": table})


def test_a_password_lets_in_and_is_seen_nowhere(locked_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    url = locked_redis.url.reveal()
    with_it = url.replace("//", "//:hush-hush@")

    async def main() -> None:
        for settings in (quota(store=with_it), quota(store=url, password_env="REDIS")):
            async with open_link(settings, {"REDIS": "hush-hush"}) as link, open_quota(settings.quota, link) as found:
                assert found is not None
            assert "hush" not in repr(settings)

    run(main)
    wrong = unusable(quota(store=with_it.replace("hush-hush", "hush-now")))
    assert "AuthenticationError" in wrong or "AuthenticationFailure" in wrong
    assert "hush" not in wrong + caplog.text


def test_a_store_that_cannot_be_used_is_one_line() -> None:
    said = unusable(quota(store="redis://:hush@127.0.0.1:1/0"))
    assert said.startswith("[quota] store: no Redis can be used at 127.0.0.1:1: ")
    assert "hush" not in said
    assert "REDIS is not set" in unusable(quota(store="redis://127.0.0.1:1", password_env="REDIS"))


def test_only_the_host_that_a_certificate_is_for_is_trusted(redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (program := shutil.which("openssl")) is None:
        pytest.skip("there is no openssl")
    for name in ("IP:127.0.0.1", "DNS:other.example"):
        certificate = tmp_path / "certificate.pem"
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "-"]
        command = [program, "req", "-x509", *key, "-subj", "/CN=x", "-addext", f"subjectAltName={name}"]
        certificate.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)  # noqa: S603 - found on the path
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        server = type(redis)(tmp_path, certificate=certificate)
        try:
            if name.startswith("IP"):
                run(partial(connected, server))
            else:
                assert "no Redis can be used" in unusable(quota(store=server.url.reveal()))
        finally:
            server.kill()


async def connected(server: RedisServer) -> None:
    async with open_redis(server.url) as store:
        await store.ping()


def test_a_store_where_the_script_may_not_work_is_refused_at_the_start(own_redis: RedisServer) -> None:
    async def main() -> None:
        async with open_redis(own_redis.url) as store:
            await store._client.replicaof("127.0.0.1", own_redis.port + 1)

    run(main)
    assert unusable(quota(store=own_redis.url.reveal())).endswith("ReadOnlyError")


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coredis", None)
    assert "pip install 'headrace[redis]'" in unusable(quota(store="redis://127.0.0.1:1"))


@pytest.mark.parametrize("url", ["http://:hush@127.0.0.1", "redis://", "redis://:hush@h/x", "redis://:hush@h:99999", "redis://:hush@h?a=b"])
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match=r"quota.*redis://127\.0\.0\.1") as raised:
        quota(store=url)
    assert "hush" not in str(raised.value)


def test_without_a_store_or_in_a_simulation_nothing_is_shared() -> None:
    async def main() -> None:
        for settings in (Settings(), Settings.from_dict({"quota": {"store": "redis://127.0.0.1:1"}, "run": {"simulate": True}})):
            async with open_link(settings, {}) as link, open_quota(settings.quota, link) as found:
                assert found is None

    run(main)
