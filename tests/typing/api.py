"""The types that callers see: checked by mypy, never run. An ignore that is not needed is an error, so each of them is a test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, assert_type

import numpy as np
import trio
from ray.data import Dataset

import headrace
from headrace.budget import Budget
from headrace.flow import Flow, flow
from headrace.outcome import Results
from headrace.race import Race
from headrace.records import Answer, Failure, Prompt, Result
from headrace.stages.admission import Admission
from headrace.stages.dedupe import Dedupe
from headrace.stages.estimate import Estimate
from headrace.stages.fallback import Fallback
from headrace.stages.fetch import Fetch
from headrace.stages.order import Order
from headrace.stages.semantic import Semantic
from headrace.stages.settle import Settle
from headrace.stages.sink import Sink

if TYPE_CHECKING:
    from headrace.api import Api
    from headrace.cache.answers import Answers
    from headrace.cache.in_flight import Leads
    from headrace.stages.intake import Intake


def plain_python() -> None:
    results = headrace.generate(["a cat", {"prompt": "a dog", "metadata": 1}])
    assert_type(results, Generator[Result, None, None])
    for result in headrace.generate(("a cat",), headrace.Settings()):
        assert_type(result, headrace.Result)
        assert_type(result.seq, int)
        assert_type(result.status, headrace.Status)
        assert_type(result.strategy, headrace.Strategy | None)
        assert_type(result.images, tuple[headrace.Picture, ...])
        assert_type(result.usage, headrace.Usage | None)
        assert_type(result.match, headrace.Match | None)
        assert_type(result.error, headrace.Problem | None)
        assert_type(result.cost_usd, float | None)
        assert_type(result.as_dict(), dict[str, Any])
    headrace.generate([17])  # type: ignore[list-item]  # a number is no prompt
    headrace.generate(["a cat"], "headrace.toml")  # type: ignore[arg-type]  # settings are loaded first
    result.status = headrace.Status.OK  # type: ignore[misc]  # records are frozen


def with_ray(rows: Dataset) -> None:
    drawn = headrace.ray.generate(rows, headrace.Settings(), concurrency=2, prompt_column="caption", id_column="sku", num_cpus=1)
    assert_type(drawn, Dataset)
    headrace.ray.generate(["a cat"])  # type: ignore[arg-type]  # prompts lie in a dataset here


async def with_asyncio(rows: AsyncIterator[str]) -> None:
    assert_type(headrace.aio.generate(rows), AsyncGenerator[Result, None])
    async for result in headrace.aio.generate(["a cat", {"prompt": "a dog"}], headrace.Settings(), encoder=Mine()):
        assert_type(result, Result)
    async with aclosing(headrace.aio.generate(rows)) as results:
        assert_type(await anext(results), Result)
    headrace.aio.generate([17])  # type: ignore[list-item]  # a number is no prompt
    headrace.aio.generate(17)  # type: ignore[arg-type]  # nothing to iterate over
    headrace.aio.generate(rows, "headrace.toml")  # type: ignore[arg-type]  # settings are loaded first


def with_arrow() -> None:
    # pyarrow has no types: what is given is checked, what comes is anything.
    for batch in headrace.arrow.batches(headrace.generate(["a cat"]), rows=100):
        batch.to_pandas()
    headrace.arrow.batch(list(headrace.generate(["a cat"])))
    headrace.arrow.batches(["a cat"])  # type: ignore[list-item]  # results, not prompts


class Mine:
    fingerprint = "mine:1"

    def encode(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.ones((len(texts), 1), dtype=np.float32)


def an_encoder_of_ones_own() -> None:
    headrace.generate(["a cat"], encoder=Mine())
    headrace.open(encoder=Mine())
    headrace.generate(["a cat"], encoder="all-MiniLM-L6-v2")  # type: ignore[arg-type]  # a name belongs into the settings


async def with_trio(channel: trio.MemoryReceiveChannel[str]) -> None:
    async with headrace.open() as race:
        assert_type(race, Race)
        async with race.results(channel) as results:
            assert_type(results, Results)
            async for result in results:
                assert_type(result, Result)
        async with race.results(["a cat"], format="jsonl"):
            pass
        async with race.results(17):  # type: ignore[arg-type]  # nothing to iterate over
            pass
    async with headrace.open(headrace.Settings.load("headrace.toml")):
        pass


def settings() -> None:
    assert_type(headrace.Settings.load(), headrace.Settings)
    assert_type(headrace.Settings.from_dict({"request": {"size": "auto"}}), headrace.Settings)
    headrace.Settings(request="auto")  # type: ignore[arg-type]  # a table, not one of its values


def errors() -> None:
    error: headrace.HeadraceError = headrace.StoppedError("why")
    error = headrace.OutputError("why")
    error = headrace.UsageError("why")
    assert_type(error.exit_code, int)


def the_line(intake: Intake, answers: Answers, leads: Leads, api: Api, slots: trio.Semaphore) -> Flow[Result]:
    source = flow(intake)
    assert_type(source, Flow[Prompt | Result])
    estimated = (
        source.then(Dedupe(answers, leads, "", ""))
        .then(Semantic(answers, leads, None))
        .then(Estimate(estimator="vendor", refuse_retired=True))
    )
    fetched = estimated.then(Admission(api, Budget(None).line())).then(Fetch(api, Budget(None).line()))
    assert_type(fetched, Flow[Answer | Failure | Result])
    settled = fetched.then(Fallback(())).then(Settle(answers, leads, Budget(None).line(), print))
    assert_type(settled, Flow[Result])
    return settled.then(Order()).then(Sink(slots))


def stages_in_a_wrong_order(intake: Intake, answers: Answers, leads: Leads, api: Api, slots: trio.Semaphore) -> None:
    estimate = Estimate(estimator="vendor", refuse_retired=True)
    flow(intake).then(Fetch(api, Budget(None).line()))  # type: ignore[arg-type]  # nothing was admitted
    flow(intake).then(Admission(api, Budget(None).line()))  # type: ignore[arg-type]  # nothing was estimated
    flow(intake).then(Sink(slots))  # type: ignore[arg-type]  # prompts are no results
    flow(intake).then(Order())  # type: ignore[arg-type]  # prompts are no results
    flow(intake).then(estimate).then(Dedupe(answers, leads, "", ""))  # type: ignore[arg-type]  # it takes prompts
    flow(intake).then(estimate).then(Semantic(answers, leads, None))  # type: ignore[arg-type]  # it takes prompts
    flow(intake).then(estimate).then(Fetch(api, Budget(None).line()))  # type: ignore[arg-type]  # nothing was admitted
    flow(intake).then(estimate).then(Settle(answers, leads, Budget(None).line(), print))  # type: ignore[arg-type]  # nothing was answered
    flow([1, 2])  # type: ignore[arg-type]  # a source is an async iterator


async def what_runs(line: Flow[Result]) -> None:
    async with line.open() as running:
        assert_type(running.results, trio.MemoryReceiveChannel[Result])
        running.drain()


async def a_source_of_ones_own(prompts: AsyncIterator[Prompt]) -> None:
    assert_type(flow(prompts), Flow[Prompt])
    flow(prompts).then(Estimate(estimator="vendor", refuse_retired=False))
