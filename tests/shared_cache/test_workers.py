"""Real lines that share a cache through a real Redis."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from fsspec.implementations.memory import MemoryFileSystem

from headrace.admission import ledger
from headrace.assembly import open_race
from headrace.cli.options import settings_of
from headrace.errors import UsageError, lone
from headrace.records import Result, Status, Strategy
from headrace.redis import client, link
from headrace.redis.client import open_redis
from headrace.settings import Settings
from headrace.shared_cache import claims
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from tests.conftest import RedisServer

ENVIRON = {"KEY": "sk-sim-a"}
NAMES = itertools.count()
PAID, TAKEN = Strategy.PRIMARY, Strategy.CACHE_EXACT
# coredis leaves the streams of a connection that broke to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, opened_books: tuple[str, str]) -> None:  # noqa: ARG001 - for what it does
    monkeypatch.setattr(claims, "LOOK_S", 0.05)
    monkeypatch.setattr(claims, "LEASE_S", 0.6)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        with trio.fail_after(30):
            await main()

    trio.run(in_time)


def simulated(latency_s: float = 0.05) -> World:
    pool = SimulatedPool(images_per_minute=60_000, max_concurrency=None)
    return World(SimulatorSettings(pools=(pool,), latency_s=latency_s, sigma=0.0, pictures="template"))


@attrs.define
class Workers:
    """Each with folders of its own, over one Redis, one place for pictures and one simulator."""

    folder: Path
    redis: RedisServer
    cache: dict[str, Any] = attrs.field(factory=dict)
    more: dict[str, Any] = attrs.field(factory=dict)
    world: World = attrs.field(factory=simulated)
    run: dict[str, Any] = attrs.field(factory=dict)
    namespace: str = attrs.field(factory=lambda: f"cache-{next(NAMES)}")

    @property
    def place(self) -> Path:
        return self.folder / "shared"

    def tables(self, name: str) -> dict[str, Any]:
        self.place.mkdir(exist_ok=True)
        return {
            "request": {"output_format": "webp", "output_compression": 50, "size": "816x816"},
            "pool": [{"name": "studio", "images_per_minute": 60_000}],
            "key": [{"name": "studio-a", "pool": "studio", "env": "KEY"}],
            "cache": {"policy": "canonical", "shared": str(self.place), "dir": str(self.folder / name / "cache")} | self.cache,
            "run": {"out_dir": str(self.folder / name / "out"), "max_in_flight": 20} | self.run,
            "quota": {"store": self.redis.url.reveal(), "namespace": self.namespace},
        } | self.more

    async def results(
        self, name: str, prompts: Iterable[Any] | AsyncIterable[Any], seen: Callable[[Result], None] = lambda _: None
    ) -> list[Result]:
        settings, found = Settings.from_dict(self.tables(name)), []
        app = None if "provider" in self.more else make_app(self.world)
        async with open_race(settings, environ=ENVIRON, app=app) as race, race.results(prompts) as results:
            async for result in results:
                found.append(result)
                seen(result)
        assert all((self.folder / name / "out" / each.path).is_file() for result in found for each in result.images)
        assert {result.status for result in found} == {Status.OK}
        return found

    async def beside(self, **prompts: Iterable[Any]) -> dict[str, list[Result]]:
        """What each worker gets, by its name, all at once."""
        found = {}

        async def work(name: str) -> None:
            found[name] = await self.results(name, prompts[name])

        async with trio.open_nursery() as nursery:
            for name in prompts:
                nursery.start_soon(work, name)
        return found

    async def keys(self, kind: str) -> list[str]:
        """What there is in the store: ``answer`` or ``flight``."""
        async with open_redis(self.redis.url) as store:
            return [key.decode() async for key in store._client.scan_iter(f"{{{self.namespace}:cache}}:{kind}:*")]

    @property
    def paid(self) -> int:
        return sum(self.world.bill.values())


def foxes(count: int) -> list[str]:
    return [f"a fox, no. {n}" for n in range(count)]


def strategies(results: Iterable[Result]) -> list[Strategy | None]:
    return sorted({result.strategy for result in results}, key=str)


def test_two_workers_pay_once_for_what_both_ask_for(redis: RedisServer, tmp_path: Path) -> None:
    # Few slots, all of them with prompts that wait for the other's, and results that wait for those before them.
    workers = Workers(tmp_path, redis, run={"ordered": True, "max_in_flight": 6})

    async def main() -> None:
        found = await workers.beside(one=foxes(30), other=reversed(foxes(30)))
        results = [*found["one"], *found["other"]]
        assert sum(result.strategy is PAID for result in results) == 30
        taken = [result for result in results if result.strategy is TAKEN]
        assert len(taken) == 30
        for result in taken:
            assert result.match is not None
            assert (result.cost_usd, result.match.prompt) == (0.0, result.prompt)
            assert result.saved_usd
        # A third comes later, and asks in other words.
        assert strategies(await workers.results("third", [f"A fox, no. {n}!" for n in range(30)])) == [Strategy.CACHE_CANONICAL]
        assert await workers.keys("flight") == []
        answers = await workers.keys("answer")
        assert len(answers) == 60
        async with open_redis(redis.url) as store:
            await store._client.delete(answers)
        # What was taken over is in the own cache.
        assert strategies(await workers.results("other", foxes(30))) == [TAKEN]

    run(main)
    assert workers.paid == 30
    assert len([*workers.place.glob("images/*/*.webp")]) == 30
    assert not [*workers.place.rglob("*.part")]


def test_with_a_job_what_the_cache_does_not_answer_is_paid_once_for_each_id(redis: RedisServer, tmp_path: Path) -> None:
    workers = Workers(tmp_path, redis, {"job": "monday"})
    rows = [{"prompt": "a fox", "id": str(n), "cache": mode} for n, mode in enumerate(["bypass", "refresh"] * 5)]
    unnamed = [{"prompt": "a fox", "cache": "bypass"}] * 2

    async def main() -> None:
        for name in ("one", "other"):
            await workers.results(name, rows)
        assert workers.paid == 10
        await workers.results("other", unnamed)
        assert workers.paid == 12
        workers.cache["job"] = "tuesday"
        await workers.results("third", rows)
        assert workers.paid == 22
        del workers.cache["job"]
        await workers.results("third", rows)
        assert workers.paid == 32

    run(main)


def test_a_picture_that_was_changed_is_paid_for_and_mended(redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(tmp_path, redis)

    async def main() -> None:
        await workers.results("one", ["a fox"])
        (file,) = workers.place.glob("images/*/*.webp")
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        assert strategies(await workers.results("other", ["a fox"])) == [PAID]
        assert strategies(await workers.results("third", ["a fox"])) == [TAKEN]

    run(main)
    assert workers.paid == 2
    assert caplog.text.count("shared_picture_broken") == 1


def test_what_strangers_write_into_the_store_does_no_harm(redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(tmp_path, redis)
    (tmp_path / "secret.webp").write_bytes(b"secret")
    outside = json.dumps({"prompt": "a fox", "origin": "1", "pictures": [["../../secret", "webp", 1, 1, 6]], "usage": None})
    hostile = [b"\xff\x00", b"null", b"[" * 10_000, outside.encode(), b'{"prompt": 1}', b"9" * 5_000]

    async def main() -> None:
        await workers.results("one", foxes(7))
        async with open_redis(redis.url) as store:
            answers = sorted(await workers.keys("answer"))
            right = await store._client.get(answers[0])
            for number, name in enumerate(answers):
                # The answer of another prompt is one of them.
                await store._client.set(name, [*hostile, right][number % 7])
            await store._client.delete(answers[-1:])
            await store._client.rpush(answers[-1], ["not even a text"])
            await store._client.set(answers[-2].replace(":answer:", ":flight:"), "a claim without end")
        found = await workers.results("other", foxes(7))
        assert {result.status for result in found} == {Status.OK}

    run(main)
    assert 12 <= workers.paid <= 14
    assert caplog.text.count("shared_answer_broken") == 1
    assert "quota_store_lost" not in caplog.text
    assert not [*(tmp_path / "other").rglob("secret*")]


def test_everything_is_answered_while_the_store_dies_and_comes_back(
    own_redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CALL_S", 0.3)
    monkeypatch.setattr(link, "TRY_S", 0.1)
    monkeypatch.setattr(claims, "OPENING_S", 0.1)
    workers = Workers(tmp_path, own_redis)
    seen = itertools.count()

    def disturb(_: Result) -> None:
        number = next(seen)
        if number == 5:
            own_redis.stop()
        elif number == 25:
            own_redis.go_on()
        elif number == 35:
            own_redis.kill()
        elif number == 40:
            own_redis.start()

    async def prompts() -> AsyncIterator[str]:
        for number, fox in enumerate(foxes(80)):
            while number == 60 and caplog.text.count("quota_store_lost") != caplog.text.count("quota_store_back"):  # noqa: ASYNC110
                await trio.sleep(0.02)
            yield fox

    async def main() -> None:
        assert len(await workers.results("one", prompts(), disturb)) == 80
        # It came back empty, and has been told what was answered since.
        taken = await workers.results("other", foxes(80))
        assert sum(result.strategy is TAKEN for result in taken) >= 20

    run(main)
    assert "shared_place_lost" not in caplog.text


def test_a_place_that_fails_costs_one_warning_and_nobody_waits(
    redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workers = Workers(tmp_path, redis)

    def harm(_: Result) -> None:
        if not (workers.place / "images").is_file():
            (workers.place / "images").rename(tmp_path / "away")
            (workers.place / "images").touch()

    async def main() -> None:
        await workers.results("one", foxes(3))
        await workers.results("one", foxes(40), harm)
        assert await workers.keys("flight") == []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.shared_cache.pictures.PATIENCE_S", 0.2)
        run(main)
    assert workers.paid == 40
    assert caplog.text.count("shared_place_lost") == 1


CHILD = """
import json, sys, trio
from headrace.assembly import open_race
from headrace.quota import turnstile
from headrace.settings import Settings
from headrace.shared_cache import claims
claims.LEASE_S = 0.6
turnstile.SCRIPT = turnstile.SCRIPT.replace(*sys.argv[1:])
async def main():
    settings, prompts = json.loads(sys.stdin.read())
    async with open_race(Settings.from_dict(settings), environ={"KEY": "sk-sim-a"}) as race, race.results(prompts) as results:
        async for result in results:
            print(result.prompt, flush=True)
