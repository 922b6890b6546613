from __future__ import annotations

import hashlib
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from headrace.admission.gate import Gate
from headrace.admission.key import Key
from headrace.admission.permit import Admitted
from headrace.admission.pool import Pool
from headrace.api import Api
from headrace.budget import Budget
from headrace.cache.answers import Answers
from headrace.cache.in_flight import InFlight
from headrace.cache.store import Store
from headrace.disk import Disk
from headrace.flow import flow
from headrace.models import Limits
from headrace.offload import inline
from headrace.provider.memory import ByteBudget
from headrace.records import (
    Answer,
    Estimated,
    Failure,
    Hit,
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
    Usage,
)
from headrace.stages.admission import Admission
from headrace.stages.settle import Settle
from headrace.stages.sink import Sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.offload import T, Ts

REQUEST = Request(prompt="a cat", model="gpt-image-2.5-flare", size="1024x1024", quality="low")
PICTURE = Picture(path="images/a.png", sha256="a", format="png", width=1024, height=1024, bytes=3)
TRAIL = Trail(key="k", attempts=2, waited_s=1.5, latency_s=8.0)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def prompt(seq: int) -> Prompt:
    return Prompt(seq=seq, id=f"id-{seq}", request=attrs.evolve(REQUEST, prompt=f"cat {seq}"), metadata={"n": seq})


def estimated(seq: int, cost_usd: float | None) -> Estimated:
    return Estimated(prompt=prompt(seq), request=prompt(seq).request, input_tokens=1, output_tokens=1, cost_usd=cost_usd)


async def stream(records: Iterable[Answer | Failure | Result]) -> AsyncIterator[Answer | Failure | Result]:
    for record in records:
        yield record


async def settled(*records: Answer | Failure | Result) -> tuple[list[Result], list[Problem]]:
    stopped: list[Problem] = []
    with InFlight().line() as leads:
        async with flow(stream(records)).then(Settle(None, leads, Budget(None).line(), stopped.append)).open() as running:
            return [result async for result in running.results], stopped


def answer(seq: int, cost_usd: float | None = 0.25) -> Answer:
    return Answer(
        prompt=prompt(seq),
        request=attrs.evolve(prompt(seq).request, quality="medium"),
        strategy=Strategy.PRIMARY,
        pictures=(PICTURE,),
        usage=Usage(input_tokens=1, output_tokens=2),
        cost_usd=cost_usd,
        trail=TRAIL,
    )


def test_an_answer_becomes_the_line_of_its_prompt() -> None:
    async def main() -> None:
        (result,), stopped = await settled(answer(3))
        assert result.as_dict() == {
            "seq": 3,
            "id": "id-3",
            "prompt": "cat 3",
            "status": "ok",
            "strategy": "primary",
            "images": [attrs.asdict(PICTURE)],
            "model": "gpt-image-2.5-flare",
            "size": "1024x1024",
            "quality": "medium",
            "key": "k",
            "attempts": 2,
            "usage": {"input_tokens": 1, "output_tokens": 2},
            "cost_usd": 0.25,
            "saved_usd": 0.0,
            "latency_s": 8.0,
            "waited_s": 1.5,
            "match": None,
            "error": None,
            "metadata": {"n": 3},
        }
        assert stopped == []

    run(main)


@pytest.mark.parametrize("kind", Kind)
def test_a_failure_becomes_a_line_with_its_reason_and_some_end_the_run(kind: Kind) -> None:
    async def main() -> None:
        problem = Problem(kind=kind, message="why")
        (result,), stopped = await settled(Failure(prompt=prompt(1), problem=problem, trail=TRAIL))
        skipped = kind in (Kind.NO_POOL, Kind.OVER_BUDGET, Kind.INTERRUPTED, Kind.IN_DOUBT)
        assert result.status is (Status.SKIPPED if skipped else Status.FAILED)
        assert (result.error, result.attempts, result.key, result.images) == (problem, 2, "k", ())
        assert stopped == ([problem] if kind in (Kind.NO_POOL, Kind.OVER_BUDGET) else [])

    run(main)


