from __future__ import annotations

import base64
import io
import json
import math
from random import Random
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from trio.testing import MockClock

from headrace.admission.booking import Cost
from headrace.admission.gate import Gate
from headrace.admission.key import Key
from headrace.admission.permit import Admitted
from headrace.admission.pool import Pool
from headrace.api import Api
from headrace.budget import Budget
from headrace.disk import Disk
from headrace.errors import OutputError
from headrace.journal.journal import Intent, Wait
from headrace.models import Limits
from headrace.offload import inline
from headrace.provider.failures import Reply
from headrace.provider.memory import ByteBudget
from headrace.records import Answer, Call, Estimated, Failure, Kind, Problem, Prompt, Request, Strategy, Trail, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from headrace.journal.journal import Journal
    from headrace.provider.client import Client
    from headrace.provider.memory import Lease

BODY = 5_000
MEMORY = 20_000
LATENCY_S = 8.0
REQUEST = Request(prompt="a cat", model="gpt-image-2.5-flare", size="16x16", quality="low")
ESTIMATED = Estimated(prompt=Prompt(seq=3, id="cat", request=REQUEST), request=REQUEST, input_tokens=10, output_tokens=190, cost_usd=0.25)
TRIED_AGAIN = [Kind.SERVER_ERROR, Kind.OVERLOADED, Kind.NETWORK, Kind.TIMEOUT, Kind.BAD_ANSWER]
GIVEN_UP = [Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION, Kind.BAD_REQUEST, Kind.MODEL_NOT_FOUND]


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def png() -> Reply:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (10, 90, 200)).save(file, "PNG")
    document = {
        "data": [{"b64_json": base64.b64encode(file.getvalue()).decode()}],
        "usage": {"input_tokens": 12, "output_tokens": 88},
    }
    return Reply(200, {}, json.dumps(document).encode())


def problem(kind: Kind, retry_after_s: float | None = None) -> Problem:
    return Problem(kind=kind, message=kind.value, retryable=True, retry_after_s=retry_after_s)


