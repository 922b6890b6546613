from __future__ import annotations

import hashlib
import shutil
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from headrace.admission.gate import Gate
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.admission.retry import CURABLE
from headrace.api import Api
from headrace.budget import Budget
from headrace.cache.answers import Answers
from headrace.cache.entry import Entry
from headrace.cache.in_flight import InFlight
from headrace.cache.meaning import Twin
from headrace.cache.store import Store
from headrace.disk import Disk
from headrace.estimate import estimate
from headrace.flow import flow
from headrace.models import Limits
from headrace.offload import inline
from headrace.provider.memory import ByteBudget
from headrace.records import (
    Answer,
    CacheMode,
    Failure,
    Kind,
    Match,
    Picture,
    Problem,
    Prompt,
    Request,
    Result,
    Status,
    Strategy,
    Trail,
)
from headrace.results import answered
from headrace.rungs import AlternativeApi, CachedSimilar, ReducedQuality
from headrace.settings import AlternativeSettings
from headrace.stages.fallback import Fallback
from headrace.stages.settle import Settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from headrace.cache.meaning import Meaning
    from headrace.provider.client import Client
    from headrace.provider.failures import Reply
    from headrace.provider.memory import Lease
    from headrace.rungs import Rung

REQUEST = Request(prompt="a cat", model="gpt-image-2.5-flare", size="1536x1024", quality="high")
PROMPT = Prompt(seq=4, id="cat", request=REQUEST)
ESTIMATED = estimate(PROMPT, REQUEST, "vendor")
TRAIL = Trail(key="k", attempts=4, waited_s=3.0, latency_s=8.0)
ALTERNATIVE = AlternativeSettings(base_url="https://example.com/v1", model="gpt-image-2")


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def failure(kind: Kind = Kind.SERVER_ERROR) -> Failure:
    return Failure(prompt=PROMPT, estimated=ESTIMATED, problem=Problem(kind=kind, message=kind.value), trail=TRAIL)


def answer(strategy: Strategy = Strategy.REDUCED_QUALITY) -> Answer:
    return Answer(prompt=PROMPT, request=REQUEST, strategy=strategy, pictures=(), usage=None, cost_usd=0.1, trail=TRAIL)


class FakeRung:
    """Hands out what it was given, after a second."""

    def __init__(self, *outcomes: Answer | Failure | None) -> None:
        self._outcomes = list(outcomes)
        self.asked: list[Kind] = []

    async def climb(self, failure: Failure) -> Answer | Failure:
        self.asked.append(failure.problem.kind)
        await trio.sleep(1)
        return self._outcomes.pop(0) or failure


async def through(ladder: Sequence[Rung], *records: Answer | Failure | Result) -> list[Answer | Failure | Result]:
    async def source() -> AsyncIterator[Answer | Failure | Result]:
        for record in records:
            yield record

    async with flow(source()).then(Fallback(ladder)).open() as running:
        return [record async for record in running.results]


class Refusing:
    """A client whose every call ends with the next of these problems."""

    def __init__(self, *kinds: Kind) -> None:
        self._kinds = list(kinds)
        self.asked: list[Request] = []

    async def post(self, request: Request, lease: Lease, request_id: str | None) -> Reply | Problem:
        assert request_id is None  # there is no journal
        await lease.reserve(1)
        self.asked.append(request)
        kind = self._kinds.pop(0)
        return Problem(kind=kind, message=kind.value, status=400)


def api(root: Path, client: Refusing, limits: Limits | None = None) -> Api:
    gate = Gate([Pool("p", limits or Limits(), [Key("a")])])
    trio.lowlevel.spawn_system_task(gate.run)
    clients = cast("Mapping[str, Client]", {"a": client})
    return Api(gate=gate, clients=clients, root=root, memory=ByteBudget(9), disk=Disk(inline), random=Random(0))


def test_the_first_rung_that_answers_ends_the_climb() -> None:
    async def main() -> None:
        first, second, third = FakeRung(None), FakeRung(answer()), FakeRung(answer())
        assert await through([first, second, third], failure()) == [answer()]
        assert (first.asked, second.asked, third.asked) == ([Kind.SERVER_ERROR], [Kind.SERVER_ERROR], [])

    run(main)


def test_each_rung_starts_from_the_failure_of_the_one_before_and_the_last_failure_comes_out() -> None:
    async def main() -> None:
        first, second = FakeRung(failure(Kind.TIMEOUT)), FakeRung(failure(Kind.NETWORK))
        assert await through([first, second], failure()) == [failure(Kind.NETWORK)]
        assert (first.asked, second.asked) == ([Kind.SERVER_ERROR], [Kind.TIMEOUT])

    run(main)


@pytest.mark.parametrize("kind", sorted(set(Kind) - CURABLE))
def test_what_is_not_curable_never_climbs(kind: Kind) -> None:
    async def main() -> None:
        rung = FakeRung(answer())
        assert await through([rung], failure(kind)) == [failure(kind)]
        assert rung.asked == []

    run(main)