@pytest.mark.parametrize("strategy", Strategy)
def test_an_answer_lands_under_every_key_that_its_prompt_leads_before_its_line_is_handed_on(strategy: Strategy) -> None:
    async def main() -> None:
        flights = InFlight()
        match = Match(of="old", similarity=0.9, difference="red -> blue") if strategy is Strategy.CACHED_SIMILAR else None
        with flights.line() as leads:
            assert all(leads.lead(key) for key in ("exact", "canonical", "another"))
            made = attrs.evolve(answer(3), strategy=strategy, match=match)
            made = attrs.evolve(made, prompt=attrs.evolve(made.prompt, leads=("exact", "canonical")))
            waiting = [flights.flight(key) for key in ("exact", "canonical")]
            async with flow(stream([made])).then(Settle(None, leads, Budget(None).line(), lambda _: None)).open() as running:
                for flight in waiting:
                    assert flight is not None
                    hit = await flight.follow()
                    assert isinstance(hit, Hit)
                    assert (hit.pictures, hit.quality, hit.cost_usd) == ((PICTURE,), "medium", 0.25)
                    assert hit.match == (match or Match(of="id-3", similarity=1.0, prompt=made.prompt.request.prompt))
                    assert hit.strategy is (strategy if match else Strategy.COALESCED)
                assert (await anext(running.results)).match == match
            assert flights.flight("another") is not None

    run(main)


@pytest.mark.parametrize("kind", Kind)
def test_a_failure_lands_as_it_is(kind: Kind) -> None:
    async def main() -> None:
        flights = InFlight()
        failure = Failure(prompt=attrs.evolve(prompt(1), leads=("exact",)), problem=Problem(kind=kind, message="why"), trail=TRAIL)
        with flights.line() as leads:
            assert leads.lead("exact")
            waiting = flights.flight("exact")
            assert waiting is not None
            async with flow(stream([failure])).then(Settle(None, leads, Budget(None).line(), lambda _: None)).open() as running:
                assert len([result async for result in running.results]) == 1
            assert await waiting.follow() is failure
            assert flights.flight("exact") is None

    run(main)


def test_an_answer_is_kept_before_its_followers_hear_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        flights = InFlight()
        asked = attrs.evolve(prompt(1), key="exact", scope="scope", namespace="", leads=("exact",))
        content = b"abc"
        picture = attrs.evolve(PICTURE, sha256=hashlib.sha256(content).hexdigest())
        picture = attrs.evolve(picture, path=f"images/{picture.sha256[:2]}/{picture.sha256}.png")
        (tmp_path / picture.path).parent.mkdir(parents=True)
        (tmp_path / picture.path).write_bytes(content)

        async def slowly(function: Callable[[*Ts], T], *args: *Ts) -> T:
            await trio.sleep(5)
            return function(*args)

        with closing(Store(tmp_path / "cache", 1e6)) as store, flights.line() as leads:
            assert leads.lead("exact")
            waiting = flights.flight("exact")
            assert waiting is not None
            settle = Settle(Answers(store, tmp_path, slowly), leads, Budget(None).line(), lambda _: None)
            made = attrs.evolve(answer(1), prompt=asked, pictures=(picture,))
            async with flow(stream([made])).then(settle).open() as running:
                await waiting.follow()
                assert trio.current_time() == 5.0
                assert store.get("exact") is not None
                assert len([result async for result in running.results]) == 1

    run(main)


def test_one_record_in_is_one_result_out() -> None:
    async def main() -> None:
        born = Result(seq=0, id="0", prompt=None, status=Status.FAILED)
        failure = Failure(prompt=prompt(1), problem=Problem(kind=Kind.TIMEOUT, message=""))
        results, _ = await settled(born, failure, answer(2))
        assert [result.seq for result in results] == [0, 1, 2]
        assert results[0] is born

    run(main)


