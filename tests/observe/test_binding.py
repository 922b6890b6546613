from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Self

import attrs
import pytest
import trio
from trio.testing import MockClock

from headrace.admission import ledger
from headrace.admission.books import Known, PoolStatistics
from headrace.assembly import open_race
from headrace.models import Limits
from headrace.observe.binding import LOOK_S, SHOWN, constraints, needed, used, watch
from headrace.offload import inline
from headrace.settings import CacheSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path


def pool(name: str = "studio", limit: float | None = 50, **fields: Any) -> PoolStatistics:
    values: dict[str, Any] = {
        "limits": Limits(images_per_minute=limit),
        "keys": (f"{name}-a",),
        "admitted": {"images": 100, "tokens": 9, "requests": 100},
        "in_flight": 0,
        "busy_s": 3_500.0,
        "calls": 100,
        "refused": 0,
        "first_at": None,
        "last_at": None,
        "state": "ready",
        "known": () if limit is None else (Known(resource="images", limit=limit, source="tier 3"),),
    }
    return PoolStatistics(name=name, **values | fields)


def lines(*pools: PoolStatistics, most: int | None = None) -> list[str]:
    return list(constraints(pools, most))


# ---- what it says ---------------------------------------------------------------------------------------------------


def test_the_limit_that_bound_is_named_with_its_source_and_what_more_of_it_would_bring() -> None:
    bound = {"images/min": 94.0, "the input": 6.0}
    assert lines(pool(bound=bound)) == [
        "studio: images/min bound 94% of the time (50/min, tier 3); a second organisation like it would save 47% of the time"
    ]


def test_of_several_pools_only_the_one_that_would_bring_most_is_advised() -> None:
    large = pool("large", 1_200, admitted={"images": 300, "tokens": 9, "requests": 300}, bound={"images/min": 100.0})
    small = pool("small", 300, bound={"images/min": 100.0})
    assert lines(small, large) == [
        "small: images/min bound 100% of the time (300/min, tier 3)",
        # Of four parts three are its: with one more there would be seven.
        "large: images/min bound 100% of the time (1,200/min, tier 3); one more organisation like it would save 43% of the time",
    ]


@pytest.mark.parametrize(
    ("known", "about"),
    [
        (Known(resource="calls", limit=24, source="refusals"), "24, learnt from refusals"),
        (Known(resource="calls", limit=5, source="settings"), "5, settings"),
        (None, "not known yet"),
    ],
)
def test_calls_at_once_are_named_with_what_is_known_of_them(known: Known | None, about: str) -> None:
    (line,) = lines(pool(known=() if known is None else (known,), bound={"calls at once": 71.0, "the input": 5.0, "images/min": 5.0}))
    assert line.startswith(f"studio: calls at once bound 88% of the time ({about})")


def test_a_limit_that_is_tried_in_part_says_how_much() -> None:
    learnt = Known(resource="images", limit=50, source="settings", scale=0.8)
    (line,) = lines(pool(known=(learnt,), bound={"images/min": 100.0}))
    assert line.startswith("studio: images/min bound 100% of the time (50/min, settings, 80% of it tried)")


def test_a_second_cause_is_told_behind_the_first() -> None:
    (line,) = lines(pool(refused=7, bound={"images/min": 60.0, "a pause after a 429": 30.0, "the input": 5.0, "benched": 5.0}))
    assert line.startswith(
        "studio: images/min bound 60% of the time (50/min, tier 3), a pause after a 429 bound 30% (7 of 100 calls refused); "
    )


def test_what_holds_up_all_pools_alike_is_one_line() -> None:
    slow = [pool(name, bound={"the input": 80.0, "images/min": 5.0, "the consumer": 15.0}) for name in ("a", "b")]
    assert lines(*slow) == [
        "the input bound 80% of the time: prompts came slower than the limits allow",
        "the consumer bound 15% of the time: results were taken slower than the limits allow",
    ]


def test_too_few_prompts_in_flight_are_told_with_the_number_that_it_takes() -> None:
    held = pool(limit=250, bound={"max_in_flight": 40.0, "images/min": 55.0, "the input": 5.0})
    first, second = lines(held, most=64)
    assert first == "max_in_flight (64) bound 40% of the time: 250 images/min at 35 s need 146 in flight; raise [run] max_in_flight"
    assert second.startswith("studio: images/min bound 55%")
    unknown = pool(limit=None, bound={"max_in_flight": 40.0})
    assert lines(unknown) == ["max_in_flight bound 100% of the time: raise [run] max_in_flight"]