@pytest.mark.parametrize("kind", [Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION, Kind.BAD_REQUEST])
def test_a_refusal_for_policy_on_the_way_up_ends_the_climb(kind: Kind) -> None:
    async def main() -> None:
        first, second = FakeRung(failure(kind)), FakeRung(answer())
        assert await through([first, second], failure()) == [failure(kind)]
        assert second.asked == []

    run(main)


def test_failures_climb_beside_each_other_and_the_rest_passes_them() -> None:
    async def main() -> None:
        result = Result(seq=0, id="0", prompt=None, status=Status.OK)
        rung = FakeRung(*[answer()] * 5)
        records = await through([rung], *[failure()] * 5, result, answer(Strategy.PRIMARY))
        assert records[:2] == [result, answer(Strategy.PRIMARY)]
        assert len(records) == 7
        assert trio.current_time() == 1.0

    run(main)


def test_without_a_ladder_failures_pass() -> None:
    async def main() -> None:
        assert await through([], failure()) == [failure()]

    run(main)


def test_reduced_quality_asks_for_the_next_lower_quality_and_then_for_the_cheapest_of_that_shape(tmp_path: Path) -> None:
    async def main() -> None:
        client = Refusing(Kind.SERVER_ERROR, Kind.TIMEOUT)
        outcome = await ReducedQuality(api(tmp_path, client), "vendor", Budget(None).line()).climb(failure())
        assert [request.quality for request in client.asked] == ["medium", "low"]
        assert client.asked[0].size == REQUEST.size
        width, height = map(int, client.asked[1].size.split("x"))
        assert width > height
        assert width * height < 1536 * 1024
        assert isinstance(outcome, Failure)
        assert outcome.trail == Trail(key="a", attempts=6, waited_s=3.0, latency_s=0.0)
        assert outcome.prompt is PROMPT

    run(main)


def test_reduced_quality_stops_where_policy_forbids(tmp_path: Path) -> None:
    async def main() -> None:
        client = Refusing(Kind.MODERATION_BLOCKED)
        outcome = await ReducedQuality(api(tmp_path, client), "vendor", Budget(None).line()).climb(failure())
        assert isinstance(outcome, Failure)
        assert outcome.problem.kind is Kind.MODERATION_BLOCKED
        assert len(client.asked) == 1

    run(main)


def test_a_cheaper_request_is_not_tried_where_it_cannot_help(tmp_path: Path) -> None:
    async def main() -> None:
        rung = ReducedQuality(api(tmp_path, Refusing()), "vendor", Budget(None).line())
        for given in (failure(Kind.NO_POOL), failure(Kind.MODEL_NOT_FOUND), failure(Kind.NETWORK), attrs.evolve(failure(), estimated=None)):
            assert await rung.climb(given) is given

    run(main)


def test_a_request_too_large_for_every_limit_is_made_smaller(tmp_path: Path) -> None:
    async def main() -> None:
        client = Refusing(Kind.MODERATION_BLOCKED)
        line = api(tmp_path, client, Limits(tokens_per_minute=ESTIMATED.tokens - 1))
        await ReducedQuality(line, "vendor", Budget(None).line()).climb(failure(Kind.TOO_LARGE))
        assert [request.quality for request in client.asked] == ["medium"]

    run(main)


def test_the_alternative_is_asked_for_what_the_prompt_wanted_as_far_as_its_model_can(tmp_path: Path) -> None:
    async def main() -> None:
        client = Refusing(Kind.MODERATION_BLOCKED)
        lowered = attrs.evolve(failure(), estimated=estimate(PROMPT, attrs.evolve(REQUEST, quality="low"), "vendor"))
        outcome = await AlternativeApi(api(tmp_path, client), ALTERNATIVE, "vendor", Budget(None).line()).climb(lowered)
        (asked,) = client.asked
        assert (asked.model, asked.quality, asked.size) == ("gpt-image-2", "high", "1536x1024")
        assert isinstance(outcome, Failure)
        assert outcome.trail.attempts == 5

    run(main)


def test_an_alternative_whose_keys_are_dead_leaves_the_first_failure_as_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        line = api(tmp_path, Refusing(Kind.AUTH))
        rung = AlternativeApi(line, ALTERNATIVE, "vendor", Budget(None).line())
        for _ in range(2):
            (outcome,) = await through([rung], failure())
            assert isinstance(outcome, Failure)
            # NO_POOL would end the whole run, and the first API works.
            assert outcome.problem.kind is Kind.SERVER_ERROR

    run(main)


def test_what_a_rung_cost_before_it_could_not_go_on_stays_with_the_reason_of_the_one_before() -> None:
    async def main() -> None:
        dearer = attrs.evolve(TRAIL, attempts=5, spoilt_usd=0.1)
        dead = attrs.evolve(failure(Kind.NO_POOL), trail=dearer)
        (out,) = await through([FakeRung(dead)], failure(Kind.SERVER_ERROR))
        assert out == attrs.evolve(failure(Kind.SERVER_ERROR), trail=dearer)

    run(main)


def test_where_no_key_of_either_api_works_the_run_ends() -> None:
    async def main() -> None:
        (outcome,) = await through([FakeRung(failure(Kind.NO_POOL))], failure(Kind.NO_POOL))
        assert isinstance(outcome, Failure)
        assert outcome.problem.kind is Kind.NO_POOL

    run(main)