class FakeClient:
    """Answers with what it was given, one after the other, and with a picture afterwards."""

    def __init__(self, outcomes: Iterable[Reply | Problem | Exception] = (), latency_s: float = LATENCY_S) -> None:
        self._outcomes = list(outcomes)
        self._latency_s = latency_s
        self.calls: list[float] = []
        self.request_ids: list[str | None] = []

    async def post(self, request: Request, lease: Lease, request_id: str | None = None) -> Reply | Problem:
        self.request_ids.append(request_id)
        assert request.prompt == "a cat"
        self.calls.append(trio.current_time())
        await lease.reserve(BODY)
        await trio.sleep(self._latency_s)
        outcome = self._outcomes.pop(0) if self._outcomes else png()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class LargestDelay(Random):
    """Full jitter at its upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def api(
    root: Path, clients: Mapping[str, FakeClient], pools: Iterable[Pool], memory: ByteBudget | None = None, max_wait_s: float = math.inf
) -> Api:
    gate = Gate(tuple(pools), max_wait_s)
    trio.lowlevel.spawn_system_task(gate.run)
    return Api(
        gate=gate,
        clients=cast("Mapping[str, Client]", clients),
        root=root,
        memory=memory or ByteBudget(MEMORY),
        disk=Disk(inline),
        random=LargestDelay(),
    )


def one_pool(root: Path, outcomes: Iterable[Reply | Problem | Exception], **limits: int) -> tuple[Api, FakeClient]:
    client = FakeClient(outcomes)
    return api(root, {"a": client}, [Pool("p", Limits(**limits), [Key("a")])]), client


async def answered(line: Api) -> Answer | Failure:
    admitted = await line.admit(ESTIMATED)
    return admitted if isinstance(admitted, Failure) else await line.answer(admitted, Strategy.PRIMARY, Budget(None).line())


async def asked(line: Api) -> Answer | Failure:
    """What becomes of one request; nothing may be held when it is over."""
    outcome = await answered(line)
    assert nothing_is_held(line)
    return outcome


def nothing_is_held(api: Api) -> bool:
    keys = [key for pool in api.gate.pools for key in pool.keys]
    free = api.memory.free == api.memory.capacity
    return free and not any(books.in_flight for books in api.gate.statistics()) and not any(key.in_flight for key in keys)


def test_a_picture_at_the_first_attempt(tmp_path: Path) -> None:
    async def main() -> None:
        answer = await asked(one_pool(tmp_path, [], images_per_minute=5)[0])
        assert isinstance(answer, Answer)
        assert answer.trail == Trail(key="a", attempts=1, waited_s=0.0, latency_s=LATENCY_S)
        assert answer.usage == Usage(input_tokens=12, output_tokens=88)
        assert answer.prompt is ESTIMATED.prompt
        (picture,) = answer.pictures
        assert (tmp_path / picture.path).stat().st_size == picture.bytes

    run(main)


@pytest.mark.parametrize("kind", TRIED_AGAIN)
def test_what_may_pass_is_tried_four_times_with_growing_delays_and_then_given_up(tmp_path: Path, kind: Kind) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(kind)] * 9)
        failure = await asked(line)
        assert isinstance(failure, Failure)
        assert failure.problem.kind is kind
        assert failure.estimated is ESTIMATED
        # Delays of 2, 4 and 8 s at most between calls of 8 s.
        assert client.calls == [0.0, 10.0, 22.0, 38.0]
        assert failure.trail == Trail(key="a", attempts=4, waited_s=14.0, latency_s=LATENCY_S)

    run(main)


@pytest.mark.parametrize("kind", TRIED_AGAIN)
def test_a_picture_at_the_last_attempt_counts_all_of_them(tmp_path: Path, kind: Kind) -> None:
    async def main() -> None:
        answer = await asked(one_pool(tmp_path, [problem(kind)] * 3)[0])
        assert isinstance(answer, Answer)
        assert answer.trail.attempts == 4

    run(main)


@pytest.mark.parametrize("kind", GIVEN_UP)
def test_what_will_never_succeed_is_asked_once(tmp_path: Path, kind: Kind) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(kind)])
        failure = await asked(line)
        assert isinstance(failure, Failure)
        assert (failure.problem.kind, failure.trail.attempts, len(client.calls)) == (kind, 1, 1)

    run(main)


@pytest.mark.parametrize("kind", [Kind.RATE_LIMITED, Kind.SLOW_DOWN])
def test_refusals_for_pace_use_no_attempt_however_many(tmp_path: Path, kind: Kind) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(kind, 2.0)] * 12)
        answer = await asked(line)
        assert isinstance(answer, Answer)
        assert answer.trail == Trail(key="a", attempts=1, waited_s=24.0, latency_s=LATENCY_S)
        assert client.calls == [10.0 * n for n in range(13)]

    run(main)


def test_a_refusal_for_pace_sends_the_request_to_the_other_pool_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = FakeClient([problem(Kind.RATE_LIMITED, 30.0)]), FakeClient()
        pools = [Pool("p", Limits(), [Key("a", weight=2.0)]), Pool("q", Limits(), [Key("b")])]
        answer = await asked(api(tmp_path, {"a": first, "b": second}, pools))
        assert isinstance(answer, Answer)
        assert answer.trail == Trail(key="b", attempts=1, waited_s=0.0, latency_s=LATENCY_S)
        assert (first.calls, second.calls) == ([0.0], [8.0])

    run(main)


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.FORBIDDEN, Kind.NOT_FOUND])
def test_a_bad_key_sends_the_request_to_the_next_key_of_the_same_pool(tmp_path: Path, kind: Kind) -> None:
    async def main() -> None:
        first, second = FakeClient([problem(kind)] * 9), FakeClient()
        line = api(tmp_path, {"a": first, "b": second}, [Pool("p", Limits(), [Key("a", weight=2.0), Key("b")])])
        for n in range(3):
            answer = await asked(line)
            assert isinstance(answer, Answer)
            assert (answer.trail.key, answer.trail.attempts) == ("b", 1)
            assert len(second.calls) == n + 1
        assert len(first.calls) == 1

    run(main)


def test_a_pool_without_money_is_left_with_all_its_keys(tmp_path: Path) -> None:
    async def main() -> None:
        poor, rich = FakeClient([problem(Kind.BILLING)] * 9), FakeClient()
        pools = [Pool("poor", Limits(), [Key("a", weight=2.0), Key("b", weight=2.0)]), Pool("rich", Limits(), [Key("c")])]
        answer = await asked(api(tmp_path, {"a": poor, "b": poor, "c": rich}, pools))
        assert isinstance(answer, Answer)
        assert (answer.trail.key, answer.trail.attempts) == ("c", 1)
        assert len(poor.calls) == 1

    run(main)


def test_the_last_key_that_dies_ends_the_request_with_every_reason(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = FakeClient([problem(Kind.AUTH)]), FakeClient([problem(Kind.BILLING)])
        pools = [Pool("p", Limits(), [Key("a", weight=2.0)]), Pool("q", Limits(), [Key("b")])]
        failure = await asked(api(tmp_path, {"a": first, "b": second}, pools))
        assert isinstance(failure, Failure)
        assert failure.problem.kind is Kind.NO_POOL
        assert failure.problem.message == "no key can work any more: key a: auth; pool q: billing"
        assert failure.trail.attempts == 0

    run(main)


def test_a_request_larger_than_any_limit_makes_no_call(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [], tokens_per_minute=199)
        failure = await asked(line)
        assert isinstance(failure, Failure)
        assert (failure.problem.kind, failure.trail, client.calls) == (Kind.TOO_LARGE, Trail(), [])

    run(main)


def test_what_the_server_asks_for_before_a_retry_is_waited(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(Kind.OVERLOADED, 45.0)])
        await asked(line)
        assert client.calls == [0.0, 53.0]

    run(main)


def test_retries_wait_for_the_budget_of_their_pool(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(Kind.SERVER_ERROR)])
        for _ in range(40):
            line.gate.pools[0].retries.reserve(0.0)
        await asked(line)
        # 8 s after the reservations 32 of them are still owed, less the tenth that the call earned, and this one.
        assert client.calls == [0.0, pytest.approx(8.0 + 30 - 8 + 1, abs=0.11)]

    run(main)


def test_a_200_that_holds_no_picture_is_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [Reply(200, {}, b"<html>"), Reply(200, {}, b"{}")])
        answer = await asked(line)
        assert isinstance(answer, Answer)
        assert (answer.trail.attempts, len(client.calls)) == (3, 3)

    run(main)


def test_an_attempt_holds_no_permit_while_it_waits_for_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(Kind.OVERLOADED, 50.0)], max_concurrency=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answered, line)
            await trio.sleep(10)
            assert nothing_is_held(line)
            nursery.start_soon(answered, line)
        assert client.calls == [0.0, 10.0, 58.0]

    run(main)


def test_earlier_attempts_and_waits_of_the_same_prompt_are_counted_on(tmp_path: Path) -> None:
    async def main() -> None:
        line, _ = one_pool(tmp_path, [])
        trail = Trail(key="z", attempts=4, waited_s=10.0, latency_s=1.0)
        admitted = await line.admit(ESTIMATED, trail)
        assert isinstance(admitted, Admitted)
        answer = await line.answer(admitted, Strategy.REDUCED_QUALITY, Budget(None).line(), trail)
        assert isinstance(answer, Answer)
        assert answer.strategy is Strategy.REDUCED_QUALITY
        assert answer.trail == Trail(key="a", attempts=5, waited_s=10.0, latency_s=LATENCY_S)

    run(main)


def test_a_picture_that_cannot_be_written_is_a_failure_of_the_engine_and_holds_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        line, _ = one_pool(tmp_path, [])
        (tmp_path / "images").write_text("in the way")
        admitted = await line.admit(ESTIMATED)
        assert isinstance(admitted, Admitted)
        with pytest.raises(OutputError):
            await line.answer(admitted, Strategy.PRIMARY, Budget(None).line())
        assert nothing_is_held(line)

    run(main)


def test_an_error_of_the_engine_during_the_call_ends_the_permit(tmp_path: Path) -> None:
    async def main() -> None:
        line, _ = one_pool(tmp_path, [ZeroDivisionError()])
        admitted = await line.admit(ESTIMATED)
        assert isinstance(admitted, Admitted)
        with pytest.raises(ZeroDivisionError):
            await line.answer(admitted, Strategy.PRIMARY, Budget(None).line())
        assert nothing_is_held(line)

    run(main)


async def cancelled_after(line: Api, seconds: float) -> None:
    with trio.move_on_after(seconds) as scope:
        await asked(line)
    assert scope.cancelled_caught
    assert nothing_is_held(line)


def test_cancelled_while_it_waits_for_its_first_permit(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [], images_per_minute=1)
        await asked(line)
        await cancelled_after(line, 5.0)
        assert len(client.calls) == 1
        assert line.gate.statistics()[0].admitted["images"] == 1

    run(main)


class FakeJournal:
    """Takes its time to write down that a call is about to be made."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self._seconds = seconds
        self._error = error
        self.failures: list[tuple[int, Kind]] = []
        self.waits: list[Wait] = []

    async def intend(self, item: int, key: str, cost_usd: float | None, wait: Wait, strategy: Strategy) -> Intent:
        assert (item, key, cost_usd, strategy) == (7, "a", ESTIMATED.cost_usd, Strategy.PRIMARY)
        self.waits.append(wait)
        await trio.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        return Intent(1, "headrace-1")

    def failed(self, intent: Intent, problem: Problem) -> None:
        self.failures.append((intent.number, problem.kind))