def test_what_is_settled_while_a_write_takes_its_time_is_written_at_once() -> None:
    async def main() -> None:
        batches: list[int] = []

        async def write(results: Sequence[Result]) -> None:
            await trio.sleep(1)
            batches.append(len(results))

        with InFlight().line() as leads:
            settle, sink = Settle(None, leads, Budget(None).line(), lambda _: None), Sink(trio.Semaphore(0), write)
            async with flow(stream(answer(seq) for seq in range(400))).then(settle).then(sink).open() as running:
                assert len([result async for result in running.results]) == 400
        # A write costs the way to a thread and back: with a batch of two there would be 200.
        assert len(batches) <= 20

    run(main)


def test_the_budget_counts_what_is_in_flight_at_its_estimate_and_what_is_done_at_its_price() -> None:
    budget = Budget(1.0)
    purse, other = budget.line(), budget.line()
    assert purse.reserve(1, 0.75) is None
    assert other.reserve(1, 0.5) is not None
    purse.settle(1, 0.25)
    assert budget.spent_usd == 0.25
    assert other.reserve(1, 0.75) is None
    assert (purse.reserve(3, 0.01) or "").startswith("the budget of $1 is spent")
    other.settle(1, None)
    assert purse.reserve(3, 0.01) is None


def test_what_is_set_aside_for_a_prompt_can_be_replaced_by_more_where_there_is_more() -> None:
    budget = Budget(1.0)
    purse = budget.line()
    assert purse.reserve(1, 0.25) is None
    assert purse.reserve(1, 1.5) is not None
    assert budget.reserved_usd == 0.25
    assert purse.reserve(1, 1.0) is None
    assert budget.reserved_usd == 1.0


def test_a_line_that_is_left_gives_back_what_it_has_set_aside() -> None:
    budget = Budget(1.0)
    with budget.line() as purse:
        assert purse.reserve(1, 0.5) is None
        purse.settle(1, 0.25)
        assert purse.reserve(2, 0.75) is None
    assert (budget.spent_usd, budget.reserved_usd) == (0.25, 0.0)


def test_an_unknown_price_cannot_be_afforded_by_a_budget_and_is_nothing_without_one() -> None:
    assert Budget(None).line().reserve(0, None) is None
    assert Budget(5.0).line().reserve(0, None) == "its price is unknown, and the budget is $5"