class Neighbours:
    """Stands for the search by meaning: knows one entry."""

    def __init__(self, twin: Twin | None) -> None:
        self._twin = twin
        self.asked: list[tuple[str, float]] = []

    async def similar(self, prompt: Prompt, threshold: float) -> Twin | None:
        self.asked.append((prompt.request.prompt, threshold))
        await trio.sleep(1)
        return self._twin


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    """A cache that knows the picture of a dog, as entry 1."""
    with closing(Store(tmp_path / "cache", 1e6)) as store:
        digest = hashlib.sha256(b"dog").hexdigest()
        picture = Picture(path=f"images/{digest[:2]}/{digest}.png", sha256=digest, format="png", width=1, height=1, bytes=3)
        (tmp_path / picture.path).parent.mkdir(parents=True)
        (tmp_path / picture.path).write_bytes(b"dog")
        entry = Entry(
            key="dog",
            scope="scope",
            canonical="dog",
            namespace="",
            request=attrs.evolve(REQUEST, prompt="a dog"),
            origin="dog",
            pictures=(picture,),
            usage=None,
            cost_usd=0.5,
        )
        assert store.put(entry, tmp_path).number == 1
        yield Answers(store, tmp_path, inline)


TWIN = Twin(number=1, flight=None, cosine=0.87, difference="cat -> dog")


def similar(answers: Answers, twin: Twin | None) -> tuple[CachedSimilar, Neighbours]:
    meaning = Neighbours(twin)
    return CachedSimilar(cast("Meaning", meaning), answers, 0.8), meaning


def unanswered(**fields: Any) -> Failure:
    fields = {"key": "cat", "scope": "scope", "namespace": "", "leads": ("cat",)} | fields
    return attrs.evolve(failure(), prompt=attrs.evolve(PROMPT, **fields))


def test_a_similar_picture_is_labelled_free_and_says_what_differs(answers: Answers) -> None:
    async def main() -> None:
        rung, meaning = similar(answers, TWIN)
        (outcome,) = await through([rung], unanswered())
        assert isinstance(outcome, Answer)
        assert meaning.asked == [("a cat", 0.8)]
        result = answered(outcome)
        assert (result.strategy, result.status, result.cost_usd, result.prompt) == (Strategy.CACHED_SIMILAR, Status.OK, 0.0, "a cat")
        assert result.match == Match(of="dog", similarity=0.87, difference="cat -> dog", prompt="a dog")
        assert result.as_dict()["match"] == {
            "of": "dog",
            "similarity": 0.87,
            "difference": "cat -> dog",
            "prompt": "a dog",
        }
        assert (result.attempts, result.key) == (4, "k")
        assert result.images[0].bytes == 3

    run(main)


def test_a_similar_picture_is_never_kept_as_the_answer(answers: Answers) -> None:
    async def main() -> None:
        rung, _ = similar(answers, TWIN)
        with InFlight().line() as leads:
            assert leads.lead("cat")

            async def source() -> AsyncIterator[Answer | Failure | Result]:
                yield unanswered()

            settle = Settle(answers, leads, Budget(None).line(), lambda _: None)
            async with flow(source()).then(Fallback([rung])).then(settle).open() as running:
                (result,) = [result async for result in running.results]
        assert result.strategy is Strategy.CACHED_SIMILAR
        assert await answers.find("cat") is None
        assert [entry.key for entry in answers._store.entries()] == ["dog"]

    run(main)


@pytest.mark.parametrize(
    "fields", [{"cache": CacheMode.BYPASS}, {"cache": CacheMode.REFRESH}, {"cache": CacheMode.BYPASS, "key": None}, {"key": None}]
)
def test_who_wants_nothing_of_the_cache_gets_nothing_similar(answers: Answers, fields: dict[str, Any]) -> None:
    async def main() -> None:
        rung, meaning = similar(answers, TWIN)
        given = unanswered(**fields)
        assert await through([rung], given) == [given]
        assert meaning.asked == []

    run(main)


@pytest.mark.parametrize("how", ["none", "dropped", "broken"])
def test_where_nothing_similar_is_to_be_had_the_failure_stays(answers: Answers, how: str, tmp_path: Path) -> None:
    async def main() -> None:
        rung, _ = similar(answers, None if how == "none" else TWIN)
        if how == "dropped":
            answers._store.drop(1)
        elif how == "broken":
            shutil.rmtree(tmp_path / "images")
            shutil.rmtree(tmp_path / "cache" / "images")
        assert await through([rung], unanswered()) == [unanswered()]

    run(main)


@pytest.mark.parametrize("kind", sorted(set(Kind) - CURABLE))
def test_what_policy_forbids_gets_nothing_similar_either(answers: Answers, kind: Kind) -> None:
    async def main() -> None:
        rung, meaning = similar(answers, TWIN)
        given = attrs.evolve(unanswered(), problem=Problem(kind=kind, message=""))
        assert await through([rung], given) == [given]
        assert meaning.asked == []

    run(main)