JOURNALED = attrs.evolve(ESTIMATED, prompt=attrs.evolve(ESTIMATED.prompt, item=7))


def journaled(root: Path, journal: FakeJournal, outcomes: Iterable[Reply | Problem | Exception] = ()) -> tuple[Api, FakeClient]:
    line, client = one_pool(root, outcomes, images_per_minute=1)
    return attrs.evolve(line, journal=cast("Journal", journal)), client


def test_a_call_that_is_written_down_carries_its_number_and_its_failure_is_written_too(tmp_path: Path) -> None:
    async def main() -> None:
        journal = FakeJournal(0.5)
        line, client = journaled(tmp_path, journal, [problem(Kind.BAD_REQUEST)])
        admitted = await line.admit(JOURNALED)
        assert isinstance(admitted, Admitted)
        assert isinstance(await line.answer(admitted, Strategy.PRIMARY, Budget(None).line()), Failure)
        assert (client.calls, client.request_ids, journal.failures) == ([0.5], ["headrace-1"], [(1, Kind.BAD_REQUEST)])
        assert nothing_is_held(line)

    run(main)


def test_every_call_that_was_made_is_told_of_with_what_it_waited_for_and_what_came_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        calls: list[Call] = []
        journal = FakeJournal(0.0)
        line, client = journaled(tmp_path, journal, [problem(Kind.SERVER_ERROR), problem(Kind.BAD_REQUEST)])
        line = attrs.evolve(line, called=calls.append)
        admitted = await line.admit(JOURNALED)
        assert isinstance(admitted, Admitted)
        await line.answer(admitted, Strategy.PRIMARY, Budget(None).line())
        first, second = calls
        assert [each.problem.kind for each in calls if each.problem] == [Kind.SERVER_ERROR, Kind.BAD_REQUEST]
        assert [(each.started, each.ended) for each in calls] == [(at, at + LATENCY_S) for at in client.calls]
        assert (first.pool, first.key, first.prompt.id) == (line.gate.pools[0].name, "a", JOURNALED.prompt.id)
        assert (first.waited_s, first.waited_for) == (0.0, None)
        assert second.waited_for == "images/min"  # one a minute is allowed
        assert 50 < second.waited_s <= 61
        assert journal.waits == [Wait(each.pool, each.waited_s, each.waited_for) for each in calls]

    run(main)


