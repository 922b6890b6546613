"""How long a request waits at the gate: for as long as a queue moves, and not where every pool says that it is in vain."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from headrace.admission.booking import Cost
from headrace.admission.calls import FIRST
from headrace.admission.key import Key
from headrace.admission.permit import Permit
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.records import Kind, Problem, Usage

if TYPE_CHECKING:
    from tests.admission.conftest import Door

ONE = Cost(images=1, tokens=100)
HOUR = 3_600.0


def pool(name: str = "p", **limits: float) -> Pool:
    return Pool(name, Limits(**limits), [Key(f"key of {name}")])  # type: ignore[arg-type]  # one shorthand for both types


def refusal(retry_after_s: float | None) -> Problem:
    return Problem(kind=Kind.RATE_LIMITED, message="Slow down.", retry_after_s=retry_after_s)


def test_a_pause_of_a_day_is_told_to_everybody_who_waits_at_once_and_to_who_comes_later(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool("studio", max_concurrency=1)) as (gate, nursery):
            permit = await door.permit_of(gate)
            waiting = [await door.queued(gate, nursery) for _ in range(5)]
            await trio.sleep(8)
            permit.failed(refusal(86_400.0))
            await wait_all_tasks_blocked()
            assert [each.kind for each in waiting] == [Kind.NO_POOL] * 5
            await trio.sleep(10)
            late = await door.queued(gate, nursery)
            assert isinstance(late.outcome, Problem)
            assert "pool studio is paused for 86,390 s more: Slow down." in late.outcome.message
            assert not gate._queue

    door.run(main)


def test_when_the_pause_of_a_day_is_nearly_over_who_comes_is_let_in(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool()) as (gate, _):
            (await door.permit_of(gate)).failed(refusal(86_400.0))
            await trio.sleep(86_400.0 - HOUR)
            await door.permit_of(gate)
            assert trio.current_time() == 86_400.0

    door.run(main)


def test_a_pause_within_the_patience_is_waited_out(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool()) as (gate, _):
            (await door.permit_of(gate)).failed(refusal(HOUR))
            await door.permit_of(gate)
            assert trio.current_time() == HOUR

    door.run(main)


def test_without_a_bound_a_day_is_waited_out(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(), max_wait_s=float("inf")) as (gate, _):
            (await door.permit_of(gate)).failed(refusal(86_400.0))
            await door.permit_of(gate)
            assert trio.current_time() == 86_400.0

    door.run(main)


def test_a_queue_that_moves_is_waited_for_however_long_it_is(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=5), max_wait_s=13.0) as (gate, nursery):
            waiting = [door.waiting(gate, nursery) for _ in range(300)]
            await trio.sleep(HOUR + 120)
            assert all(isinstance(each.outcome, Permit) for each in waiting)
            assert max(each.at for each in waiting) > HOUR - 120

    door.run(main)


def test_calls_that_take_longer_than_the_patience_are_waited_for(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(max_concurrency=1), max_wait_s=1.0) as (gate, nursery):
            permit = await door.permit_of(gate)
            waiting = await door.queued(gate, nursery)
            await trio.sleep(300)
            assert waiting.outcome is None
            permit.succeeded(None)
            await wait_all_tasks_blocked()
            assert isinstance(waiting.outcome, Permit)

    door.run(main)


def test_who_fits_only_the_paused_pool_is_told_and_the_others_go_on(door: Door) -> None:
    async def main() -> None:
        large, small = pool("large", tokens_per_minute=60_000, max_concurrency=1), pool("small", tokens_per_minute=6_000)
        async with door.opened(large, small) as (gate, nursery):
            permit = await door.permit_of(gate, Cost(images=1, tokens=10_000))
            big = await door.queued(gate, nursery, Cost(images=1, tokens=20_000))
            permit.failed(refusal(86_400.0))
            await wait_all_tasks_blocked()
            assert big.kind is Kind.WAITED_TOO_LONG
            assert (await door.permit_of(gate)).pool is small
            late = await door.queued(gate, nursery, Cost(images=1, tokens=7_000))
            assert late.kind is Kind.WAITED_TOO_LONG

    door.run(main)


def test_who_is_told_gives_way_to_those_behind_it_at_once(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(tokens_per_minute=60_000, max_concurrency=1), max_wait_s=30.0) as (gate, nursery):
            permit = await door.permit_of(gate, Cost(images=1, tokens=20_000))
            await trio.sleep(100)
            first, big = await door.queued(gate, nursery), await door.queued(gate, nursery, Cost(images=1, tokens=59_900))
            small = await door.queued(gate, nursery, Cost(images=1, tokens=200))
            permit.succeeded(Usage(input_tokens=0, output_tokens=100))
            await wait_all_tasks_blocked()
            assert isinstance(first.outcome, Permit)
            assert (big.outcome, small.outcome) == (None, None), "with what was estimated the big one fits, when the call is back"
            await trio.sleep(10)
            first.outcome.succeeded(Usage(input_tokens=0, output_tokens=25_000))
            await wait_all_tasks_blocked()
            # The big one has to wait for the end of the minute, and the small one would have delayed it.
            assert big.kind is Kind.WAITED_TOO_LONG
            assert isinstance(small.outcome, Permit)
            assert small.at == 110.0

    door.run(main)


def test_what_was_let_in_keeps_who_is_left_waiting_for_too_long_and_that_is_told_in_the_same_step(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=5), max_wait_s=10.0) as (gate, nursery):
            gate.hold("test")
            first, second = await door.queued(gate, nursery), await door.queued(gate, nursery)
            gate.resume()
            await wait_all_tasks_blocked()
            assert isinstance(first.outcome, Permit)
            assert second.kind is Kind.WAITED_TOO_LONG
            assert trio.current_time() == 0.0

    door.run(main)


def test_while_it_is_held_nobody_is_let_in_and_afterwards_everybody_whom_the_limits_allow(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(max_concurrency=2)) as (gate, nursery):
            out = await door.permit_of(gate)
            gate.hold("the disk is full")
            waiting = [await door.queued(gate, nursery) for _ in range(3)]
            await trio.sleep(86_400)
            out.succeeded(None)
            await trio.sleep(86_400)
            assert [each.outcome for each in waiting] == [None] * 3
            gate.resume()
            await wait_all_tasks_blocked()
            assert [isinstance(each.outcome, Permit) for each in waiting] == [True, True, False]
            assert waiting[0].at == 2 * 86_400.0

    door.run(main)


def test_a_held_gate_says_so_of_every_pool_and_is_itself_again_afterwards(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool("a"), pool("b")) as (gate, _):
            gate.hold("the disk is full")
            assert [books.state for books in gate.statistics()] == ["held: the disk is full"] * 2
            gate.hold("the disk fails")
            assert [books.state for books in gate.statistics()] == ["held: the disk fails"] * 2
            gate.resume()
            gate.resume()
            assert [books.state for books in gate.statistics()] == ["ready"] * 2

    door.run(main)


def test_while_it_is_held_no_pause_makes_anybody_give_up(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=600)) as (gate, nursery):
            permit = await door.permit_of(gate)
            gate.hold("the disk is full")
            waiting = await door.queued(gate, nursery)
            permit.failed(refusal(86_400.0))
            late = await door.queued(gate, nursery)
            await trio.sleep(86_000)
            assert (waiting.outcome, late.outcome) == (None, None)
            gate.resume()
            await trio.sleep(399.0)
            assert (waiting.outcome, late.outcome) == (None, None)
            await trio.sleep(2.0)
            assert (waiting.at, late.at) == (86_400.0, 86_400.0)

    door.run(main)


def test_a_pause_that_is_still_too_long_is_told_when_the_gate_is_no_longer_held(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool()) as (gate, nursery):
            permit = await door.permit_of(gate)
            gate.hold("the disk is full")
            waiting = await door.queued(gate, nursery)
            permit.failed(refusal(86_400.0))
            await trio.sleep(60)
            gate.resume()
            await wait_all_tasks_blocked()
            assert waiting.kind is Kind.NO_POOL

    door.run(main)


def test_what_a_hold_kept_waiting_starts_within_the_limits_and_not_as_one_burst(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(images_per_minute=30)) as (gate, nursery):
            gate.hold("the disk is full")
            waiting = [await door.queued(gate, nursery) for _ in range(5)]
            await trio.sleep(600)
            gate.resume()
            await trio.sleep(60)
            assert [each.at for each in waiting] == pytest.approx([600 + n * 60 / (30 * 0.99) for n in range(5)])

    door.run(main)


def test_cancelled_while_the_gate_is_held_it_leaves_nothing_behind(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(max_concurrency=1)) as (gate, nursery):
            gate.hold("the disk is full")
            waiting = await door.queued(gate, nursery)
            waiting.scope.cancel()
            await wait_all_tasks_blocked()
            assert (waiting.outcome, len(gate._queue)) == (None, 0)
            gate.resume()
            assert gate.statistics()[0].calls == 0

    door.run(main)


def test_cancelled_in_the_same_step_that_resumes_it_gives_the_permit_back(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool(max_concurrency=1)) as (gate, nursery):
            gate.hold("the disk is full")
            first, second = await door.queued(gate, nursery), await door.queued(gate, nursery)
            gate.resume()
            first.scope.cancel()
            await wait_all_tasks_blocked()
            # Either the cancellation came first and the second has the permit, or the first was woken in time to keep it.
            assert gate.statistics()[0].in_flight == 1
            assert (first.outcome is None) != (second.outcome is None)

    door.run(main)


@pytest.mark.parametrize("retry_after_s", [None, 0.0, 0.5, 100.0, 3_000.0])
def test_a_server_that_refuses_every_call_is_given_up_after_ten_minutes_and_ten_rounds(door: Door, retry_after_s: float | None) -> None:
    async def main() -> None:
        async with door.opened(pool("studio")) as (gate, _):
            calls = 0
            while isinstance(outcome := await gate.acquire(ONE), Permit):
                calls += 1
                outcome.failed(refusal(retry_after_s))
            assert calls >= 10
            assert trio.current_time() == pytest.approx(max(600.0, 9 * (retry_after_s or 0.0)), abs=31)
            assert outcome.kind is Kind.NO_POOL
            assert outcome.message.startswith("no key can work any more: pool studio: refused every call for ")
            assert outcome.message.endswith(f" s, {calls} times in a row: Slow down.")

    door.run(main)


def test_a_pool_that_is_refused_for_more_than_a_minute_is_warned_of_once_and_its_recovery_is_told(
    door: Door,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="headrace")

    def states(level: int) -> list[str]:
        events = [cast("dict[str, str]", record.msg) for record in caplog.records if record.levelno == level]
        return [event["state"] for event in events if event["event"] == "pool_changed"]

    async def main() -> None:
        async with door.opened(pool("studio")) as (gate, _):
            while trio.current_time() < 300:
                (await door.permit_of(gate)).failed(refusal(20.0))
            (await door.permit_of(gate)).succeeded(None)

    door.run(main)
    (warning,) = states(logging.WARNING)
    assert warning == "refused for 60 s so far, asked again in 20.0 s"
    assert states(logging.INFO)[-1] == "ready"


def test_a_burst_of_refusals_warns_of_nothing(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="headrace")

    async def main() -> None:
        async with door.opened(pool()) as (gate, _):
            for permit in [await door.permit_of(gate) for _ in range(FIRST)]:
                permit.failed(refusal(30.0))
            await door.permit_of(gate)

    door.run(main)
    assert not caplog.records
