"""Whatever servers answer, and whoever holds the gate: nobody waits for ever, no limit is exceeded, and nothing stays held."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from headrace.admission.booking import Cost
from headrace.admission.gate import Gate
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.admission.retry import Action, action
from headrace.models import Limits
from headrace.records import Kind, Problem, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.admission.permit import Permit

FOR_EVER_S = 1e8
"""Virtual seconds: far more than every pause, every probe and every picture of an example take one after the other."""
ATTEMPTS = 4


@attrs.frozen
class Outcome:
    """How a call ends."""

    latency_s: float
    problem: Problem | None = None
    billed: float | None = None
    """Part of the estimated tokens that is billed, where the answer says."""
    sent: bool = True


def problem(kind: Kind, retry_after_s: float | None = None) -> Problem:
    return Problem(kind=kind, message=kind.value, retry_after_s=retry_after_s)


WAITS = st.one_of(st.none(), st.sampled_from([0.0, 0.24, 30.0, 3_600.0, 86_400.0]), st.floats(0, 10_000))
PROBLEMS = st.one_of(
    st.builds(problem, st.sampled_from([Kind.RATE_LIMITED, Kind.SLOW_DOWN]), WAITS),
    st.builds(problem, st.sampled_from([Kind.SERVER_ERROR, Kind.TIMEOUT, Kind.BAD_ANSWER, Kind.MODERATION_BLOCKED])),
    st.builds(problem, st.sampled_from([Kind.AUTH, Kind.BILLING, Kind.INTERRUPTED])),
)
OUTCOMES = st.one_of(
    st.builds(Outcome, st.floats(0, 90), billed=st.one_of(st.none(), st.floats(0, 1))),
    st.builds(Outcome, st.floats(0, 90), PROBLEMS),
    st.builds(Outcome, st.just(0.0), PROBLEMS),
    st.just(Outcome(0.0, sent=False)),
)
LIMITS = st.builds(
    Limits,
    images_per_minute=st.one_of(st.none(), st.integers(1, 100)),
    tokens_per_minute=st.one_of(st.none(), st.integers(500, 5_000)),
    requests_per_minute=st.one_of(st.none(), st.integers(1, 100)),
    max_concurrency=st.one_of(st.none(), st.integers(1, 4)),
)


@attrs.frozen
class Client:
    """Somebody who wants a picture."""

    arrival_s: float
    cost: Cost
    patience_s: float


CLIENTS = st.builds(
    Client,
    st.floats(0, 200),
    st.builds(Cost, images=st.integers(1, 5), tokens=st.integers(1, 2_000)),
    st.one_of(st.just(float("inf")), st.floats(0, 500)),
)


class Sim:
    """Clients at a gate whose servers answer what they were told, round and round."""

    def __init__(self, pools: list[Pool], outcomes: list[Outcome], max_wait_s: float) -> None:
        self.gate = Gate(pools, max_wait_s)
        self._outcomes: Iterator[Outcome] = itertools.cycle(outcomes)
        self._held_at = float("inf")
        self.charged: list[tuple[str, float, Cost]] = []
        """Pool, when, and what it turned out to take."""
        self.ended = 0

    async def client(self, client: Client) -> None:
        await trio.sleep(client.arrival_s)
        with trio.move_on_after(client.patience_s):
            attempts = 0
            while attempts < ATTEMPTS:
                permit = await self.gate.acquire(client.cost)
                assert trio.current_time() <= self._held_at or (isinstance(permit, Problem) and "max_wait_s" not in permit.message)
                if isinstance(permit, Problem):
                    break
                outcome = await self._call(permit, client.cost)
                if outcome.problem is None or (wanted := action(outcome.problem.kind)) is Action.GIVE_UP:
                    break
                attempts += wanted is Action.RETRY
        self.ended += 1

    async def _call(self, permit: Permit, cost: Cost) -> Outcome:
        outcome, at = next(self._outcomes), trio.current_time()
        if not outcome.sent:
            permit.released()
            return outcome
        try:
            await trio.sleep(outcome.latency_s)
        except trio.Cancelled:
            self.charged.append((permit.pool.name, at, cost))
            permit.failed(problem(Kind.INTERRUPTED))
            raise
        billed = None if outcome.billed is None or outcome.problem is not None else int(outcome.billed * cost.tokens)
        self.charged.append((permit.pool.name, at, cost if billed is None else attrs.evolve(cost, tokens=billed)))
        if outcome.problem is None:
            permit.succeeded(None if billed is None else Usage(input_tokens=0, output_tokens=billed))
        else:
            permit.failed(outcome.problem)
        return outcome

    async def hold(self, at: float, seconds: float) -> None:
        await trio.sleep(at)
        self._held_at = trio.current_time()
        self.gate.hold("test")
        await trio.sleep(seconds)
        self._held_at = float("inf")
        self.gate.resume()

    async def main(self, clients: list[Client], hold: tuple[float, float] | None) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.gate.run)
            with trio.fail_after(FOR_EVER_S):
                async with trio.open_nursery() as everyone:
                    if hold is not None:
                        everyone.start_soon(self.hold, *hold)
                    for client in clients:
                        everyone.start_soon(self.client, client)
            nursery.cancel_scope.cancel()


@settings(max_examples=120, deadline=None)
@given(
    limits=st.lists(LIMITS, min_size=1, max_size=3),
    outcomes=st.lists(OUTCOMES, min_size=1, max_size=12),
    clients=st.lists(CLIENTS, min_size=1, max_size=8),
    max_wait_s=st.one_of(st.sampled_from([1.0, 60.0, 3_600.0]), st.floats(1, 100_000)),
    hold=st.one_of(st.none(), st.tuples(st.floats(0, 300), st.floats(0, 10_000))),
)
def test_everybody_gets_an_answer_within_the_limits_and_nothing_stays_held(
    limits: list[Limits], outcomes: list[Outcome], clients: list[Client], max_wait_s: float, hold: tuple[float, float] | None
) -> None:
    pools = [Pool(str(n), each, [Key(f"{n}a"), Key(f"{n}b")]) for n, each in enumerate(limits)]
    sim = Sim(pools, outcomes if any(outcome.sent for outcome in outcomes) else [Outcome(0.0)], max_wait_s)
    trio.run(sim.main, clients, hold, clock=MockClock(autojump_threshold=0))
    assert sim.ended == len(clients)
    assert not sim.gate._queue
    for pool in pools:
        books = pool.statistics(FOR_EVER_S)
        charged = [(at, cost) for name, at, cost in sim.charged if name == pool.name]
        assert (books.in_flight, [key.in_flight for key in pool.keys], books.calls) == (0, [0, 0], len(charged))
        for resource in ("images", "tokens", "requests"):
            limit = getattr(pool.limits, f"{resource}_per_minute")
            assert books.admitted[resource] == sum(getattr(cost, resource) for _, cost in charged)
            for at, _ in charged if limit is not None else ():
                assert sum(getattr(cost, resource) for other, cost in charged if at <= other <= at + 60) <= limit


@settings(max_examples=60, deadline=None)
@given(
    limits=LIMITS,
    answers=st.lists(PROBLEMS.filter(lambda problem: action(problem.kind) is not Action.GIVE_UP), min_size=1, max_size=12),
    latency_s=st.floats(0, 90),
    max_wait_s=st.floats(1, 10_000),
)
def test_a_pool_that_never_gives_a_picture_ends_in_a_reason_however_often_it_is_asked(
    limits: Limits, answers: list[Problem], latency_s: float, max_wait_s: float
) -> None:
    async def main() -> None:
        gate, cost = Gate([Pool("studio", limits, [Key("a"), Key("b")])], max_wait_s), Cost(images=1, tokens=100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.run)
            with trio.fail_after(FOR_EVER_S):
                for answer in itertools.cycle(answers):
                    outcome = await gate.acquire(cost)
                    if isinstance(outcome, Problem):
                        break
                    await trio.sleep(latency_s)
                    outcome.failed(answer)
            nursery.cancel_scope.cancel()
        assert isinstance(outcome, Problem)
        assert outcome.kind in (Kind.NO_POOL, Kind.WAITED_TOO_LONG)
        assert "studio" in outcome.message or "key " in outcome.message

    trio.run(main, clock=MockClock(autojump_threshold=0))
