from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.admission.retry import RetryPolicy
from headrace.assembly import open_race
from headrace.errors import StoppedError
from headrace.observe.alarm import Alarm
from headrace.observe.watcher import Snapshot
from headrace.offload import inline
from headrace.records import Result, Status
from headrace.settings import AlertSettings, CacheSettings, FallbackSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from headrace.race import Race

MINUTE_S = 60.0


class Run:
    """A simulated API, and the settings of who uses it."""

    def __init__(self, folder: Path, latency_s: float = 5.0, **alerts: Any) -> None:
        pool = SimulatedPool(name="studio", keys=(), images_per_minute=None, max_concurrency=None)
        self.world = World(SimulatorSettings(pools=(pool,), latency_s=latency_s, sigma=0, pictures="template"))
        self.settings = Settings(
            pool=(PoolSettings(name="studio"),),
            cache=CacheSettings(policy="off", dir=str(folder / "cache")),
            fallback=FallbackSettings(ladder=()),
            run=RunSettings(out_dir=str(folder / "out"), simulate=True, max_in_flight=8),
            alerts=AlertSettings(**alerts),
        )

    def open(self, **options: Any) -> Any:
        return open_race(self.settings, environ={}, app=make_app(self.world), **options)


def at_once(race: Race) -> None:
    """Waiting for the next attempt is tested elsewhere; refusals for pace are no attempts."""
    race.primary = attrs.evolve(race.primary, retry=RetryPolicy(attempts=1))


def on(clock: MockClock | None, main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        with trio.fail_after(20 if clock is None else 1e6):
            await main()

    trio.run(in_time, clock=clock)


def virtual() -> MockClock:
    return MockClock(autojump_threshold=0)


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    told: list[dict[str, Any]] = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [(event["event"], event["alert"]) for event in told if event["event"].startswith("alert_o")]


async def results_of(race: Race, prompts: Any) -> Counter[str]:
    """Statuses, and whether the run was stopped."""
    found: Counter[str] = Counter()
    async with race.results(prompts) as results:
        try:
            async for result in results:
                found[result.status] += 1
        except StoppedError:
            found["stopped"] += 1
    return found


def test_a_pool_that_is_benched_ends_the_run_and_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path)

    async def main() -> None:
        run.world.bench("studio", "insufficient_quota")
        async with run.open(offload=inline) as race:
            assert await results_of(race, ["a fox", "a hare"]) == {"skipped": 2, "stopped": 1}
        assert race.alerts() == ()

    on(virtual(), main)
    assert events(caplog) == [("alert_on", "pool_benched"), ("alert_off", "pool_benched")]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_what_a_pool_is_benched_for_is_in_no_event_unless_words_are_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        run = Run(tmp_path / str(len(caplog.records)))
        run.world.bench("studio", "insufficient_quota")
        async with run.open(offload=inline) as race:
            await results_of(race, ["a fox"])

    on(virtual(), main)
    told: list[Any] = [record.msg for record in caplog.records]
    assert [event["state"] for event in told if event["event"] == "pool_changed"] == ["benched"]
    assert "exceeded your current quota" not in caplog.text
    caplog.set_level("INFO", "headrace.prompts")
    on(virtual(), main)
    assert caplog.text.count("exceeded your current quota") >= 2


EMPTY = Snapshot(pools=(), depths={}, in_flight=0, max_in_flight=1, spent_usd=0.0, max_cost_usd=None)


def test_behind_the_end_of_the_run_nothing_begins() -> None:
    told: list[Any] = []

    async def main() -> None:
        alarm = Alarm(AlertSettings(), lambda: EMPTY, [told.append])
        async with trio.open_nursery() as services:
            services.start_soon(alarm.run)
            await wait_all_tasks_blocked()
            for n in range(20):
                alarm.ended(Result(seq=n, id=str(n), prompt=None, status=Status.FAILED))
            alarm.end()
            await trio.sleep(MINUTE_S)

    on(virtual(), main)
    assert told == []


def test_a_short_window_is_no_reason_to_look_all_the_time() -> None:
    looks: list[float] = []

    def snapshot() -> Snapshot:
        looks.append(trio.current_time())
        return EMPTY

    async def main() -> None:
        alarm = Alarm(AlertSettings(window_s=1), snapshot)
        async with trio.open_nursery() as services:
            services.start_soon(alarm.run)
            await trio.sleep(10.5)
            services.cancel_scope.cancel()

    on(virtual(), main)
    assert len(looks) == 10


