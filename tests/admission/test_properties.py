"""Whatever comes, in whatever sizes, however it ends and however the clock moves: no limit is exceeded at the client's door, no permit
leaks, and nobody who has waited longest is put off by those behind.
"""

from __future__ import annotations

import itertools
import operator
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from headrace.admission.booking import Cost
from headrace.admission.gate import Gate
from headrace.admission.key import Key
from headrace.admission.permit import Permit
from headrace.admission.pool import Pool
from headrace.admission.queue import Queue
from headrace.models import Limits
from headrace.records import Kind, Problem, Usage
from headrace.told import CALLS, NOTHING, RESOURCES, Level, Refusal, Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.admission.queue import Grant, Waiter

MODELS = ("large", "small")
FOR_EVER_S = 1e9
ROUNDING_S = 1e-6


@attrs.frozen(kw_only=True)
class Ending:
    """How a call ends."""

    problem: Problem | None = None
    told: Told = NOTHING
    billed: float | None = None
    """Part of the estimated tokens that is billed, where the answer says."""
    sent: bool = True


@attrs.frozen(kw_only=True)
class Client:
    """Somebody who wants a picture and asks once."""

    gap_s: float
    """After the one before came."""
    cost: Cost
    latency_s: float
    patience_s: float
    ending: Ending


@attrs.define(kw_only=True)
class Started:
    """A call that left."""

    pool: Pool
    at: float
    cost: Cost
    """What it turned out to take."""


# Of the waits some are nothing, and some are longer than everything that is remembered.
GAPS = st.one_of(st.just(0.0), st.just(0.0), st.floats(0, 10), st.sampled_from([1e-3, 61.0, 3_600.0]))
LATENCIES = st.one_of(st.just(0.0), st.floats(0, 90))
LIMITS = st.builds(
    Limits,
    images_per_minute=st.one_of(st.none(), st.integers(4, 20), st.integers(61, 120)),
    tokens_per_minute=st.one_of(st.none(), st.integers(1_000, 1_500), st.integers(1_000, 6_000)),
    requests_per_minute=st.one_of(st.none(), st.integers(1, 100)),
    max_concurrency=st.one_of(st.none(), st.integers(1, 5)),
)
NARROW = st.builds(attrs.evolve, LIMITS, max_concurrency=st.integers(1, 3))
POOLS = st.lists(st.tuples(LIMITS, st.sampled_from([(), ("large",), ("sm*",)]), st.booleans()), min_size=1, max_size=4)
COSTS = st.builds(Cost, images=st.integers(1, 4), tokens=st.integers(1, 1_000), model=st.sampled_from(MODELS))
BENIGN = st.one_of(
    st.builds(Ending, billed=st.one_of(st.none(), st.floats(0, 1))),
    st.just(Ending(sent=False)),
    st.just(Ending(problem=Problem(kind=Kind.MODERATION_BLOCKED, message="no"))),
)
REFUSALS = st.builds(
    Refusal,
    resource=st.sampled_from([*RESOURCES, CALLS, None]),
    limit=st.one_of(st.none(), st.floats(0.1, 10_000)),
    requested=st.one_of(st.none(), st.floats(1, 2_000)),
)
LEVELS = st.builds(
    Level,
    resource=st.sampled_from(RESOURCES),
    limit=st.just(100.0),
    remaining=st.floats(0, 100),
    reset_s=st.one_of(st.none(), st.floats(0, 60)),
)
TOLD = st.builds(Told, refusal=st.one_of(st.none(), REFUSALS), levels=st.lists(LEVELS, max_size=2).map(tuple))
WAITS = st.one_of(st.none(), st.sampled_from([0.0, 30.0]), st.floats(0, 1_000))
REFUSED = st.builds(Problem, kind=st.sampled_from([Kind.RATE_LIMITED, Kind.SLOW_DOWN]), message=st.just("slow"), retry_after_s=WAITS)
BROKEN = st.builds(Problem, kind=st.sampled_from([Kind.SERVER_ERROR, Kind.TIMEOUT, Kind.AUTH, Kind.INTERRUPTED]), message=st.just("no"))
ANY = st.one_of(BENIGN, st.builds(Ending, problem=REFUSED, told=TOLD), st.builds(Ending, problem=BROKEN), st.builds(Ending, told=TOLD))


