from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as metrics
from trio.testing import MockClock

import headrace
from headrace.assembly import open_race
from headrace.errors import UsageError
from headrace.observe.metrics import OTHER, Metrics
from headrace.observe.scrape import scraped
from headrace.observe.watcher import Snapshot
from headrace.records import Call, Prompt, Request
from headrace.settings import CacheSettings, FallbackSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config

    from headrace.race import Race

ROOT = Path(__file__).parent.parent.parent
PROMPTS = [
    *(f"a fox {n}" for n in range(5)),
    "a fox 0",
    {"prompt": "a hare [[fault:slow_down*1]]", "quality": "medium"},
    {"prompt": "an owl [[fault:moderation_blocked]]"},
    {"prompt": "a toad", "size": "1x1"},
]


def settings(folder: Path, **run: Any) -> Settings:
    return Settings(
        pool=(PoolSettings(name="studio", images_per_minute=6000),),
        cache=CacheSettings(policy="exact", dir=str(folder / "cache")),
        fallback=FallbackSettings(ladder=()),
        run=RunSettings(out_dir=str(folder / "out"), simulate=True, **({"metrics_port": 0} | run)),
    )


def opened(folder: Path, **run: Any) -> Any:
    pool = SimulatedPool(name="studio", keys=(), images_per_minute=None, max_concurrency=None)
    app = make_app(World(SimulatorSettings(pools=(pool,), latency_s=0.01, sigma=0, pictures="template")))
    return open_race(settings(folder, **run), environ={}, app=app)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        with trio.fail_after(20):
            await main()

    trio.run(in_time)


async def scrape(race: Race, **headers: str) -> str:
    assert race.metrics_url is not None
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(race.metrics_url, headers=headers)
    assert answer.status_code == 200
    return answer.text


async def filled(race: Race) -> str:
    """What a scrape says while the results of the prompts are there and their line still is."""
    async with race.results(PROMPTS) as results:
        async for _ in results:
            pass
        return await scrape(race)


