from __future__ import annotations

from typing import Any

import pytest

from headrace.admission.books import PoolStatistics
from headrace.models import Limits
from headrace.observe.counters import Counters
from headrace.observe.summary import binding_limit, summary
from headrace.records import Kind, Picture, Problem, Result, Status, Strategy

PICTURE = Picture(path="images/aa/aa.png", sha256="aa", format="png", width=1, height=1, bytes=1)


def made(seq: int, strategy: Strategy, pictures: int = 1, **fields: Any) -> Result:
    return Result(seq=seq, id=str(seq), prompt="a fox", status=Status.OK, strategy=strategy, images=(PICTURE,) * pictures, **fields)


def failed(seq: int, kind: Kind, status: Status = Status.FAILED) -> Result:
    return Result(seq=seq, id=str(seq), prompt="a fox", status=status, error=Problem(kind=kind, message="no"))


def pool(name: str = "studio", **fields: Any) -> PoolStatistics:
    values: dict[str, Any] = {
        "limits": Limits(),
        "keys": (f"{name}-a",),
        "admitted": {"images": 0, "tokens": 0, "requests": 0},
        "in_flight": 0,
        "busy_s": 0.0,
        "calls": 0,
        "refused": 0,
        "first_at": None,
        "last_at": None,
        "state": "ready",
    }
    return PoolStatistics(name=name, **values | fields)


def counted(*results: Result) -> Counters:
    counters = Counters()
    for result in results:
        counters.count(result)
    return counters


def test_counters_add_up_what_came_out() -> None:
    counters = counted(
        made(0, Strategy.PRIMARY, 3, cost_usd=0.5),
        made(1, Strategy.REDUCED_QUALITY, cost_usd=0.25),
        made(2, Strategy.CACHE_EXACT, saved_usd=0.5),
        made(3, Strategy.COALESCED, 2, saved_usd=1.0),
        made(4, Strategy.ALTERNATIVE_API, cost_usd=0.125),
        failed(5, Kind.MODERATION_BLOCKED),
        failed(6, Kind.NO_POOL, Status.SKIPPED),
    )
    assert (counters.total, counters.free, counters.pictures_made) == (7, 2, 5)
    assert (counters.cost_usd, counters.saved_usd, counters.price_unknown) == (0.875, 1.5, False)
    assert counters.by_status == {Status.OK: 5, Status.FAILED: 1, Status.SKIPPED: 1}
    assert counters.failures == {"moderation_blocked": 1, "no_pool": 1}


def test_a_price_that_nobody_knows_is_remembered() -> None:
    counters = counted(made(0, Strategy.PRIMARY, cost_usd=None), made(1, Strategy.CACHE_EXACT, saved_usd=None))
    assert (counters.cost_usd, counters.saved_usd, counters.price_unknown) == (0.0, 0.0, True)
    assert "cost: $0.0000 (some prices are unknown), saved $0.0000" in summary(counters, (), 1.0)


def test_a_run_without_prompts_has_a_summary() -> None:
    assert list(summary(Counters(), (pool(),), 0.04)) == [
        "0 prompts in 0.0 s: 0 ok, 0 failed, 0 skipped",
        "cost: $0.0000, saved $0.0000",
    ]


def test_a_run_of_no_time_has_a_summary() -> None:
    calls = pool(calls=1, first_at=0.0, last_at=0.0, admitted={"images": 1, "tokens": 1, "requests": 1})
    assert next(iter(summary(counted(made(0, Strategy.PRIMARY)), (calls,), 0.0))).startswith("1 prompts in 0.0 s")


