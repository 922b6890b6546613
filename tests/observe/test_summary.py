from __future__ import annotations

from typing import Any

from headrace.admission.books import Known, PoolStatistics
from headrace.models import Limits
from headrace.observe.counters import Counters
from headrace.observe.summary import summary
from headrace.records import Kind, Picture, Problem, Result, Status, Strategy

PICTURE = Picture(path="images/aa/aa.png", sha256="aa", format="png", width=1, height=1, bytes=1)
ADVICE = "a second organisation like it would save 48% of the time"


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
            known=(Known(resource="images", limit=600.0, source="settings"),),
            bound={"images/min": 114.0, "the input": 6.0},
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
        f"studio: images/min bound 95% of the time (600/min, settings, 100.0% of it used); {ADVICE}",
        "cost: $7.2000, saved $0.0060",
        "pool gone is benched: no credit",
        "pool late is paused for 3.0 s",
    ]


def test_every_strategy_has_its_word() -> None:
    lines = list(summary(counted(*(made(seq, strategy) for seq, strategy in enumerate(Strategy))), (), 1.0))
    assert lines[1].startswith("ok: 1 made, ")
    assert lines[1].count(",") == len(Strategy) - 1
