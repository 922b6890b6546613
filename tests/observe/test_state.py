from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.admission import ledger
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.observe.counters import LAST, Counters
from headrace.observe.state import Course
from headrace.observe.watcher import Snapshot
from headrace.records import Kind, Picture, Problem, Result, Status, Strategy

if TYPE_CHECKING:
    from headrace.observe.state import State

PICTURE = Picture(path="images/aa/aa.png", sha256="aa", format="png", width=1, height=1, bytes=1)


class Going:
    """A run, a second at a time."""

    def __init__(self, total: int | None = None) -> None:
        self.counters, self.course = Counters(), Course(0.0)
        self.pool = Pool("studio", Limits(images_per_minute=60), [Key("a")])
        self.total, self.now, self.before_usd = total, 0.0, 0.0

    def made(self, count: int, strategy: Strategy = Strategy.PRIMARY, cost_usd: float = 0.01, **fields: Any) -> None:
        for _ in range(count):
            self.counters.count(
                Result(seq=0, id="0", prompt="a", status=Status.OK, strategy=strategy, images=(PICTURE,), cost_usd=cost_usd, **fields)
            )

    def state(self) -> State:
        snapshot = Snapshot(
            pools=(self.pool.statistics(self.now),),
            depths={},
            in_flight=0,
            max_in_flight=9,
            spent_usd=self.before_usd + self.counters.cost_usd,
            max_cost_usd=None,
        )
        return self.course.state(self.counters, snapshot, self.total, self.now)

    def seconds(self, count: int, a_second: int = 0, **fields: Any) -> State:
        state = self.state()
        for _ in range(count):
            self.now += 1
            self.made(a_second, **fields)
            state = self.state()
        return state


def test_the_rate_is_that_of_the_last_minute() -> None:
    run = Going()
    assert run.seconds(100, 2).pictures_per_minute == 120
    assert run.seconds(30, 0).pictures_per_minute == 60
    assert run.seconds(60, 4).pictures_per_minute == 240
    assert run.seconds(61, 0).pictures_per_minute == 0


def test_before_the_first_picture_there_is_no_rate_and_its_wait_counts_for_none() -> None:
    run = Going(total=1_000)
    assert run.seconds(20).prompts_per_minute is None
    assert run.seconds(4, 1).prompts_per_minute is None
    assert run.seconds(10, 1).prompts_per_minute == 60


def test_what_an_earlier_run_made_is_done_and_no_rate() -> None:
    run = Going(total=1_000)
    run.before_usd = 5.0
    state = run.seconds(10, 50, recalled=True)
    assert (state.done, state.recalled, state.prompts_per_minute, state.eta_s, state.projected_usd) == (500, 500, None, None, None)
    state = run.seconds(20, 1)
    assert (state.done, state.pictures_per_minute, state.eta_s) == (520, 60, 480)
    assert state.spent_usd == pytest.approx(5.2)
    assert state.projected_usd == pytest.approx(5.2 + 480 * 0.01)


def test_hits_count_as_prompts_but_not_as_pictures_made() -> None:
    run = Going(total=600)
    run.made(1)
    state = run.seconds(60, 1, strategy=Strategy.CACHE_EXACT, cost_usd=0.0, saved_usd=0.01)
    assert (state.prompts_per_minute, state.pictures_per_minute, state.cached) == (60, 0, 60)
    assert state.eta_s == 600 - 61
    assert state.saved_usd == pytest.approx(0.6)
    assert state.projected_usd == pytest.approx(0.01 + 539 * 0.01 / 61)


def test_without_a_total_there_is_a_rate_and_nothing_to_come() -> None:
    state = Going().seconds(20, 1)
    assert (state.prompts_per_minute, state.eta_s, state.projected_usd, state.total) == (60, None, None, None)


def test_a_run_that_stands_still_promises_no_end_and_one_that_is_through_has_none_to_come() -> None:
    run = Going(total=100)
    run.made(50)
    assert run.seconds(70).eta_s is None
    run.made(60)
    state = run.state()
    assert (state.eta_s, state.done, state.total) == (0.0, 110, 110)


def test_a_pool_waits_for_what_bound_it_in_the_last_seconds() -> None:
    run = Going()
    assert run.state().pools[0].waits_for is None
    run.pool.ledger.turn(ledger.INPUT, 0.0)
    assert run.seconds(100).pools[0].waits_for == ledger.INPUT
    run.pool.ledger.turn("images/min", 100.0)
    assert run.seconds(4).pools[0].waits_for == ledger.INPUT
    assert run.seconds(3).pools[0].waits_for == "images/min"


def test_the_last_failures_of_this_run_come_latest_first() -> None:
    run = Going()
    for number in range(LAST + 5):
        problem = Problem(kind=Kind.BAD_REQUEST, message=f"no {number}")
        run.counters.count(Result(seq=number, id=f"id-{number}", prompt=None, status=Status.FAILED, error=problem, recalled=number > 12))
    state = run.state()
    assert state.failed == LAST + 5
    assert [failed.id for failed in state.failures] == [f"id-{number}" for number in range(12, 2, -1)]
