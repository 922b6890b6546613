"""The whole line where an API keeps its pictures to itself: it ends, in time, with the reason."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from headrace.assembly import open_race
from headrace.errors import StoppedError
from headrace.offload import inline
from headrace.owners import simulated_owners, simulated_pools
from headrace.records import Kind, Result, Status, Strategy
from headrace.settings import AlternativeSettings, CacheSettings, FallbackSettings, KeySettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from pathlib import Path

    from headrace.outcome import Results

PROMPTS = 100
ONE_AT_A_TIME = PoolSettings(name="studio", max_concurrency=1)
CLOSED_AND_OPEN = PoolSettings(name="large", tokens_per_minute=100_000), PoolSettings(name="small", tokens_per_minute=1_000)
"""A picture takes some 200 tokens in low quality, 440 in medium and 1,760 in high."""


def run(main: Callable[[], Awaitable[None]]) -> float:
    """Virtual seconds that it took."""

    async def in_time() -> float:
        with trio.fail_after(1e6):
            await main()
        return trio.current_time()

    return trio.run(in_time, clock=MockClock(autojump_threshold=0))


class Line:
    """A line to a simulated API whose pools may be refused before it."""

    def __init__(self, folder: Path, *pools: PoolSettings, fallback: FallbackSettings | None = None, **simulated: Any) -> None:
        pools = pools or (PoolSettings(name="studio", images_per_minute=600, max_concurrency=8),)
        fallback = fallback or FallbackSettings(ladder=())
        self._settings = Settings(
            pool=pools,
            cache=CacheSettings(policy="off"),
            fallback=fallback,
            run=RunSettings(out_dir=str(folder / "out"), simulate=True, max_in_flight=16),
        )
        other = fallback.alternative
        owners = [*simulated_owners(pools, ()), *(simulated_owners(other.pool, other.key, "alternative") if other else ())]
        self.world = World(SimulatorSettings(pools=simulated_pools(owners), pictures="template", **simulated))
        self._simulator = make_app(self.world)
        self.refused: dict[str, float] = {}
        """Part of a key -> seconds after which it may ask again."""
        self.results: list[Result] = []
        self.states: dict[str, str] = {}
        self.stopped = ""
        """Why the run ended early."""

    async def app(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """The simulator, behind a gateway that refuses some keys."""
        key = dict(scope["headers"]).get(b"authorization", b"").decode() if scope["type"] == "http" else ""
        for part, seconds in self.refused.items():
            if key.endswith(part):
                headers = [(b"content-type", b"application/json"), (b"retry-after", str(int(seconds)).encode())]
                await send({"type": "http.response.start", "status": 429, "headers": headers})
                error = {"error": {"message": "Daily limit reached.", "code": "rate_limit_exceeded"}}
                await send({"type": "http.response.body", "body": json.dumps(error).encode()})
                return
        await self._simulator(scope, receive, send)

    async def run(self, items: list[dict[str, Any]] | None = None) -> None:
        prompts = items or [{"prompt": f"cat {n}"} for n in range(PROMPTS)]
        async with open_race(self._settings, environ={}, offload=inline, app=self.app) as race:
            try:
                async with race.results(prompts) as results:
                    await self._collect(results)
            finally:
                self.states = {books.name: books.state for books in race.statistics()}
                assert not any(books.in_flight for books in race.statistics())

    async def _collect(self, results: Results) -> None:
        try:
            async for result in results:
                self.results.append(result)
        except StoppedError as error:
            self.stopped = str(error)

    @property
    def kinds(self) -> set[Kind | None]:
        return {None if result.error is None else result.error.kind for result in self.results}


@pytest.mark.parametrize("fault", ["server_error", "overloaded", "bad_gateway", "gateway_timeout", "cloudflare_524", "html_200", "reset"])
def test_a_server_that_fails_for_ever_ends_the_run_with_its_reason(tmp_path: Path, fault: str) -> None:
    line = Line(tmp_path, faults={fault: 1.0})
    # Half a minute between two probes, and a picture's time each.
    assert run(line.run) < 1_500
    assert line.stopped.startswith("no key can work any more: pool studio: the last 10 probes failed: ")
    assert line.states["studio"].startswith("benched: the last 10 probes failed")
    assert len(line.results) < PROMPTS
    assert Kind.NO_POOL in line.kinds
    assert {result.status for result in line.results} <= {Status.FAILED, Status.SKIPPED}
    assert sum(line.world.bill.values()) == 0


@pytest.mark.parametrize("fault", ["rate_limited", "rate_limited_message_only", "rate_limited_nonsense", "slow_down"])
def test_an_api_that_refuses_every_call_ends_the_run_after_ten_minutes_with_its_words(tmp_path: Path, fault: str) -> None:
    line = Line(tmp_path, ONE_AT_A_TIME, faults={fault: 1.0})
    assert 600 <= run(line.run) < 640
    words = r"pool studio: refused every call for 6\d\d s, \d+ times in a row: (Rate limit|The request rate)"
    assert re.fullmatch(f"no key can work any more: {words}.*", line.stopped)
    assert line.states["studio"].startswith("benched: refused every call for")
    assert line.kinds == {Kind.NO_POOL}
    assert len(line.results) == 16


def test_an_api_that_asks_to_come_back_tomorrow_ends_the_run_at_once(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.refused["studio"] = 86_400
    assert run(line.run) < 5
    assert "nothing can start within 3,600 s" in line.stopped
    assert "pool studio is paused for 86,400 s more: Daily limit reached." in line.stopped
    assert line.kinds == {Kind.NO_POOL}
    assert {result.status for result in line.results} == {Status.SKIPPED}


def test_an_api_that_asks_to_come_back_in_half_an_hour_is_waited_for(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.refused["studio"] = 1_800

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            await trio.sleep(900)
            line.refused.clear()

    assert 1_800 < run(main) < 2_000
    assert [result.status for result in line.results] == [Status.OK] * PROMPTS


def test_where_the_first_api_asks_to_come_back_tomorrow_the_other_one_makes_everything(tmp_path: Path) -> None:
    alternative = AlternativeSettings(
        base_url="https://example.com/v1",
        model="gpt-image-2.5-flare",
        pool=(PoolSettings(name="other", images_per_minute=600),),
        key=(KeySettings(name="other", pool="other", env="OTHER"),),
    )
    line = Line(tmp_path, fallback=FallbackSettings(ladder=("alternative_api",), alternative=alternative))
    line.refused["studio"] = 86_400
    run(line.run)
    assert {(result.status, result.strategy) for result in line.results} == {(Status.OK, Strategy.ALTERNATIVE_API)}
    assert len(line.results) == PROMPTS


def test_a_prompt_that_fits_only_the_pool_that_is_closed_fails_alone(tmp_path: Path) -> None:
    line = Line(tmp_path, *CLOSED_AND_OPEN)
    line.refused["large"] = 86_400
    items = [{"prompt": f"cat {n}", "quality": "high" if n % 4 == 0 else "low"} for n in range(20)]
    run(lambda: line.run(items))
    failed = [result for result in line.results if result.status is not Status.OK]
    assert sorted(result.seq for result in failed) == [0, 4, 8, 12, 16]
    for result in failed:
        assert (result.status, result.error and result.error.kind) == (Status.FAILED, Kind.WAITED_TOO_LONG)
        assert result.error is not None
        assert "pool large is paused for 86,4" in result.error.message
        assert "and pool small allows 1,000 a minute" in result.error.message


def test_a_cheaper_picture_is_made_by_the_pool_that_is_open_where_the_ladder_allows_it(tmp_path: Path) -> None:
    line = Line(tmp_path, *CLOSED_AND_OPEN, fallback=FallbackSettings(ladder=("reduced_quality",)))
    line.refused["large"] = 86_400
    run(lambda: line.run([{"prompt": "cat", "quality": "high"}]))
    (result,) = line.results
    assert (result.status, result.strategy) == (Status.OK, Strategy.REDUCED_QUALITY)
