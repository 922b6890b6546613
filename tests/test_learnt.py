from __future__ import annotations

import fcntl
import itertools
import json
import logging
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import attrs
import pytest
import trio
from trio.testing import MockClock

import headrace.learnt
from headrace.admission.booking import Cost
from headrace.admission.key import Key
from headrace.admission.memory import MeterMemory, PoolMemory
from headrace.admission.pool import Pool
from headrace.assembly import open_race
from headrace.learnt import FILE, LOCK, OLDEST_S, Entry, Learnt, LearntFile, learnt_file
from headrace.models import Limits
from headrace.offload import inline
from headrace.settings import CacheSettings, KeySettings, PoolSettings, ProviderSettings, RunSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
    from pathlib import Path

    from headrace.admission.books import PoolStatistics

KEY = "sk-canary-learnt-0123456789"
URL = "http://127.0.0.1:9/v1"
LIMIT = 120
WALL = 1_800_000_000.0


class Server:
    """A simulated API that notes when calls reach it; it outlives the races."""

    def __init__(self, **limits: Any) -> None:
        pool = SimulatedPool(name="studio", keys=(KEY,), max_concurrency=None, discipline="sliding", **limits)
        self.world = World(SimulatorSettings(pools=(pool,), latency_s=5.0, pictures="template"))
        self.arrivals: list[float] = []
        self._app = make_app(self.world)

    async def __call__(self, scope: Any, receive: Any, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        self.arrivals.append(trio.current_time())
        await self._app(scope, receive, send)

    @property
    def refused(self) -> int:
        return self.world.counts["rate_limited"]

    def most_in_a_minute(self) -> int:
        return max(sum(0 <= at - start < 60 for at in self.arrivals) for start in self.arrivals)


def settings(folder: Path, **limits: Any) -> Settings:
    return Settings(
        provider=ProviderSettings(base_url=URL),
        pool=(PoolSettings(name="studio", **limits),),
        key=(KeySettings(name="studio-a", pool="studio", env="STUDIO"),),
        cache=CacheSettings(policy="off", dir=str(folder / "cache")),
        run=RunSettings(out_dir=str(folder / "out")),
    )


class Prompts:
    """There is always one more; read without a thread, which would run away from a virtual clock."""

    def __init__(self) -> None:
        self._number = itertools.count()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        return f"a fox, number {next(self._number)}"


async def saturated(chosen: Settings, server: Server, seconds: float) -> PoolStatistics:
    """A run that always has work, and is left after so many seconds."""
    async with open_race(chosen, environ={"STUDIO": KEY}, offload=inline, app=server) as race:
        with trio.move_on_after(seconds):
            async with race.results(Prompts()) as results:
                async for _ in results:
                    pass
        return race.statistics()[0]


def virtual(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_follows_another_at_once_keeps_the_limit_over_both(kept: bool, tmp_path: Path) -> None:
    server, chosen = Server(images_per_minute=LIMIT), settings(tmp_path, images_per_minute=LIMIT)

    async def main() -> None:
        await saturated(chosen, server, 90.0)
        if not kept:
            (tmp_path / "cache" / FILE).unlink()
        await saturated(chosen, server, 70.0)

    virtual(main)
    # Without the file the second run cannot know what the first one sent: that is what the file is for.
    assert (server.refused == 0, server.most_in_a_minute() <= LIMIT) == (kept, kept)
    assert len(server.arrivals) > (90 + 70 - 10) * LIMIT / 60 * 0.98


def test_a_limit_that_was_learnt_from_a_refusal_holds_from_the_first_call_of_the_next_run(tmp_path: Path) -> None:
    server, found = Server(images_per_minute=LIMIT), []

    async def main() -> None:
        first = await saturated(settings(tmp_path), server, 90.0)
        found.append((first.refused > 0, server.refused))
        await trio.sleep(60.0)
        second = await saturated(settings(tmp_path), server, 70.0)
        (images,) = [known for known in second.known if known.resource == "images"]
        assert (images.limit, images.source) == (LIMIT, "refusal")

    virtual(main)
    ((learnt, refused),) = found
    assert learnt
    assert server.refused == refused


def test_it_is_written_while_calls_are_made_and_not_while_none_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[float] = []
    write = LearntFile.write

    def noted(self: LearntFile, entries: Any) -> bool:
        written.append(trio.current_time())
        return write(self, entries)

    monkeypatch.setattr(LearntFile, "write", noted)

    async def three() -> AsyncIterator[str]:
        yield "one"
        await trio.sleep(7)
        yield "two"
        await trio.sleep(600)
        yield "three"

    async def main() -> None:
        server, started = Server(images_per_minute=None), trio.current_time()
        async with (
            open_race(settings(tmp_path), environ={"STUDIO": KEY}, offload=inline, app=server) as race,
            race.results(three()) as line,
        ):
            assert [result.status async for result in line] == ["ok"] * 3
        written[:] = [at - started for at in written]

    virtual(main)
    assert written[0] <= 2.0
    assert all(later - earlier >= 2.0 for earlier, later in pairwise(written[:-1]))
    assert len(written) <= 7  # each call goes out and comes back, and the end


def test_the_file_is_its_owners_alone_and_has_no_key_in_it_even_where_a_server_repeats_one(tmp_path: Path) -> None:
    async def echo(scope: Any, receive: Any, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        await receive()
        key = dict(scope["headers"])[b"authorization"].decode()
        error = {"message": f"Limit 5, Used 5, Requested 1 for {key}", "code": "rate_limit_exceeded", "type": "input-images"}
        named = [(b"openai-organization", f"org-{key}".encode()), (b"openai-project", b"proj_x")]
        await send({"type": "http.response.start", "status": 429, "headers": named})
        await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})

    async def main() -> None:
        async with open_race(settings(tmp_path), environ={"STUDIO": KEY}, offload=inline, app=echo) as race:
            with trio.move_on_after(5):
                async with race.results(["a fox"]) as results:
                    await anext(results)

    virtual(main)
    path = tmp_path / "cache" / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert KEY not in text
    assert "Limit 5, Used 5" in text
    assert {each.name for each in path.parent.iterdir()} == {FILE, LOCK}


def test_made_up_apis_are_not_kept(tmp_path: Path) -> None:
    real = settings(tmp_path)
    simulated = attrs.evolve(real, run=attrs.evolve(real.run, simulate=True))
    at_home = attrs.evolve(real, cache=CacheSettings())
    assert learnt_file(real) is not None
    assert learnt_file(real, app=object()) is not None
    assert learnt_file(at_home) is not None
    assert learnt_file(at_home, app=object()) is None
    assert learnt_file(simulated) is None


# ---- the file -------------------------------------------------------------------------------------------------------


def memory(name: str = "studio", limit: float = 50.0, **fields: Any) -> PoolMemory:
    meter = MeterMemory(resource="images", named=None, limit=limit, source="refusal", level=limit, recent=((1.5, 2.0),))
    return PoolMemory(name=name, **({"meters": (meter,)} | fields))


def entry(name: str = "studio", limit: float = 50.0, written: float = WALL, api: str = URL, **fields: Any) -> Entry:
    return Entry(api=api, written=written, memory=memory(name, limit, **fields))


def kept(folder: Path, wall: float = WALL) -> LearntFile:
    return LearntFile(folder, lambda: wall)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The names of the warnings so far."""
    caplog.set_level(logging.WARNING, logger="headrace")
    return lambda: [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    entries = [entry(calls=24, owners=("org-1/proj_1",), refusals=("no",)), entry("other"), entry(api="https://example.com/v1")]
    assert kept(tmp_path / "new" / "folder").write(entries)
    assert list(kept(tmp_path / "new" / "folder").read().values()) == entries
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_processes_with_other_pools_do_not_take_each_others_entries(tmp_path: Path) -> None:
    one, two = kept(tmp_path), kept(tmp_path)
    assert (one.read(), two.read()) == ({}, {})
    one.write([entry("one", 10)])
    two.write([entry("two", 20)])
    one.write([entry("one", 11)])
    limits = {name: found.memory.meters[0].limit for (_, name), found in kept(tmp_path).read().items()}
    assert limits == {"one": 11, "two": 20}


def test_what_is_older_than_a_week_is_forgotten_and_leaves_the_file(tmp_path: Path) -> None:
    kept(tmp_path).write([entry("old"), entry("young", written=WALL + 10)])
    later = kept(tmp_path, WALL + OLDEST_S + 5)
    assert [name for _, name in later.read()] == ["young"]
    later.write([])
    assert "old" not in (tmp_path / FILE).read_text()


def test_a_clock_that_was_put_back_makes_nothing_younger_than_new() -> None:
    assert entry().age_s(WALL - 3_600) == 0
    assert entry().age_s(WALL + 3_600) == 3_600


DAMAGED = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"[]",
    b'{"version": 2, "entries": []}',
    b'{"version": 1, "entries": [{"api": 1}]}',
    b'{"version": 1, "entries": [5]}',
    b'{"version": 1, "more": 5}',
    *(
        json.dumps({"version": 1, "entries": [attrs.asdict(each)]}).encode()
        for each in (
            entry(limit=float("nan")),
            entry(limit=float("inf")),
            entry(limit=-1),
            entry(limit=0),
            entry(calls=0),
            attrs.evolve(entry(), written=float("nan")),
            entry(meters=(MeterMemory(resource="images", named=None, limit=1, source="", level=1, recent=((1.0,),)),)),  # type: ignore[arg-type]
            entry(meters=(MeterMemory(resource="images", named=None, limit=1, source="", level=1, recent=((-1.0, 1.0),)),)),
        )
    ),
    json.dumps({"version": 1, "entries": [attrs.asdict(entry()) | {"written": 10**400}]}).encode(),
]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_file_that_is_none_of_ours_is_one_warning_and_is_written_anew(
    content: bytes, tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    (tmp_path / FILE).write_bytes(content)
    file = kept(tmp_path)
    assert file.read() == {}
    assert file.write([entry("mine")])
    assert file.write([entry("mine", 51)])
    assert warnings() == ["limits_unreadable"]
    assert [found.memory.meters[0].limit for found in kept(tmp_path).read().values()] == [51]


def test_a_file_that_is_damaged_between_two_writes_is_written_anew_too(tmp_path: Path, warnings: Callable[[], list[str]]) -> None:
    file = kept(tmp_path)
    file.write([entry()])
    (tmp_path / FILE).write_bytes(b"{")
    assert file.write([entry()])
    assert warnings() == ["limits_unreadable"]
    assert len(kept(tmp_path).read()) == 1


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, warnings: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path).write([entry()])
    monkeypatch.setattr(headrace.learnt, "_MOST_BYTES", 10)
    assert kept(tmp_path).read() == {}
    assert warnings() == ["limits_unreadable"]


@pytest.mark.parametrize("folder", ["/dev/null/cache", "a\0b", "~headrace-nobody/cache"])
def test_a_folder_that_cannot_be_used_is_one_warning(folder: str, warnings: Callable[[], list[str]]) -> None:
    file = LearntFile(folder)
    assert file.read() == {}
    assert not file.write([entry()])
    assert not file.write([entry()])
    assert len(warnings()) == 1


def test_who_cannot_have_the_lock_tries_again_later(
    tmp_path: Path, warnings: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headrace.learnt, "_PATIENCE_S", 0.0)
    handle = os.open(tmp_path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert not kept(tmp_path).write([entry()])
    finally:
        os.close(handle)
    assert warnings() == ["limits_not_kept"]
    assert kept(tmp_path).write([entry()])


def test_what_a_killed_process_left_half_written_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"{")
    kept(tmp_path).write([entry()])
    assert {each.name for each in tmp_path.iterdir()} == {FILE, LOCK}


# ---- pools ----------------------------------------------------------------------------------------------------------


def remembered(file: LearntFile, *pools: Pool) -> None:
    async def main() -> None:
        learnt = Learnt(file, inline)
        learnt.recall(URL, pools)

    virtual(main)


def images(pool: Pool) -> Iterator[tuple[float | None, str]]:
    return ((known.limit, known.source) for known in pool.known() if known.resource == "images")


def test_a_pool_starts_with_what_was_known_of_its_name_at_its_api_and_no_other(tmp_path: Path) -> None:
    kept(tmp_path).write([entry("studio", 50), entry("elsewhere", 7, api="https://example.com/v1")])
    studio, elsewhere = Pool("studio", Limits(), [Key("a")]), Pool("elsewhere", Limits(), [Key("b")])
    remembered(kept(tmp_path), studio, elsewhere)
    assert list(images(studio)) == [(50, "refusal")]
    assert list(images(elsewhere)) == [(None, "unknown")]


def test_where_the_settings_name_another_limit_what_was_learnt_is_void(tmp_path: Path) -> None:
    kept(tmp_path).write([entry("studio", 50)])
    pool = Pool("studio", Limits(images_per_minute=200), [Key("a")])
    remembered(kept(tmp_path), pool)
    assert list(images(pool)) == [(200, "settings")]


def test_pools_that_were_one_organisation_are_both_kept_and_their_last_minute_once(tmp_path: Path) -> None:
    async def main() -> None:
        pools = [Pool(name, Limits(images_per_minute=60), [Key(name)]) for name in ("one", "two")]
        learnt = Learnt(kept(tmp_path), inline)
        learnt.recall(URL, pools)
        pools[0].take(Cost(1, 100), trio.current_time())
        pools[0].absorb(pools[1], trio.current_time())
        learnt.close()

    virtual(main)
    charges = {name: len(found.memory.meters[0].recent) for (_, name), found in kept(tmp_path).read().items()}
    assert charges == {"one": 1, "two": 0}
