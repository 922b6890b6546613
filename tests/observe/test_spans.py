from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from trio.testing import MockClock

from headrace.assembly import open_race
from headrace.observe.spans import LONGEST, Spans
from headrace.offload import inline
from headrace.records import Call, Prompt, Request, Result, Status
from headrace.settings import CacheSettings, FallbackSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

SECRET_WORDS = "a lighthouse that nobody may hear of"
NS = 1_000_000_000


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Where the spans of a program go that has set a provider."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("headrace.observe.spans.get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def opened(folder: Path) -> Any:
    pool = SimulatedPool(name="studio", keys=(), images_per_minute=None, max_concurrency=None)
    settings = Settings(
        pool=(PoolSettings(name="studio"),),
        cache=CacheSettings(policy="exact", dir=str(folder / "cache")),
        fallback=FallbackSettings(ladder=()),
        run=RunSettings(out_dir=str(folder / "out"), simulate=True),
    )
    app = make_app(World(SimulatorSettings(pools=(pool,), latency_s=20, sigma=0, pictures="template")))
    return open_race(settings, environ={}, offload=inline, app=app)


def parted(exporter: InMemorySpanExporter) -> tuple[list[ReadableSpan], dict[int | None, list[ReadableSpan]]]:
    """Spans of prompts, and those of calls by the span that they are below."""
    spans = exporter.get_finished_spans()
    calls: dict[int | None, list[ReadableSpan]] = {}
    for span in spans:
        if span.name == "headrace.call":
            calls.setdefault(None if span.parent is None else span.parent.span_id, []).append(span)
    return [span for span in spans if span.name == "headrace.prompt"], calls


def test_every_prompt_has_a_span_and_its_calls_are_below_it(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    prompts = [
        {"prompt": f"{SECRET_WORDS} [[fault:slow_down*1]]", "id": "mine"},
        f"{SECRET_WORDS} [[fault:moderation_blocked]]",
        {"no": "prompt"},
    ]

    async def main() -> None:
        async with opened(tmp_path) as race, race.results(prompts) as results:
            async for _ in results:
                pass

    run(main)
    spans, calls = parted(exporter)
    by_seq = {dict(span.attributes or {})["headrace.seq"]: span for span in spans}
    assert len(spans) == len(by_seq) == 3
    good, blocked, unreadable = (dict(by_seq[seq].attributes or {}) for seq in range(3))
    assert (good["headrace.id"], good["headrace.status"], good["headrace.strategy"]) == ("mine", "ok", "primary")
    assert (blocked["error.type"], unreadable["error.type"]) == ("moderation_blocked", "bad_line")
    assert by_seq[0].status.status_code is StatusCode.UNSET
    assert by_seq[1].status.status_code is StatusCode.ERROR
    assert by_seq[0].context is not None
    first, second = calls.pop(by_seq[0].context.span_id)
    refused, answered = dict(first.attributes or {}), dict(second.attributes or {})
    assert first.kind is SpanKind.CLIENT
    assert (refused["headrace.outcome"], refused["http.response.status_code"]) == ("slow_down", 429)
    assert (answered["headrace.outcome"], answered["headrace.pool"], answered["gen_ai.request.model"]) == (
        "ok",
        "studio",
        "gpt-image-2.5-flare",
    )
    assert answered["headrace.waited_s"] > 0  # type: ignore[operator]  # a number
    assert answered["headrace.waited_for"] in ("a pause after a 429", "calls at once")
    assert answered["gen_ai.usage.output_tokens"] > 0  # type: ignore[operator]
    assert len(calls) == 1
    assert SECRET_WORDS not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_a_calls_span_is_as_long_as_the_call(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    async def main() -> None:
        async with opened(tmp_path) as race, race.results(["a fox"]) as results:
            async for _ in results:
                pass

    run(main)
    _, calls = parted(exporter)
    ((call,),) = calls.values()
    assert call.start_time is not None
    assert call.end_time is not None
    assert call.end_time - call.start_time == pytest.approx(20 * NS, abs=1e6)


def test_lines_beside_each_other_have_spans_of_their_own_and_cancelled_prompts_end(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    async def main() -> None:
        async with opened(tmp_path) as race:

            async def line(prompt: str) -> None:
                async with race.results([prompt, "the same in both"]) as results:
                    async for _ in results:
                        pass

            async with trio.open_nursery() as nursery:
                nursery.start_soon(line, "a fox")
                nursery.start_soon(line, "a hare")
            with trio.move_on_after(1):
                await line("never answered [[fault:stall]]")

    run(main)
    spans, calls = parted(exporter)
    statuses = Counter(str(dict(span.attributes or {}).get("headrace.strategy", "none")) for span in spans)
    assert statuses == {"primary": 3, "coalesced": 1, "cache_exact": 1, "none": 1}
    assert None not in calls
    assert [
        dict(span.attributes or {})["error.type"] for span in spans if not span.status.is_ok and span.status.status_code is StatusCode.ERROR
    ] == ["interrupted"]


def test_attributes_are_bounded_whatever_prompts_say(exporter: InMemorySpanExporter) -> None:
    async def main() -> None:
        spans, request = Spans(), Request(prompt="a fox", model="m" * 10_000, size="1024x1024", quality="low")
        spans.called(
            Call(
                prompt=Prompt(seq=0, id="0", request=request),
                request=request,
                pool="studio",
                key="a",
                waited_s=0.0,
                waited_for=None,
                started=0.0,
                ended=1.0,
            )
        )
        spans.ended(Result(seq=0, id="i" * 10_000, prompt="a fox", status=Status.OK, model="m" * 10_000))

    run(main)
    texts = [value for span in exporter.get_finished_spans() for value in (span.attributes or {}).values() if isinstance(value, str)]
    assert sorted(map(len, texts))[-3:] == [LONGEST] * 3


def test_where_opentelemetry_is_not_installed_nothing_is_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "headrace.observe.spans", raising=False)
    monkeypatch.setattr("headrace.observing.find_spec", lambda _: None)

    async def main() -> None:
        async with opened(tmp_path) as race, race.results(["a fox"]) as results:
            assert race.began is None
            assert [result.status async for result in results] == ["ok"]

    run(main)
    assert "headrace.observe.spans" not in sys.modules