def test_a_call_that_is_cut_off_is_told_of_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        calls: list[Call] = []
        line, client = one_pool(tmp_path, [problem(Kind.SERVER_ERROR)])
        line = attrs.evolve(line, called=calls.append)
        admitted = await line.admit(ESTIMATED)
        assert isinstance(admitted, Admitted)
        with trio.move_on_after(LATENCY_S / 2):
            await line.answer(admitted, Strategy.PRIMARY, Budget(None).line())
        assert [(each.ended, each.problem and each.problem.kind) for each in calls] == [(client.calls[0] + LATENCY_S / 2, Kind.INTERRUPTED)]

    run(main)


def test_cancelled_while_the_call_is_written_down_it_was_never_sent_and_its_charge_is_taken_back(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = journaled(tmp_path, FakeJournal(10.0))
        admitted = await line.admit(JOURNALED)
        assert isinstance(admitted, Admitted)
        with trio.move_on_after(5.0) as scope:
            await line.answer(admitted, Strategy.PRIMARY, Budget(None).line())
        assert (scope.cancelled_caught, client.calls) == (True, [])
        assert nothing_is_held(line)
        assert line.gate.statistics()[0].admitted["images"] == 0

    run(main)


def test_a_call_that_was_written_down_too_late_for_its_place_in_the_rate_takes_admission_again(tmp_path: Path) -> None:
    class Slow(FakeJournal):
        async def intend(self, *asked: Any) -> Intent:
            try:
                return await super().intend(*asked)
            finally:
                self._seconds = 0.0

    async def main() -> None:
        journal = Slow(10.0)
        line, client = journaled(tmp_path, journal, [problem(Kind.BAD_REQUEST)])
        admitted = await line.admit(JOURNALED)
        assert isinstance(admitted, Admitted)
        outcome = await line.answer(admitted, Strategy.PRIMARY, Budget(None).line())
        assert (client.calls, journal.failures) == ([10.0], [(1, Kind.HELD_UP), (1, Kind.BAD_REQUEST)])
        assert outcome.trail.attempts == 1
        assert line.gate.statistics()[0].admitted["images"] == 1
        assert nothing_is_held(line)

    run(main)


def test_a_call_that_cannot_be_written_down_is_not_made_and_holds_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = journaled(tmp_path, FakeJournal(0.0, OutputError("the disk fails")))
        admitted = await line.admit(JOURNALED)
        assert isinstance(admitted, Admitted)
        with pytest.raises(OutputError):
            await line.answer(admitted, Strategy.PRIMARY, Budget(None).line())
        assert client.calls == []
        assert nothing_is_held(line)

    run(main)


def test_cancelled_while_it_waits_at_a_held_gate_for_its_second_permit(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(Kind.SERVER_ERROR)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancelled_after, line, 1_000.0)
            await trio.sleep(LATENCY_S)
            line.gate.hold("the disk is full")
        assert len(client.calls) == 1
        line.gate.resume()
        assert nothing_is_held(line)

    run(main)


def test_a_request_that_no_pool_can_start_in_time_is_a_failure_that_says_how_long_it_waited(tmp_path: Path) -> None:
    async def main() -> None:
        client = FakeClient([problem(Kind.RATE_LIMITED, 50.0), problem(Kind.RATE_LIMITED, 5_000.0)])
        line = api(tmp_path, {"a": client}, [Pool("p", Limits(), [Key("a")])], max_wait_s=100.0)
        failure = await asked(line)
        assert isinstance(failure, Failure)
        assert failure.problem.kind is Kind.NO_POOL
        assert failure.estimated is ESTIMATED, "another API may cure it"
        assert failure.trail == Trail(key="a", attempts=0, waited_s=50.0, latency_s=LATENCY_S)

    run(main)


def test_cancelled_during_the_call_its_charge_stays(tmp_path: Path) -> None:
    async def main() -> None:
        line, _ = one_pool(tmp_path, [], images_per_minute=1)
        await cancelled_after(line, 5.0)
        assert line.gate.statistics()[0].admitted["images"] == 1
        assert line.gate.pools[0].earliest(Cost(images=1, tokens=200), trio.current_time()) == 61.0

    run(main)


def test_cancelled_while_it_waits_for_memory(tmp_path: Path) -> None:
    async def main() -> None:
        memory = ByteBudget(BODY)
        line = api(tmp_path, {"a": FakeClient()}, [Pool("p", Limits(), [Key("a")])], memory)
        with memory.lease() as other:
            await other.reserve(BODY)
            with trio.move_on_after(5.0):
                await answered(line)
            assert line.gate.statistics()[0].in_flight == 0
        assert nothing_is_held(line)

    run(main)


def test_cancelled_between_two_attempts(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(Kind.OVERLOADED, 50.0)])
        await cancelled_after(line, 20.0)
        assert len(client.calls) == 1

    run(main)


