from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.assembly import open_race
from headrace.errors import OutputError, StoppedError, UsageError
from headrace.offload import inline
from headrace.owners import simulated_owners, simulated_pools
from headrace.records import Kind, Result, Status, Strategy
from headrace.settings import (
    AlternativeSettings,
    CacheSettings,
    FallbackSettings,
    KeySettings,
    PoolSettings,
    RunSettings,
    Settings,
)
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from headrace.race import Race
    from headrace.simulator.settings import Discipline

POOLS = (
    PoolSettings(name="small", images_per_minute=5, max_concurrency=2),
    PoolSettings(name="large", images_per_minute=120, tokens_per_minute=60_000, requests_per_minute=100, max_concurrency=4),
)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


@attrs.frozen(kw_only=True)
class Setup:
    """A simulated API and the settings of whoever uses it."""

    folder: Path
    pools: tuple[PoolSettings, ...] = POOLS
    run: dict[str, Any] = attrs.field(factory=dict)
    fallback: FallbackSettings = attrs.field(factory=FallbackSettings)
    cache: str = "exact"

    def world(self) -> World:
        alternative = self.fallback.alternative
        owners = [
            *simulated_owners(self.pools, ()),
            *(simulated_owners(alternative.pool, alternative.key, "alternative") if alternative else ()),
        ]
        return World(SimulatorSettings(pools=simulated_pools(owners), pictures="template"))

    def settings(self) -> Settings:
        return Settings(
            pool=self.pools,
            cache=CacheSettings(policy=self.cache, dir=str(self.folder / "cache")),
            fallback=self.fallback,
            run=RunSettings(out_dir=str(self.folder / "out"), simulate=True, **self.run),
        )

    def open(self, world: World) -> AbstractAsyncContextManager[Race]:
        return open_race(self.settings(), environ={}, offload=inline, app=make_app(world))


class Items:
    """An input that knows how much of it was read."""

    def __init__(self, items: Iterable[object]) -> None:
        self._items = iter(items)
        self.read = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        await trio.lowlevel.checkpoint()
        for item in self._items:
            self.read += 1
            return item
        raise StopAsyncIteration


def nothing_is_held(race: Race) -> bool:
    apis = [api for api in (race.primary, race.alternative) if api is not None]
    return (
        (race.cache is None or not race.cache.in_flight._flights)
        and not any(books.in_flight for books in race.statistics())
        and not any(key.in_flight for api in apis for pool in api.gate.pools for key in pool.keys)
        and not any(api.gate._queue for api in apis)
        and all(api.memory.free == api.memory.capacity for api in apis)
        and race.budget.reserved_usd == pytest.approx(0.0, abs=1e-9)
    )


async def results_of(race: Race, items: Items) -> list[Result]:
    async with race.results(items) as results:
        return [result async for result in results]


async def collect(results: AsyncIterable[Result], into: list[Result]) -> None:
    async for result in results:
        into.append(result)  # noqa: PERF401 - those before an error count


TEXTS = st.sampled_from(["a cat", "a dog", "caf\u00e9", "cafe\u0301", "two owls, one of them asleep"])
MARKERS = st.sampled_from(
    [
        "",
        "",
        "",
        " [[fault:server_error*2]]",
        " [[fault:server_error*4]]",
        " [[fault:overloaded*1]]",
        " [[fault:error_in_200*1]]",
        " [[fault:html_200*1]]",
        " [[fault:reset*1]]",
        " [[fault:rate_limited_old*2]]",
        " [[fault:moderation_blocked]]",
    ]
)
PROMPTS = st.builds(str.__add__, TEXTS, MARKERS)
ITEMS = st.one_of(
    PROMPTS,
    PROMPTS,
    st.builds(lambda prompt, cache: {"prompt": prompt, "cache": cache}, PROMPTS, st.sampled_from(["use", "bypass", "refresh"])),
    st.builds(lambda prompt, variation: {"prompt": prompt, "variation": variation}, TEXTS, st.integers(0, 2)),
    st.sampled_from([17, {"prompt": ""}, {"prompt": "a cat", "size": "7x7"}, {"prompt": "a cat", "colour": 1}, {"text": "a cat"}]),
)
PAID = (Strategy.PRIMARY, Strategy.REDUCED_QUALITY)