def test_a_pool_that_nobody_needed_is_told_to_be_idle_for_the_mix() -> None:
    busy = pool("a", bound={"images/min": 100.0})
    idle = pool("b", calls=0, models=("gpt-image-1*", "dall-e-*"), bound={"the mix of models": 50.0, "the input": 50.0})
    told = lines(busy, idle)
    assert "b: idle 50% of the time, because what waited was for other models than gpt-image-1*, dall-e-*" in told
    assert not any("the input" in line for line in lines(busy, attrs.evolve(idle, bound={"the input": 100.0})))


def test_what_was_over_too_soon_is_not_told_and_the_end_of_the_input_is_no_constraint() -> None:
    too_soon = ["limits: nothing was waited for longer than 10 s, too soon to tell what binds"]
    assert lines(pool(bound={"images/min": 9.9})) == too_soon
    assert lines(pool(bound={"images/min": 2.0, ledger.NOTHING: 100.0})) == too_soon
    (line,) = lines(pool(bound={"images/min": 50.0, ledger.NOTHING: 50.0}))
    assert "bound 100% of the time" in line
    assert lines() == too_soon


def test_a_larger_limit_that_the_api_speaks_of_is_told() -> None:
    offered = Known(resource="images", limit=50, source="settings", offered=250)
    assert "studio: the API speaks of 250 images/min, the settings allow 50" in lines(pool(known=(offered,), bound={"images/min": 60.0}))


def test_a_hundred_pools_are_a_few_lines() -> None:
    offered = Known(resource="images", limit=50, source="settings", offered=250)
    many = [pool(f"p{number}", known=(offered,), bound={"images/min" if number % 10 else "calls at once": 100.0}) for number in range(100)]
    told = lines(*many)
    assert len(told) == 2 * SHOWN + 2
    assert "and 95 more pools, bound most by: images/min at 86, calls at once at 9" in told
    assert all(len(line) < 200 for line in told)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, (50.0, 35.0, 29)),
        ({"known": (Known(resource="images", limit=250, source="header", scale=0.5),)}, (125.0, 35.0, 73)),
        (
            {"known": (Known(resource="images", limit=250, source="tier 3"), Known(resource="calls", limit=7, source="refusals"))},
            (12.0, 35.0, 7),
        ),
        ({"known": (Known(resource="calls", limit=7, source="refusals"),)}, (12.0, 35.0, 7)),
        ({"admitted": {"images": 400, "tokens": 0, "requests": 100}}, (50.0, 35.0, 7)),
        ({"known": ()}, None),
        ({"in_flight": 100}, None),
        ({"calls": 0}, None),
    ],
)
def test_littles_law_tells_how_many_calls_the_limits_keep_busy(fields: dict[str, Any], found: tuple[float, float, int] | None) -> None:
    told = needed([pool(**fields)])
    assert (told is None) == (found is None)
    assert told is None or found is None or all(math.isclose(mine, theirs) for mine, theirs in zip(told, found, strict=True))


# ---- the share that was used ----------------------------------------------------------------------------------------


def test_a_limit_that_is_kept_is_never_used_by_more_than_all_of_it() -> None:
    # Five a minute, the first at once and the others every 12.12 s.
    small = pool(limit=5, admitted={"images": 6, "tokens": 1, "requests": 6}, calls=6, first_at=0.0, last_at=60.6)
    assert used(small, "images") == pytest.approx(0.99, abs=0.005)
    burst = pool(limit=600, admitted={"images": 1_200, "tokens": 1, "requests": 1_200}, calls=1_200, first_at=0.0, last_at=60.0)
    assert used(burst, "images") == 1.0


def test_calls_at_once_are_measured_by_the_time_that_calls_took() -> None:
    full = pool(limits=Limits(max_concurrency=2), calls=20, busy_s=200.0, first_at=0.0, last_at=90.0)
    assert used(full, "calls") == 1.0
    assert used(full, "images") is None


@pytest.mark.parametrize("seconds", [None, 0.0, 9.9])
def test_the_share_of_what_was_too_short_is_not_told(seconds: float | None) -> None:
    assert used(pool(calls=1, first_at=None if seconds is None else 0.0, last_at=seconds), "images") is None


# ---- warnings while it runs -----------------------------------------------------------------------------------------


