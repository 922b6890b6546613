from __future__ import annotations

import ast
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from headrace.assembly import open_race
from headrace.observe.logs import configure
from headrace.offload import inline
from headrace.owners import simulated_owners, simulated_pools
from headrace.settings import CacheSettings, FallbackSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from headrace.records import Result

ROOT = Path(__file__).parent.parent.parent
LOGS = ("log", "progress")
LEVELS = ("debug", "info", "warning", "error", "exception")
WORDS = ("ochrecanary", "azurecanary", "sepiacanary", "umbercanary")


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Loggers are as before."""
    loggers = [logging.getLogger(name) for name in ("headrace", "headrace.prompts")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


def told() -> dict[str, tuple[str, set[str]]]:
    """Level and fields of each event, as the page says."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\|", (ROOT / "docs" / "logs.md").read_text(), re.MULTILINE)
    assert len({name for name, *_ in rows}) == len(rows)
    return {name: (level, set(filter(None, fields.split(", ")))) for name, level, fields in rows}


def names_of(event: ast.expr, function: ast.AST, module: ast.Module) -> set[str]:
    """What the name of an event can be: a text, one of two, or what the callers of a function give it."""
    if isinstance(event, ast.Constant):
        return {str(event.value)}
    if isinstance(event, ast.IfExp):
        return names_of(event.body, function, module) | names_of(event.orelse, function, module)
    assert isinstance(event, ast.Name)
    assert isinstance(function, ast.FunctionDef)
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == function.name]
    return {str(call.args[0].value) for call in calls if isinstance(call.args[0], ast.Constant)}


def in_the_code() -> Iterator[tuple[str, str, set[str]]]:
    """Name, level and the fields that are written out of every event in the code."""
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").rglob("*.py")]:
        module = ast.parse(path.read_text())
        imports = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module == "headrace.log"]
        logs = {each.asname or each.name for node in imports for each in node.names if each.name in LOGS}
        for function in [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]:
            for node in ast.walk(function):
                called = node.func if isinstance(node, ast.Call) else None
                if not (isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in logs):
                    continue
                assert isinstance(node, ast.Call)
                assert called.attr in (*LEVELS, "log"), path
                fields = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
                for name in names_of(node.args[called.attr == "log"], function, module):
                    yield name, called.attr, fields


def test_every_event_is_on_the_page_with_its_level_and_fields_and_no_other() -> None:
    page, found = told(), list(in_the_code())
    assert {name for name, *_ in found} == page.keys()
    for name, level, fields in found:
        assert level in (page[name][0], "log") or (level, page[name][0]) == ("exception", "error"), name
        assert fields <= page[name][1], name


class LastWord:
    """An encoder for which the last word is all that matters."""

    fingerprint = "last word:1"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([np.eye(1024)[crc32(text.split()[-1].encode()) % 1024] for text in texts], dtype=np.float32)


async def line_of(folder: Path, prompts: list[Any]) -> list[Result]:
    """A run that meets whatever befalls prompts: hits, near ones, refusals, failures, retries, fallbacks, bad lines."""
    pools = (PoolSettings(name="studio", images_per_minute=600, max_concurrency=4),)
    settings = Settings(
        pool=pools,
        cache=CacheSettings(policy="cosine", dir=str(folder / "cache"), similar_threshold=0.0),
        fallback=FallbackSettings(ladder=("reduced_quality", "cached_similar")),
        run=RunSettings(out_dir=str(folder / "out"), simulate=True, journal=True),
    )
    world = World(SimulatorSettings(pools=simulated_pools(simulated_owners(pools, ())), pictures="template"))
    results = []
    async with open_race(settings, environ={}, offload=inline, app=make_app(world), encoder=LastWord()) as race:
        for each in prompts:
            async with race.results(each) as line:
                results += [result async for result in line]
    return results


def prompts() -> list[list[Any]]:
    one = "an ochrecanary fox"
    first = [
        {"prompt": one, "id": "a"},
        {"prompt": one, "id": "follows"},
        {"prompt": "the azurecanary owl [[fault:moderation_blocked]]", "id": "blocked"},
        {"prompt": "the sepiacanary cat [[fault:server_error*1]]", "id": "again", "quality": "high"},
        {"prompt": "the umbercanary dog [[fault:server_error]]", "id": "never", "quality": "high"},
        {"prompt": "a red umbercanary dog [[fault:rate_limited_old*1]]", "id": "refused"},
        {"prompt": "", "umbercanary": 1},
    ]
    second = [
        {"prompt": one, "id": "hit"},
        {"prompt": f"{one}!", "id": "canonical"},
        {"prompt": "an OCHRECANARY, nearly: fox", "id": "near"},
    ]
    return [first, second]


@pytest.mark.parametrize("shown", [False, True])
def test_no_event_of_a_run_holds_words_of_a_prompt_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str], shown: bool) -> None:
    configure("debug", "json", prompts=shown)
    results: list[Result] = []

    async def main() -> None:
        with trio.fail_after(1e6):
            results.extend(await line_of(tmp_path, prompts()))

    trio.run(main, clock=MockClock(autojump_threshold=0))
    text = capsys.readouterr().err
    assert [word for word in WORDS if word in text.lower()] == (list(WORDS) if shown else [])
    events = [json.loads(line) for line in text.splitlines()]
    page = told()
    for event in events:
        fields = event.keys() - {"event", "level", "timestamp"}
        assert fields <= page[event["event"]][1], event["event"]
    seen = {event["event"] for event in events}
    assert seen >= {
        "read",
        "cache_follows",
        "cache_hit",
        "cache_twin",
        "waits",
        "call_sent",
        "call_answered",
        "call_failed",
        "retry",
        "fallback",
        "result",
    }
    assert sum(event["event"] == "result" for event in events) == len(results) == 10


def test_two_fields_lead_through_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", "json")
    trio.run(line_of, tmp_path, prompts(), clock=MockClock(autojump_threshold=0))
    way = [event for event in map(json.loads, capsys.readouterr().err.splitlines()) if event.get("prompt") == "again"]
    assert {event["seq"] for event in way} == {3}
    steps = ["read", "waits", "call_sent", "call_failed", "retry", "waits", "call_sent", "call_answered", "result"]
    assert [event["event"] for event in way] == steps
    failed, answered = way[3], way[7]
    assert (failed["status"], failed["kind"]) == (500, "server_error")
    assert failed["request_id"] == way[2]["request_id"] != answered["request_id"]
    assert (way[8]["status"], way[8]["strategy"], way[8]["attempts"]) == ("ok", "primary", 2)


@pytest.mark.parametrize("level", ["info", "warning"])
def test_at_info_a_prompt_is_one_or_two_events_and_at_warning_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str) -> None:
    configure(level, "json")
    texts = [[{"prompt": "a fox", "id": "paid"}], [{"prompt": "a fox", "id": "hit"}]]
    trio.run(line_of, tmp_path, texts, clock=MockClock(autojump_threshold=0))
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    names = [(event["prompt"], event["event"]) for event in events if "prompt" in event]
    expected = [("paid", "call_answered"), ("paid", "result"), ("hit", "cache_hit"), ("hit", "result")]
    assert names == (expected if level == "info" else [])


def test_a_program_that_turns_everything_on_has_not_asked_for_prompts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="headrace")
    trio.run(line_of, tmp_path, prompts(), clock=MockClock(autojump_threshold=0))
    assert "call_failed" in caplog.text
    assert not [word for word in WORDS if word in caplog.text.lower()]