trio.run(main)
"""


def test_a_killed_process_costs_what_it_had_in_flight(
    redis: RedisServer, tmp_path: Path, on_loopback: Callable[[World], str], opened_books: tuple[str, str]
) -> None:
    world = simulated(0.15)
    workers = Workers(tmp_path, redis, more={"provider": {"base_url": on_loopback(world)}}, world=world)
    command = [sys.executable, "-c", CHILD, *opened_books]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own command
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps([workers.tables("one"), foxes(40)]))
        child.stdin.close()
        done = [child.stdout.readline().strip() for _ in range(15)]
        child.kill()
        done += child.stdout.read().splitlines()

    async def main() -> None:
        assert len(await workers.results("other", foxes(40))) == 40

    run(main)
    assert {world.bill[prompt] for prompt in done} == {1}, "what was emitted is not paid for again"
    assert workers.paid <= 40 + 20
    assert len(world.bill) == 40


def test_who_is_cancelled_lets_others_pay_at_once(redis: RedisServer, tmp_path: Path) -> None:
    workers = Workers(tmp_path, redis, world=simulated(100.0))
    idle: list[Callable[[], str]] = []

    async def waits() -> None:
        tables = workers.tables("waiting")
        tables["run"]["max_in_flight"] = 5
        async with open_race(Settings.from_dict(tables), environ=ENVIRON, app=make_app(workers.world)) as race:
            idle.append(race.primary.gate.idle)
            async with race.results(foxes(6)) as results:
                assert [result async for result in results] == []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.results, "one", foxes(5))
            while len(await workers.keys("flight")) < 10:  # noqa: ASYNC110 - it is another's store
                await trio.sleep(0.02)
            nursery.start_soon(waits)
            await trio.sleep(0.3)
            assert idle[0]() == ledger.IN_FLIGHT, "nobody waits for whoever takes the results"
            nursery.cancel_scope.cancel()
        assert await workers.keys("flight") == []

    run(main)


def test_pictures_on_s3(redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="pip install --group s3")
    server = pytest.importorskip("moto.server", reason="pip install --group s3").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    boto3 = pytest.importorskip("boto3")
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        boto3.client("s3").create_bucket(Bucket="shots")
        workers = Workers(tmp_path, redis, {"shared": "s3://shots/cache"})

        async def main() -> None:
            for name, strategy in (("one", PAID), ("other", TAKEN)):
                assert strategies(await workers.results(name, foxes(3))) == [strategy]

        run(main)
        assert refused(Workers(tmp_path, redis, {"shared": "s3://missing/cache"})).startswith(
            "[cache] shared: s3://missing/cache cannot be"
        )
    finally:
        server.stop()


def test_pictures_in_an_object_store(redis: RedisServer, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/cache"
    workers = Workers(tmp_path, redis, {"shared": url})

    async def main() -> None:
        found = await workers.beside(one=foxes(5), other=foxes(5))
        assert sum(result.strategy is PAID for results in found.values() for result in results) == 5

    try:
        run(main)
        assert len(MemoryFileSystem().glob(f"/{tmp_path.name}/cache/images/*/*.webp")) == 5
    finally:
        MemoryFileSystem.store.clear()
    assert workers.paid == 5


def refused(workers: Workers) -> str:
    async def main() -> None:
        await workers.results("one", [])

    with pytest.raises((UsageError, ExceptionGroup)) as raised:
        run(main)
    error = lone(raised.value)
    assert isinstance(error, UsageError)
    return str(error)


def test_a_place_that_is_not_that_of_the_others_is_refused(redis: RedisServer, tmp_path: Path) -> None:
    workers = Workers(tmp_path, redis)

    async def main() -> None:
        await workers.beside(one=foxes(1), other=foxes(1))

    run(main)
    (tmp_path / "empty").mkdir()
    workers.cache["shared"] = str(tmp_path / "empty")
    said = refused(workers)
    assert said.startswith(f"[cache] shared: {tmp_path}/empty is not where other processes")
    assert f"{{{workers.namespace}:cache}}:place" in said


def test_a_place_that_cannot_be_used_is_one_line(redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = f"[cache] shared: there is no folder {tmp_path}/missing; make it, or mount what is to be there"
    assert refused(Workers(tmp_path, redis, {"shared": f"{tmp_path}/missing"})) == there
    (tmp_path / "file").touch()
    assert refused(Workers(tmp_path, redis, {"shared": f"file://{tmp_path}/file/x"})).startswith("[cache] shared: file://")
    assert refused(Workers(tmp_path, redis, {"shared": "nope://x"})).startswith("fsspec knows no nope://")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert refused(Workers(tmp_path, redis, {"shared": "s3://x"})) == "[cache] shared goes by fsspec; pip install 'headrace[fsspec]'"


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"cache": {"shared": "/mnt/pictures"}}, "cache.shared needs a Redis: name it as store in [quota]"),
        ({"cache": {"shared": "/mnt/pictures", "policy": "off"}}, "shared needs a policy other than 'off'"),
        ({"cache": {"job": "monday"}}, "job goes with shared"),
        ({"cache": {"shared": " "}}, "shared has to be a folder, or a URL"),
        ({"cache": {"shared": "/mnt/pictures/", "dir": "/mnt/other/../pictures"}}, "shared and dir have the same folder"),
        ({"cache": {"shared": "file:///mnt/pictures", "dir": "/mnt/pictures"}}, "shared and dir have the same folder"),
        ({"cache": {"shared": "s3://key:secret@bucket"}}, "shared must not hold a user or a password"),
        ({"cache": {"shared": "s3://key:a/secret@bucket/prefix"}}, "shared must not hold a user or a password"),
        ({"cache": {"shared": "az://box/prefix?sig=secret"}}, "nor a query"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(tables: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        Settings.from_dict(tables)
    assert says in str(raised.value)
    assert "secret" not in str(raised.value)


def test_without_a_cache_on_the_command_line_nothing_is_shared(tmp_path: Path) -> None:
    (tmp_path / "shared.toml").write_text('[quota]\nstore = "redis://h"\n[cache]\nshared = "/mnt/pictures"\njob = "monday"\n')
    options: dict[str, Any] = dict.fromkeys(("profile", "tier", "out_dir", "max_cost_usd", "max_in_flight", "in_doubt"))
    for policy, shared in (("off", None), ("exact", "/mnt/pictures"), (None, "/mnt/pictures")):
        found = settings_of(tmp_path / "shared.toml", request={}, cache=policy, simulate=False, ordered=False, **options)
        assert found.cache.shared == shared


def test_in_a_simulation_nothing_is_shared(tmp_path: Path) -> None:
    tables = {"cache": {"shared": "/nowhere"}, "quota": {"store": "redis://127.0.0.1:1"}}

    async def main() -> None:
        run = {"out_dir": str(tmp_path), "simulate": True}
        async with open_race(Settings.from_dict(tables | {"run": run})) as race:
            assert race.shared_cache is None

    run(main)