def watched(books: Sequence[Sequence[PoolStatistics]], caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The warnings over so many minutes, each with these books at its end."""
    caplog.set_level(logging.WARNING, logger="headrace")
    minutes = iter(books)

    async def main() -> None:
        with trio.move_on_after(LOOK_S * len(books) + 1):
            await watch(lambda: next(minutes), 64)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return [record.msg for record in caplog.records]


def test_too_few_in_flight_are_warned_of_once_and_only_for_the_last_minute(caplog: pytest.LogCaptureFixture) -> None:
    told = watched(
        [
            [pool(limit=250, bound={"images/min": 60.0})],
            [pool(limit=250, bound={"images/min": 91.0, "max_in_flight": 29.0})],
            [pool(limit=250, bound={"images/min": 120.0, "max_in_flight": 60.0})],
            [pool(limit=250, bound={"images/min": 120.0, "max_in_flight": 120.0})],
        ],
        caplog,
    )
    assert [(event["event"], event["max_in_flight"], event["because"]) for event in told] == [
        ("max_in_flight_binds", 64, "250 images/min at 35 s need 146 in flight")
    ]


def test_a_mix_that_leaves_pools_idle_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    idle = [pool(f"p{number}", calls=0, bound={"the mix of models": 59.0, "the input": 1.0}) for number in range(7)]
    later = [attrs.evolve(each, bound={"the mix of models": 119.0, "the input": 1.0}) for each in idle]
    told = watched([[pool("a", bound={"images/min": 60.0}), *idle], later], caplog)
    assert [(event["event"], event["idle"]) for event in told] == [("mix_of_models_binds", "p0, p1, p2, p3, p4 and 2 more")]


# ---- in a line ------------------------------------------------------------------------------------------------------


class Items:
    """So many prompts, one every so many seconds, for these models in turn."""

    def __init__(self, number: int, every_s: float = 0.0, models: Sequence[str] = ("gpt-image-2",)) -> None:
        self._prompts = iter([{"prompt": f"cat {n}", "model": models[n % len(models)]} for n in range(number)])
        self._every_s = every_s

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        await trio.sleep(self._every_s)
        for prompt in self._prompts:
            return prompt
        raise StopAsyncIteration


def ran(
    folder: Path, items: Items, *pools: PoolSettings, latency_s: float = 10.0, taken_s: float = 0.0, most: int | None = None
) -> list[dict[str, float]]:
    """What bound each pool, as shares of the time, the end of the input left out."""
    settings = Settings(
        pool=pools,
        cache=CacheSettings(policy="off", dir=str(folder / "cache")),
        run=RunSettings(out_dir=str(folder / "out"), simulate=True, max_in_flight=most),
    )
    world = World(SimulatorSettings(latency_s=latency_s, sigma=0, pictures="template"))
    found: list[dict[str, float]] = []

    async def main() -> None:
        async with open_race(settings, environ={}, offload=inline, app=make_app(world)) as race:
            async with race.results(items) as results:
                async for _ in results:
                    await trio.sleep(taken_s)
            for books in race.statistics():
                seconds = {cause: each for cause, each in books.bound.items() if cause != ledger.NOTHING}
                found.append({cause: each / sum(seconds.values()) for cause, each in seconds.items()})

    _virtual(main)
    return found


def _virtual(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_job_that_is_larger_than_its_limit_is_bound_by_it(tmp_path: Path) -> None:
    (bound,) = ran(tmp_path, Items(120), PoolSettings(name="a", images_per_minute=60))
    assert bound["images/min"] > 0.95


def test_a_job_whose_calls_are_too_few_at_once_is_bound_by_them(tmp_path: Path) -> None:
    (bound,) = ran(tmp_path, Items(60), PoolSettings(name="a", images_per_minute=600, max_concurrency=3))
    assert bound["calls at once"] > 0.9


def test_an_input_that_is_slow_binds_and_one_that_is_over_does_not(tmp_path: Path) -> None:
    (bound,) = ran(tmp_path, Items(60, every_s=2.0), PoolSettings(name="a", images_per_minute=600))
    assert bound["the input"] > 0.9
    (bound,) = ran(tmp_path, Items(30), PoolSettings(name="a", images_per_minute=60), latency_s=300.0)
    assert bound.get("the input", 0.0) < 0.05


def test_too_few_prompts_in_flight_bind(tmp_path: Path) -> None:
    (bound,) = ran(tmp_path, Items(80), PoolSettings(name="a", images_per_minute=600), most=8)
    assert bound["max_in_flight"] > 0.8


def test_a_consumer_that_is_slow_binds(tmp_path: Path) -> None:
    (bound,) = ran(tmp_path, Items(60), PoolSettings(name="a", images_per_minute=600), latency_s=1.0, taken_s=5.0, most=8)
    assert bound["the consumer"] > 0.8


def test_a_pool_whose_model_nobody_waits_for_is_idle_for_the_mix(tmp_path: Path) -> None:
    pools = (
        PoolSettings(name="a", models=("gpt-image-2*",), images_per_minute=30),
        PoolSettings(name="b", models=("gpt-image-1*",), images_per_minute=300),
    )
    _, bound = ran(tmp_path, Items(60, models=["gpt-image-2", "gpt-image-2", "gpt-image-1.5"]), *pools, latency_s=1.0)
    assert bound[ledger.MIX] > 0.8