def test_cancelled_while_it_waits_for_its_second_permit(tmp_path: Path) -> None:
    async def main() -> None:
        line, client = one_pool(tmp_path, [problem(Kind.SERVER_ERROR)], images_per_minute=1)
        await cancelled_after(line, 30.0)
        assert len(client.calls) == 1

    run(main)


OUTCOMES = [None, *(problem(kind, 1.0) for kind in Kind if kind not in (Kind.NO_POOL, Kind.INTERRUPTED))]


@settings(max_examples=60, deadline=None)
@given(
    outcomes=st.lists(st.sampled_from(OUTCOMES), max_size=40),
    patience=st.lists(st.one_of(st.just(1e9), st.floats(0, 100)), min_size=1, max_size=12),
)
def test_whatever_comes_back_and_whoever_is_cancelled_nothing_stays_held(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[Problem | None], patience: list[float]
) -> None:
    root = tmp_path_factory.getbasetemp()
    replies = [outcome or png() for outcome in outcomes]
    ended: list[Answer | Failure] = []

    async def main() -> None:
        clients = {"a": FakeClient(replies[::2]), "b": FakeClient(replies[1::2], latency_s=0.0)}
        pools = [Pool("p", Limits(images_per_minute=20, max_concurrency=2), [Key("a")]), Pool("q", Limits(max_concurrency=3), [Key("b")])]
        line = api(root, clients, pools)

        async def one(seconds: float) -> None:
            with trio.move_on_after(seconds):
                ended.append(await answered(line))

        async with trio.open_nursery() as nursery:
            for seconds in patience:
                nursery.start_soon(one, seconds)
        assert nothing_is_held(line)

    run(main)
    assert len(ended) >= sum(seconds == 1e9 for seconds in patience)
    assert all(outcome.trail.attempts <= 4 for outcome in ended)