class Sells:
    """Stands for all between admission and settle: every call costs what was estimated, some fail and cost nothing."""

    def __init__(self, failing: set[int]) -> None:
        self._failing = failing
        self.sold = 0.0
        self.dearest = 0.0

    async def run(
        self, source: MemoryReceiveChannel[Admitted | Failure | Result], sink: MemorySendChannel[Answer | Failure | Result]
    ) -> None:
        with source, sink:
            async with trio.open_nursery() as nursery:
                async for record in source:
                    if isinstance(record, Admitted):
                        nursery.start_soon(self._sell, record, sink)
                    else:
                        await sink.send(record)

    async def _sell(self, admitted: Admitted, sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        await trio.sleep(8)
        prompt, cost = admitted.estimated.prompt, admitted.estimated.cost_usd
        if prompt.seq in self._failing:
            admitted.permit.failed(Problem(kind=Kind.MODERATION_BLOCKED, message=""))
            await sink.send(Failure(prompt=prompt, problem=Problem(kind=Kind.MODERATION_BLOCKED, message="")))
        else:
            admitted.permit.succeeded(None)
            self.sold += cost or 0.0
            await sink.send(attrs.evolve(answer(prompt.seq, cost), prompt=prompt))


@settings(max_examples=60, deadline=None)
@given(
    costs=st.lists(st.one_of(st.none(), st.sampled_from([0.01, 0.25, 0.5, 2.0])), max_size=30),
    failing=st.sets(st.integers(0, 29)),
    most=st.sampled_from([0.0, 0.3, 1.0, 3.0, None]),
)
def test_a_budget_is_never_overspent_and_what_it_cannot_pay_is_skipped(
    tmp_path_factory: pytest.TempPathFactory, costs: list[float | None], failing: set[int], most: float | None
) -> None:
    root: Path = tmp_path_factory.getbasetemp()

    async def main() -> None:
        stopped: list[Problem] = []
        budget, shop = Budget(most), Sells(failing)
        gate = Gate([Pool("p", Limits(images_per_minute=30, max_concurrency=4), [Key("a")])])
        trio.lowlevel.spawn_system_task(gate.run)
        api = Api(gate=gate, clients={}, root=root, memory=ByteBudget(9), disk=Disk(inline), random=Random(0))

        async def source() -> AsyncIterator[Estimated | Failure | Result]:
            for seq, cost in enumerate(costs):
                yield estimated(seq, cost)

        with InFlight().line() as leads, budget.line() as purse:
            line = flow(source()).then(Admission(api, purse)).then(shop).then(Settle(None, leads, purse, stopped.append))
            async with line.open() as running:
                results = {result.seq: result async for result in running.results}
        assert sorted(results) == list(range(len(costs)))
        assert most is None or shop.sold <= most + 1e-9
        assert budget.spent_usd == pytest.approx(shop.sold)
        assert budget.reserved_usd == pytest.approx(0.0, abs=1e-9)
        skipped = [result for result in results.values() if result.status is Status.SKIPPED]
        assert len(stopped) == len(skipped)
        assert all(result.error is not None and result.error.kind is Kind.OVER_BUDGET for result in skipped)
        if most is None:
            assert not skipped
        assert gate.statistics()[0].in_flight == 0

    run(main)


def test_an_admitted_request_that_is_never_fetched_gives_its_permit_back() -> None:
    async def main() -> None:
        gate = Gate([Pool("p", Limits(images_per_minute=600, max_concurrency=5), [Key("a")])])
        trio.lowlevel.spawn_system_task(gate.run)
        api = Api(
            gate=gate,
            clients={},
            root=None,  # type: ignore[arg-type]  # nothing is filed
            memory=ByteBudget(9),
            disk=Disk(inline),
            random=Random(0),
        )

        async def source() -> AsyncIterator[Estimated | Failure | Result]:
            for seq in range(3):
                yield estimated(seq, 0.1)

        async with flow(source()).then(Admission(api, Budget(None).line())).open():
            await trio.sleep(10)
            assert gate.statistics()[0].in_flight == 3
        books = gate.statistics()[0]
        assert (books.in_flight, books.calls, books.admitted["images"]) == (0, 0, 0)

    run(main)


def test_two_lines_that_share_a_budget_give_back_what_each_of_them_set_aside() -> None:
    async def main() -> None:
        budget = Budget(1.0)
        # The first prompt of either line has the number 0.
        gate = Gate([Pool("p", Limits(), [Key("a")])])
        trio.lowlevel.spawn_system_task(gate.run)
        api = Api(
            gate=gate,
            clients={},
            root=None,  # type: ignore[arg-type]  # nothing is filed
            memory=ByteBudget(9),
            disk=Disk(inline),
            random=Random(0),
        )
        shop = Sells({0})

        async def source() -> AsyncIterator[Estimated | Failure | Result]:
            yield estimated(0, 0.4)

        async def line() -> None:
            with InFlight().line() as leads, budget.line() as purse:
                both = flow(source()).then(Admission(api, purse)).then(shop).then(Settle(None, leads, purse, lambda _: None))
                async with both.open() as running:
                    assert [result.status async for result in running.results] == [Status.FAILED]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(line)
            nursery.start_soon(line)
        assert budget.spent_usd == 0.0
        assert budget.reserved_usd == 0.0

    run(main)