def plain(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@settings(max_examples=40, deadline=None)
@given(
    items=st.lists(ITEMS, max_size=16),
    max_in_flight=st.none() | st.integers(1, 12),
    ordered=st.booleans(),
    cache=st.sampled_from(["exact", "off"]),
)
def test_every_prompt_has_one_result_and_is_paid_for_once(
    tmp_path_factory: pytest.TempPathFactory, items: list[object], max_in_flight: int | None, ordered: bool, cache: str
) -> None:
    setup = Setup(folder=tmp_path_factory.mktemp("line"), run={"max_in_flight": max_in_flight, "ordered": ordered}, cache=cache)

    async def main() -> None:
        world = setup.world()
        async with setup.open(world) as race:
            results = await results_of(race, Items(items))
            assert nothing_is_held(race)
        seqs = [result.seq for result in results]
        assert (seqs if ordered else sorted(seqs)) == list(range(len(items)))
        # Nothing that a limit refuses; refusals that a marker asks for have another name.
        assert (world.counts["rate_limited"], world.counts["slow_down"]) == (0, 0)
        # A picture a result that says it was paid for, and no other picture.
        assert Counter(result.prompt for result in results if result.strategy in PAID) == world.bill
        for result, item in ((result, items[result.seq]) for result in results):
            asked = item["prompt"] if isinstance(item, dict) and item.get("prompt") else item
            assert result.prompt == asked or result.status is Status.FAILED
            assert (result.status is Status.OK) == (len(result.images) == 1)
            assert all((setup.folder / "out" / picture.path).stat().st_size == picture.bytes for picture in result.images)
            if result.status is not Status.OK:
                assert result.error is not None
                assert result.error.kind in (Kind.BAD_LINE, Kind.BAD_REQUEST, Kind.MODERATION_BLOCKED)
        if cache == "exact":
            alone = Counter(plain(item) for item in items if isinstance(item, str) and "*4" not in item and "moderation" not in item)
            others = {plain(item["prompt"]) for item in items if isinstance(item, dict) and "prompt" in item}
            paid = Counter(dict.fromkeys(alone, 0))
            for text, times in world.bill.items():
                paid[plain(text)] += times
            assert all(paid[text] == 1 for text in alone if text not in others)

    run(main)


@pytest.mark.parametrize("max_in_flight", [1, 3, 20])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_stalled_consumer_leaves_exactly_max_in_flight_prompts_read(tmp_path: Path, max_in_flight: int, ordered: bool) -> None:
    setup = Setup(folder=tmp_path, run={"max_in_flight": max_in_flight, "ordered": ordered})

    async def main() -> None:
        items = Items(f"cat {n}" for n in range(100))
        async with setup.open(setup.world()) as race, race.results(items) as results:
            await trio.sleep(3_600)
            assert items.read == max_in_flight
            await anext(results)
            await trio.sleep(3_600)
            assert items.read == max_in_flight + 1
            assert results.in_flight == max_in_flight

    run(main)


def test_a_line_can_be_left_at_any_time(tmp_path: Path) -> None:
    async def main() -> None:
        for taken in range(4):
            setup = Setup(folder=tmp_path / str(taken))
            async with setup.open(setup.world()) as race:
                async with race.results(Items(f"cat {n}" for n in range(100))) as results:
                    for _ in range(taken):
                        await anext(results)
                assert nothing_is_held(race)

    run(main)


def test_a_line_over_a_list_can_be_left_early(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup(folder=tmp_path)
        async with setup.open(setup.world()) as race, race.results([f"cat {n}" for n in range(100)]) as results:
            await anext(results)

    run(main)


@pytest.mark.parametrize("seconds", [0.0, 3.0, 12.0, 20.0, 61.0])
def test_a_drained_line_hands_out_a_result_for_everything_it_read(tmp_path: Path, seconds: float) -> None:
    setup = Setup(folder=tmp_path, run={"max_in_flight": 10})

    async def main() -> None:
        items = Items(f"cat {n % 40}" for n in range(10_000))
        async with setup.open(setup.world()) as race:
            async with trio.open_nursery() as nursery, race.results(items) as results:

                async def drain() -> None:
                    await trio.sleep(seconds)
                    results.drain()

                nursery.start_soon(drain)
                found = [result.seq async for result in results]
            assert sorted(found) == list(range(items.read))
            assert nothing_is_held(race)

    run(main)


def test_two_lines_beside_each_other_pay_for_equal_prompts_once(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path)

    async def main() -> None:
        world = setup.world()
        found: list[Result] = []
        async with setup.open(world) as race:

            async def line() -> None:
                found.extend(await results_of(race, Items(f"cat {n}" for n in range(12))))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(line)
                nursery.start_soon(line)
            assert nothing_is_held(race)
        assert world.bill == {f"cat {n}": 1 for n in range(12)}
        assert len(found) == 24

    run(main)


def test_a_second_run_over_the_same_prompts_costs_nothing(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path)

    async def main() -> None:
        world = setup.world()
        for strategy in (Strategy.PRIMARY, Strategy.CACHE_EXACT):
            async with setup.open(world) as race:
                results = await results_of(race, Items(f"cat {n}" for n in range(6)))
            assert [result.strategy for result in results] == [strategy] * 6
        assert sum(world.bill.values()) == 6

    run(main)


def test_where_the_money_is_gone_what_was_read_is_answered_and_the_run_stops(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path, pools=POOLS[1:], run={"max_in_flight": 6})

    async def main() -> None:
        items = Items("cat [[fault:insufficient_quota]]" if n == 10 else f"cat {n}" for n in range(500))
        found: list[Result] = []
        async with setup.open(setup.world()) as race:
            async with race.results(items) as results:
                with pytest.raises(StoppedError, match="no key can work any more: pool large"):
                    await collect(results, found)
            assert nothing_is_held(race)
        assert sorted(result.seq for result in found) == list(range(items.read))
        assert items.read < 30
        assert {result.status for result in found} == {Status.OK, Status.SKIPPED}

    run(main)


def test_a_spent_budget_skips_and_stops(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path, run={"max_cost_usd": 0.05, "max_in_flight": 8})

    async def main() -> None:
        items = Items(f"cat {n}" for n in range(500))
        found: list[Result] = []
        async with setup.open(setup.world()) as race:
            async with race.results(items) as results:
                with pytest.raises(StoppedError, match="budget"):
                    await collect(results, found)
            assert 0.03 < race.budget.spent_usd <= 0.05
            assert nothing_is_held(race)
        assert sorted(result.seq for result in found) == list(range(items.read))
        assert sum(result.cost_usd or 0.0 for result in found) == pytest.approx(race.budget.spent_usd)

    run(main)


def test_a_dearer_alternative_does_not_overspend_the_budget(tmp_path: Path) -> None:
    alternative = AlternativeSettings(
        base_url="https://example.com/v1",
        model="gpt-image-2.5-flare",
        quality="high",
        pool=(PoolSettings(name="other"),),
        key=(KeySettings(name="other", pool="other", env="OTHER"),),
    )
    setup = Setup(
        folder=tmp_path,
        run={"max_cost_usd": 0.05},
        fallback=FallbackSettings(ladder=("alternative_api",), alternative=alternative),
    )

    async def main() -> None:
        async with setup.open(setup.world()) as race:
            await results_of(race, Items(["a cat [[fault:server_error*4]]"]))
            assert race.budget.spent_usd <= 0.05

    run(main)


def test_a_picture_that_cannot_be_written_comes_out_as_the_only_error(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images").write_text("in the way")

    async def main() -> None:
        async with setup.open(setup.world()) as race, race.results(Items(f"cat {n}" for n in range(100))) as results:
            async for _ in results:
                pass

    with pytest.RaisesGroup(OutputError, flatten_subgroups=True):
        run(main)


@pytest.mark.parametrize("after", [0, 3])
def test_results_that_cannot_be_written_come_out_as_the_only_error(tmp_path: Path, after: int) -> None:
    setup = Setup(folder=tmp_path)

    async def main() -> None:
        written = 0

        async def write(results: Iterable[Result]) -> None:
            nonlocal written
            await trio.lowlevel.checkpoint()
            written += len(list(results))
            if written > after:
                raise OutputError("the disk is full")

        cats = Items(f"cat {n}" for n in range(100))
        async with setup.open(setup.world()) as race, race.results(cats, write=write) as results:
            async for _ in results:
                pass

    with pytest.RaisesGroup(OutputError, flatten_subgroups=True):
        run(main)


def test_an_input_that_raises_loses_nothing_that_was_read(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path)

    async def main() -> None:
        async def items() -> AsyncIterator[object]:
            for n in range(5):
                yield f"cat {n}"
            raise KeyError("column")

        found: list[Result] = []
        async with setup.open(setup.world()) as race, race.results(items()) as results:
            with pytest.raises(KeyError, match="column"):
                await collect(results, found)
        assert sorted(result.seq for result in found) == list(range(5))

    run(main)


def test_a_cache_folder_that_cannot_be_used_is_one_plain_error(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path)
    (tmp_path / "cache").write_text("in the way")

    async def main() -> None:
        with pytest.raises(UsageError, match="choose another folder"):
            async with setup.open(setup.world()):
                pass

    run(main)


def test_the_prompts_of_another_line_are_not_held_up_by_a_consumer_that_stalls(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path)

    async def main() -> None:
        texts = [f"cat {n}" for n in range(8)]
        async with setup.open(setup.world()) as race, race.results(Items(texts)):
            await wait_all_tasks_blocked()
            with trio.fail_after(3_600):
                assert len(await results_of(race, Items(texts))) == 8

    run(main)


def test_a_picture_that_came_spoilt_is_in_the_cost_of_its_prompt(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path)
    texts = [
        "a cat [[fault:truncated_png*2]]",
        "a dog [[fault:truncated_json*1]]",
        "a fox [[fault:server_error*2]]",
        "an owl [[fault:html_200*2]]",
    ]

    async def main() -> None:
        async with setup.open(setup.world()) as race:
            found = sorted(await results_of(race, Items(texts)), key=lambda result: result.seq)
            # A page in place of an answer: nobody knows whether the picture was made, and the budget reckons with it.
            doubtful_usd = 2 * (found[3].cost_usd or 0.0)
            assert race.budget.spent_usd == pytest.approx(sum(result.cost_usd or 0.0 for result in found) + doubtful_usd, rel=0.01)
        assert {result.status for result in found} == {Status.OK}
        assert [round((result.cost_usd or 0.0) / 0.006) for result in found] == [3, 2, 1, 1]

    run(main)


def test_pictures_that_come_spoilt_again_and_again_do_not_overspend_the_budget(tmp_path: Path) -> None:
    setup = Setup(folder=tmp_path, run={"max_cost_usd": 0.02})
    world = setup.world()

    async def main() -> None:
        found: list[Result] = []
        async with setup.open(world) as race, race.results(Items(["a cat [[fault:wrong_size]]"])) as results:
            with pytest.raises(StoppedError, match="budget"):
                await collect(results, found)
        assert [(result.status, result.error and result.error.kind) for result in found] == [(Status.SKIPPED, Kind.OVER_BUDGET)]
        assert sum(world.bill.values()) == 3
        assert found[0].cost_usd == pytest.approx(3 * 0.006, rel=0.1)

    run(main)


@pytest.mark.parametrize("discipline", ["continuous", "sliding", "fixed"])
@pytest.mark.parametrize("limit", [5, 60, 600])
def test_no_way_of_counting_a_minute_ever_refuses_a_call_and_nearly_all_of_it_is_used(
    tmp_path: Path, discipline: Discipline, limit: int
) -> None:
    minutes = {5: 10, 60: 3, 600: 2}[limit]
    pool = PoolSettings(name="p", images_per_minute=limit)
    setup = Setup(folder=tmp_path, pools=(pool,), run={"max_in_flight": 4 * limit}, cache="off")
    simulated = SimulatedPool(name="p", keys=("sk-sim-primary-p",), images_per_minute=limit, max_concurrency=None, discipline=discipline)
    world = World(SimulatorSettings(pools=(simulated,), pictures="template"))

    async def main() -> None:
        async with setup.open(world) as race:
            started = trio.current_time()
            found = await results_of(race, Items(f"cat {n}" for n in range(minutes * limit)))
            (books,) = race.statistics()
        assert {result.status for result in found} == {Status.OK}
        assert world.counts == {"ok": minutes * limit}
        assert books.last_at is not None
        assert (books.last_at - started) * 0.97 <= minutes * 60

    run(main)