def test_the_summary_tells_what_was_made_what_failed_what_was_called_and_who_cannot_work() -> None:
    counters = counted(
        *(made(seq, Strategy.PRIMARY, cost_usd=0.006) for seq in range(1_200)),
        made(1_200, Strategy.COALESCED, saved_usd=0.006),
        failed(1_201, Kind.MODERATION_BLOCKED),
        failed(1_202, Kind.NO_POOL, Status.SKIPPED),
        failed(1_203, Kind.NO_POOL, Status.SKIPPED),
    )
    pools = (
        pool(
            "studio",
            limits=Limits(images_per_minute=600),
            admitted={"images": 1_200, "tokens": 9, "requests": 1_200},
            calls=1_201,
            refused=2,
            first_at=5.0,
            last_at=124.0,
        ),
        pool("gone", state="benched: no credit"),
        pool("late", state="paused for 3.0 s"),
    )
    lines = list(summary(counters, pools, 120.0))
    assert lines == [
        "1,204 prompts in 120.0 s: 1,201 ok, 1 failed, 2 skipped",
        "ok: 1,200 made, 1 shared with one in flight",
        "not ok: 2 no_pool, 1 moderation_blocked",
        "calls: 1,201 attempts, 2 refused (429), 600 pictures/min",
        "the limit that bound each pool, and the share that was used: studio 99.9% of images/min",
        "cost: $7.2000, saved $0.0060",
        "pool gone is benched: no credit",
        "pool late is paused for 3.0 s",
    ]


def test_every_strategy_has_its_word() -> None:
    lines = list(summary(counted(*(made(seq, strategy) for seq, strategy in enumerate(Strategy))), (), 1.0))
    assert lines[1].startswith("ok: 1 made, ")
    assert lines[1].count(",") == len(Strategy) - 1


def bound(statistics: PoolStatistics) -> tuple[str, float]:
    found = binding_limit(statistics)
    assert found is not None
    return found[0], round(found[1], 2)


def test_the_limit_that_bound_is_the_one_that_was_used_most() -> None:
    busy = pool(
        "a",
        limits=Limits(images_per_minute=60, tokens_per_minute=6_000, max_concurrency=9),
        admitted={"images": 50, "tokens": 1_000, "requests": 50},
        calls=50,
        busy_s=100.0,
        first_at=0.0,
        last_at=99.0,
    )
    assert bound(busy) == ("images/min", 0.5)
    assert binding_limit(pool("b", limits=Limits(images_per_minute=60))) is None
    unlimited = pool("c", admitted={"images": 999, "tokens": 999, "requests": 999}, calls=999, first_at=10.0, last_at=20.0)
    assert binding_limit(unlimited) is None


def test_pools_that_were_not_used_change_nothing_for_those_that_were() -> None:
    used = pool(
        "a",
        limits=Limits(images_per_minute=60),
        admitted={"images": 100, "tokens": 1, "requests": 100},
        calls=100,
        first_at=0.0,
        last_at=99.0,
    )
    lines = list(summary(counted(made(0, Strategy.PRIMARY)), (used, pool("idle", limits=Limits(images_per_minute=6_000))), 99.0))
    assert "the limit that bound each pool, and the share that was used: a 100.0% of images/min" in lines


def test_a_limit_that_is_kept_is_never_used_by_more_than_all_of_it() -> None:
    # Five a minute, the first at once and the others every 12.12 s.
    small = pool(
        limits=Limits(images_per_minute=5), admitted={"images": 6, "tokens": 1, "requests": 6}, calls=6, first_at=0.0, last_at=60.6
    )
    assert bound(small) == ("images/min", 0.99)


def test_calls_at_once_are_measured_by_the_time_that_calls_took() -> None:
    full = pool(limits=Limits(max_concurrency=2), calls=20, busy_s=200.0, first_at=0.0, last_at=90.0)
    assert binding_limit(full) == ("calls at once", 1.0)


@pytest.mark.parametrize("seconds", [None, 0.0, 9.9])
def test_what_was_too_short_to_tell_is_not_told(seconds: float | None) -> None:
    short = pool(limits=Limits(images_per_minute=60), calls=1, first_at=None if seconds is None else 0.0, last_at=seconds)
    assert binding_limit(short) is None
    assert any("too soon to tell" in line for line in summary(counted(made(0, Strategy.PRIMARY)), (short,), 9.9))