def clients(endings: st.SearchStrategy[Ending]) -> st.SearchStrategy[list[Client]]:
    """Some clients whose calls end so, and who come again and again."""
    one = st.builds(
        Client,
        gap_s=GAPS,
        cost=COSTS,
        latency_s=LATENCIES,
        patience_s=st.one_of(st.just(float("inf")), st.just(0.0), st.floats(0, 200)),
        ending=endings,
    )
    return st.builds(operator.mul, st.lists(one, min_size=1, max_size=12), st.integers(1, 6))


class Sim:
    """Clients at a gate, and a clock that may leap."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self.gate = Gate(pools)
        self.clock = MockClock(autojump_threshold=0)
        self.started: list[Started] = []

    def run(self, comers: Sequence[Client], leaps: Sequence[tuple[float, float]] = ()) -> None:
        trio.run(self._main, comers, leaps, clock=self.clock)

    async def _main(self, comers: Sequence[Client], leaps: Sequence[tuple[float, float]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.gate.run)
            with trio.fail_after(FOR_EVER_S):
                async with trio.open_nursery() as everyone:
                    everyone.start_soon(self._leap, leaps)
                    for client in comers:
                        await trio.sleep(client.gap_s)
                        everyone.start_soon(self._client, client)
            nursery.cancel_scope.cancel()

    async def _leap(self, leaps: Sequence[tuple[float, float]]) -> None:
        """The machine was suspended: whatever was due meanwhile is late."""
        for after_s, seconds in leaps:
            await trio.sleep(after_s)
            self.clock.jump(seconds)

    async def _client(self, client: Client) -> None:
        with trio.move_on_after(client.patience_s):
            permit = await self.gate.acquire(client.cost)
            if isinstance(permit, Permit):
                await self._call(permit, client)

    async def _call(self, permit: Permit, client: Client) -> None:
        ending = client.ending
        if not ending.sent:
            permit.released()
            return
        assert permit._booking is not None
        # When it was let in: the clock may leap before it gets to know.
        call = Started(pool=permit.pool, at=permit._booking.at, cost=client.cost)
        self.started.append(call)
        try:
            await trio.sleep(client.latency_s)
        except trio.Cancelled:
            permit.failed(Problem(kind=Kind.INTERRUPTED, message="cancelled"))
            raise
        if ending.problem is not None:
            permit.failed(ending.problem, ending.told)
        elif ending.billed is None:
            permit.succeeded(None, ending.told)
        else:
            # Never more than was estimated: what is charged too late cannot be held back.
            call.cost = attrs.evolve(client.cost, tokens=int(ending.billed * client.cost.tokens))
            permit.succeeded(Usage(input_tokens=0, output_tokens=call.cost.tokens), ending.told)

    def busiest_minute(self, pool: Pool, resource: str) -> float:
        """The most of it that left within 60 s."""
        mine = [(call.at, getattr(call.cost, resource)) for call in self.started if call.pool is pool]
        return max((sum(cost for other, cost in mine if at <= other <= at + 60) for at, _ in mine), default=0.0)


def made(pools: Sequence[tuple[Limits, tuple[str, ...], bool]]) -> list[Pool]:
    return [
        Pool(str(n), limits, [Key(f"{n}a"), Key(f"{n}b")], models=models, exceed=exceed) for n, (limits, models, exceed) in enumerate(pools)
    ]


LEAPS = st.lists(st.tuples(st.floats(0, 100), st.one_of(st.floats(0, 70), st.just(1e5))), max_size=3)


@settings(max_examples=300, deadline=None)
@given(pools=POOLS, comers=clients(ANY), leaps=LEAPS)
def test_no_minute_holds_more_than_a_limit_at_the_door_and_no_permit_leaks(
    pools: list[tuple[Limits, tuple[str, ...], bool]], comers: list[Client], leaps: list[tuple[float, float]]
) -> None:
    sim = Sim(made(pools))
    sim.run(comers, leaps)
    assert not sim.gate._queue
    for pool, (limits, _, exceed) in zip(sim.gate.pools, pools, strict=True):
        books = pool.statistics(FOR_EVER_S)
        assert (books.in_flight, [key.in_flight for key in pool.keys]) == (0, [0, 0])
        assert books.calls == sum(call.pool is pool for call in sim.started)
        for resource in RESOURCES:
            limit = getattr(limits, f"{resource}_per_minute")
            if limit is not None and not exceed:
                assert sim.busiest_minute(pool, resource) <= limit


@settings(max_examples=120, deadline=None)
@given(
    pools=st.lists(st.tuples(NARROW, st.sampled_from([(), (), ("large",)]), st.booleans()), min_size=2, max_size=4),
    comers=clients(st.one_of(BENIGN, ANY)),
    owners=st.lists(st.sampled_from("aab"), min_size=1, max_size=4),
)
def test_no_permit_leaks_when_pools_become_one_meanwhile(
    pools: list[tuple[Limits, tuple[str, ...], bool]], comers: list[Client], owners: list[str]
) -> None:
    every, given_out = made(pools), itertools.cycle(owners)
    sim = Sim(every)
    sim.run([attrs.evolve(each, ending=_of(each.ending, next(given_out))) for each in comers])
    assert not sim.gate._queue
    assert all(key.in_flight == 0 for pool in every for key in pool.keys)
    books = [pool.statistics(FOR_EVER_S) for pool in sim.gate.pools]
    assert [each.in_flight for each in books] == [0] * len(books)
    assert sum(each.calls for each in books) == len(sim.started)
    assert sorted(key for each in books for key in each.keys) == [f"{n}{letter}" for n in range(len(pools)) for letter in "ab"]


def _of(ending: Ending, owner: str) -> Ending:
    return attrs.evolve(ending, told=attrs.evolve(ending.told, organisation="org", project=owner))


@attrs.define
class Watched(Queue):
    """Writes down when whoever has waited longest at all of its pools could start, each time that anybody is let in."""

    promised: dict[int, float] = attrs.field(factory=dict)
    late: list[str] = attrs.field(factory=list)
    """What was broken of the promises."""

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def assign(self, pools: Sequence[Pool], now: float) -> tuple[list[Grant], float]:
        """Let in whoever can start, and look at who is left."""
        granted, wake_at = super().assign(pools, now)
        gone = {waiter.number for waiter, _, _ in granted}
        ahead: set[Pool] = set()
        for waiter in sorted(self, key=lambda waiter: waiter.number):
            if waiter.number in gone:
                continue
            fitting = {pool for pool in pools if pool.fits(waiter.cost)}
            if not fitting & ahead:
                self._look(waiter, fitting, now)
            ahead |= fitting
        return granted, wake_at

    def _look(self, waiter: Waiter, fitting: set[Pool], now: float) -> None:
        starts = {pool: pool.earliest(waiter.cost, now) for pool in fitting}
        at = self.promised.setdefault(waiter.number, min(starts.values()))
        if min(starts.values()) > max(at, now) + ROUNDING_S:
            self.late.append(f"{waiter.number} could have started at {at}, and now at {min(starts.values())}")
        if any(start <= now and pool.has_room for pool, start in starts.items()):
            self.late.append(f"{waiter.number} could start at {now}, and was not let in")


@settings(max_examples=300, deadline=None)
@given(pools=POOLS, comers=clients(BENIGN), leaps=LEAPS)
def test_whoever_has_waited_longest_starts_no_later_than_it_could_when_it_came_first(
    pools: list[tuple[Limits, tuple[str, ...], bool]], comers: list[Client], leaps: list[tuple[float, float]]
) -> None:
    sim, queue = Sim(made([(limits, models, False) for limits, models, _ in pools])), Watched()
    sim.gate._queue = queue
    sim.run(comers, leaps)
    assert not queue.late


@settings(max_examples=120, deadline=None)
@given(pools=POOLS, comers=clients(BENIGN))
def test_everybody_who_waits_for_as_long_as_it_takes_and_fits_gets_its_turn(
    pools: list[tuple[Limits, tuple[str, ...], bool]], comers: list[Client]
) -> None:
    sim = Sim(made(pools))
    patient = [attrs.evolve(each, patience_s=float("inf"), ending=Ending()) for each in comers]
    fitting = [each for each in patient if any(map(partial(_fits, cost=each.cost), sim.gate.pools))]
    sim.run(patient)
    assert sorted(call.cost.tokens for call in sim.started) == sorted(each.cost.tokens for each in fitting)


def _fits(pool: Pool, cost: Cost) -> bool:
    return pool.fits(cost)