def test_calls_that_are_refused_for_their_pace_are_told_of_until_they_are_few(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path, window_s=60)

    async def prompts() -> AsyncIterator[str]:
        for n in range(60):
            yield f"bad {n} [[fault:slow_down*1]]"
        n = 0
        while ("alert_off", "rate_limited_ratio") not in events(caplog):
            yield f"good {(n := n + 1)}"

    async def main() -> None:
        async with run.open(offload=inline) as race:
            assert (await results_of(race, prompts())).keys() == {"ok"}
            assert race.alerts() == ()

    on(virtual(), main)
    assert events(caplog) == [("alert_on", "rate_limited_ratio"), ("alert_off", "rate_limited_ratio")]


def test_a_run_that_stands_still_is_told_of_while_it_does_and_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path, stalled_minutes=2)

    async def main() -> None:
        async with run.open(offload=inline) as race, race.results(["a fox [[fault:stall*1]]"]) as results:
            await trio.sleep(4 * MINUTE_S + 1)
            assert race.alerts() == ("no result for 4.0 minutes (threshold 2)",)
            assert [result.status async for result in results] == ["ok"]
            # Whoever has all results may go on for as long as they like.
            await trio.sleep(60 * MINUTE_S)
            assert race.alerts() == ()

    on(virtual(), main)
    assert events(caplog) == [("alert_on", "stalled"), ("alert_off", "stalled")]


def test_a_run_in_which_all_goes_well_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path)

    async def main() -> None:
        async with run.open(offload=inline) as race, race.results([f"a fox {n}" for n in range(100)]) as results:
            async for _ in results:
                pass

    on(virtual(), main)
    assert events(caplog) == []


class Hook:
    """A webhook that takes its time and answers as it likes."""

    def __init__(self, status: int = 200, *, takes_s: float = 0.0) -> None:
        self._status = status
        self._takes_s = takes_s
        self.told: list[dict[str, Any]] = []

    def states(self, rule: str) -> list[str]:
        return [told["state"] for told in self.told if told["alert"] == rule]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError
        self.told.append(json.loads((await receive())["body"]))
        await trio.sleep(self._takes_s)
        await send({"type": "http.response.start", "status": self._status, "headers": [(b"location", b"http://127.0.0.1:1/")]})
        await send({"type": "http.response.body", "body": b""})


def test_a_webhook_is_told_once_when_it_begins_and_once_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.observe.alarm.LEAST_S", 0.02)
    hook = Hook()

    async def prompts() -> AsyncIterator[str]:
        for n in range(60):
            yield f"bad {n} " + ("" if n % 4 else "[[fault:server_error]]")
        n = 0
        while "off" not in hook.states("error_rate"):
            yield f"good {(n := n + 1)}"

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, hook, "127.0.0.1", 0)
            run = Run(tmp_path, 0.01, window_s=1, webhook=f"http://127.0.0.1:{port}/alerts")
            async with run.open() as race:
                at_once(race)
                statuses = await results_of(race, prompts())
            assert statuses["failed"] == 15
            nursery.cancel_scope.cancel()

    on(None, main)
    assert hook.states("error_rate") == ["on", "off"]
    assert not any(told["run_ended"] for told in hook.told)


@pytest.mark.parametrize("hook", [None, Hook(takes_s=60.0), Hook(500), Hook(307)], ids=["down", "slow", "500", "redirect"])
def test_a_webhook_that_does_not_take_it_harms_nothing(
    hook: Hook | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headrace.observe.notify.DELAYS_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr("headrace.observe.notify.AT_THE_END_S", 0.3)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            port = 9 if hook is None else await nursery.start(serve, hook, "127.0.0.1", 0)
            run = Run(tmp_path, webhook=f"http://127.0.0.1:{port}/secret-path")
            run.world.bench("studio", "insufficient_quota")
            async with run.open() as race:
                assert await results_of(race, ["a fox"]) == {"skipped": 1, "stopped": 1}
            nursery.cancel_scope.cancel()

    on(None, main)
    assert events(caplog) == [("alert_on", "pool_benched"), ("alert_off", "pool_benched")]
    lost: list[Any] = [record.msg for record in caplog.records if "alert_not_delivered" in str(record.msg)]
    assert lost
    assert all(event["to"] == "webhook http://127.0.0.1" for event in lost)
    assert "secret-path" not in caplog.text