def values(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels, in the order of the labels' names."""
    samples = [sample for family in metrics(text) for sample in family.samples]
    return {(sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value for sample in samples}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scrape of a run that met everything."""
    found = []

    async def main() -> None:
        async with opened(tmp_path_factory.mktemp("run"), max_cost_usd=10.0) as race:
            found.append(await filled(race))

    run(main)
    return found[0]


def test_what_happened_is_counted(text: str) -> None:
    found = values(text)
    assert found["headrace_prompts_total", "ok", "primary"] == 6
    assert found["headrace_prompts_total", "ok", "coalesced"] + found.get(("headrace_prompts_total", "ok", "cache_exact"), 0) == 1
    assert found["headrace_prompts_total", "failed", "none"] == 2
    assert found["headrace_prompt_failures_total", "moderation_blocked"] == 1
    assert found["headrace_calls_total", "studio", "ok", "studio"] == 6
    assert found["headrace_calls_total", "studio", "slow_down", "studio"] == 1
    assert found["headrace_rate_limited_calls_total", "studio", "studio"] == 1
    assert found["headrace_cache_decisions_total", "miss"] == 7
    assert found["headrace_call_duration_seconds_count", "gpt-image-2.5-flare", "medium"] == 1
    assert found["headrace_call_duration_seconds_bucket", "300.0", "gpt-image-2.5-flare", "medium"] == 1
    assert found["headrace_tokens_total", "output"] > found["headrace_tokens_total", "input"] > 0
    assert found["headrace_cost_usd_total",] == pytest.approx(found["headrace_spent_usd",])
    assert sum(value for name, value in found.items() if name[0] == "headrace_call_wait_seconds_count") == 8


def test_how_things_stand_is_looked_up(text: str) -> None:
    found = values(text)
    assert found["headrace_pool_limit", "studio", "images"] == 6000
    assert found["headrace_pool_limit_used", "studio", "images"] > 0
    assert found["headrace_calls_in_flight", "studio"] == 0
    assert sum(value for name, value in found.items() if name[0] == "headrace_pool_state") == 1
    assert sum(value for name, value in found.items() if name[0] == "headrace_pool_bound_seconds_total") > 0
    assert {name[1] for name in found if name[0] == "headrace_stage_prompts"} == {"dedupe", "admission", "fetch", "fallback", "settle"}
    assert {name[1] for name in found if name[0] == "headrace_alerts_active"} >= {"error_rate", "pool_benched"}


def test_models_that_only_prompts_name_are_one_label() -> None:
    empty = Snapshot(pools=(), depths={}, in_flight=0, max_in_flight=1, spent_usd=0.0, max_cost_usd=None)
    counted = Metrics(lambda: empty, dict, ["our-own-model"], cached=True)
    for name in ("our-own-model", *(f"model-{n}" for n in range(100))):
        request = Request(prompt="a fox", model=name, size="1024x1024", quality=name)
        prompt = Prompt(seq=0, id="0", request=request)
        counted.called(Call(prompt=prompt, request=request, pool="a", key="a", waited_s=0.0, waited_for=None, started=0.0, ended=1.0))
    found = values(generate_latest(counted.registry).decode())
    series = {name[1:]: value for name, value in found.items() if name[0] == "headrace_call_duration_seconds_count"}
    assert series == {("our-own-model", OTHER): 1, (OTHER, OTHER): 100}


def test_names_units_and_help_are_what_prometheus_expects(text: str) -> None:
    for family in metrics(text):
        assert family.name.startswith("headrace_")
        assert family.documentation
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


def promtool(*arguments: str, text: str = "") -> str:
    """What Prometheus' own tool says, where it is installed (Debian's package prometheus has it)."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed")
    ended = subprocess.run([tool, *arguments], input=text, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - our own text
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_promtool_has_nothing_to_say_about_a_scrape(text: str) -> None:
    assert promtool("check", "metrics", text=text) == ""


def expressions() -> list[str]:
    """Every query of the dashboard."""
    board = json.loads((ROOT / "examples" / "grafana.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def test_promtool_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(expressions())]
    # JSON is YAML.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_the_dashboard_shows_what_is_there(text: str) -> None:
    used = {name for expression in expressions() for name in re.findall(r"headrace_\w+", expression)}
    there = {name[0] for name in values(text)}
    assert used
    assert used - there == set()


def test_the_page_has_every_metric_and_no_other(text: str) -> None:
    there = {f"{family.name}_total" if family.type == "counter" else family.name for family in metrics(text)}
    page = set(re.findall(r"`(headrace_\w+)`", (ROOT / "docs" / "monitoring.md").read_text()))
    assert page == {name for name in there if not name.endswith("_created")}


def test_two_runs_in_one_process_are_apart_and_scraped_while_they_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "a", max_cost_usd=10.0) as first, opened(tmp_path / "b") as second:
            assert first.metrics_url != second.metrics_url
            async with first.results(["a fox", "a hare [[fault:stall]]"]) as results:
                await anext(results)
                found = values(await scrape(first))
                assert (found["headrace_prompts_in_flight",], found["headrace_calls_in_flight", "studio"]) == (1, 1)
                assert found["headrace_prompts_total", "ok", "primary"] == 1
                assert found["headrace_budget_usd",] == 10.0
                other = values(await scrape(second))
                assert other["headrace_prompts_in_flight",] == 0
                assert ("headrace_budget_usd",) not in other

    run(main)


def test_a_scraper_that_asks_for_open_metrics_gets_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as race:
            text = await scrape(race, accept="application/openmetrics-text; version=1.0.0")
            families = open_metrics(text)  # type: ignore[no-untyped-call]  # the package's own
            assert {family.name for family in families} >= {"headrace_cost_usd", "headrace_pool_limit"}

    run(main)


def test_whatever_comes_in_at_the_door_the_run_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as race, race.results(["a fox"]) as results:
            port = int(str(race.metrics_url).rsplit(":", 1)[1].split("/")[0])
            for said in (b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"G", b""):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(said)
                await stream.aclose()
            assert [result.status async for result in results] == ["ok"]
            assert values(await scrape(race))["headrace_prompts_total", "ok", "primary"] == 1

    run(main)


def test_a_server_that_breaks_and_whose_port_is_taken_meanwhile_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ports: list[int] = []

    async def main() -> None:
        back = trio.Event()

        async def breaks(config: Config, **_: object) -> None:
            listening = socket.socket(fileno=int(config.bind[0].removeprefix("fd://")))
            port = listening.getsockname()[1]
            listening.close()
            if ports:
                back.set()
                await trio.sleep_forever()
            ports.append(port)
            nursery.start_soon(take, port)
            await trio.sleep(0.1)
            raise OSError

        async def take(port: int) -> None:
            with socket.create_server(("127.0.0.1", port)):
                await trio.sleep(5)

        monkeypatch.setattr("hypercorn.trio.serve", lambda _, config, **options: breaks(config, **options))
        async with trio.open_nursery() as nursery:
            await nursery.start(scraped, CollectorRegistry(), 0)
            await back.wait()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert "OSError()" in caplog.text
    assert f"metrics port {ports[0]} cannot be used" in caplog.text


def test_a_port_that_is_taken_is_said_at_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def main() -> None:
            async with headrace.open(settings(tmp_path, metrics_port=port)):
                raise AssertionError("it was opened")

        with pytest.raises(UsageError, match=f"metrics port {port} cannot be used: Address already in use; choose another"):
            run(main)
