"""Two pools of the settings that are one organisation by the API's word, at the gate."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from headrace.admission.booking import Cost
from headrace.admission.calls import FIRST
from headrace.admission.key import Key
from headrace.admission.owners import Owners
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.records import Kind, Problem, Usage
from headrace.told import Refusal, Told

if TYPE_CHECKING:
    from headrace.admission.gate import Gate
    from headrace.admission.permit import Permit
    from tests.admission.conftest import Door

ONE = Cost(images=1, tokens=100)
MINE = Told(organisation="org-1", project="proj_1")
OTHER = Told(organisation="org-1", project="proj_2")
BILLED = Usage(input_tokens=0, output_tokens=40)


def pool(name: str, *models: str, **limits: float) -> Pool:
    return Pool(name, Limits(**limits), [Key(f"key of {name}")], models=models)  # type: ignore[arg-type]  # one shorthand for both types


def refused_for(owner: str) -> Told:
    return Told(refusal=Refusal(resource="images", owner=owner))


def slow_down(retry_after_s: float = 1.0) -> Problem:
    return Problem(kind=Kind.RATE_LIMITED, message="Slow down.", retry_after_s=retry_after_s)


def names(gate: Gate) -> list[str]:
    return [each.name for each in gate.pools]


async def one_of_each(door: Door, gate: Gate) -> dict[str, Permit]:
    """A permit of each pool, by its name."""
    permits: dict[str, Permit] = {}
    others: list[Permit] = []
    while len(permits) < len(gate.pools):
        permit = await door.permit_of(gate)
        if permits.setdefault(permit.pool.name, permit) is not permit:
            others.append(permit)
        assert len(others) <= 4 * FIRST, "one pool takes them all"
    for permit in others:
        permit.released()
    return permits


def test_pools_whose_answers_name_one_project_are_one_and_it_is_told_once(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with door.opened(pool("a"), pool("b"), pool("c")) as (gate, _):
            for each, told in zip((await one_of_each(door, gate)).values(), (MINE, OTHER, MINE), strict=True):
                each.succeeded(None, told)
            assert len(gate.pools) == 2
            for _ in range(9):
                (await door.permit_of(gate)).succeeded(None)

    caplog.set_level(logging.WARNING, logger="headrace")
    door.run(main)
    (event,) = [cast("dict[str, str]", record.msg) for record in caplog.records]
    assert (event["event"], event["owner"]) == ("pools_merged", "org-1/proj_1")


def test_pools_that_are_refused_in_the_name_of_one_owner_are_one(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool("a"), pool("b")) as (gate, _):
            permits = await one_of_each(door, gate)
            permits["a"].failed(slow_down(), refused_for("organization org-1"))
            permits["b"].failed(slow_down(), refused_for("organization org-2"))
            assert names(gate) == ["a", "b"]
            permits = await one_of_each(door, gate)
            permits["b"].failed(slow_down(), refused_for("organization org-1"))
            assert names(gate) == ["a"]

    door.run(main)


@pytest.mark.parametrize("told", [Told(organisation="org-1"), Told(project="proj_1"), Told()])
def test_an_organisation_without_its_project_or_a_project_alone_says_too_little(door: Door, told: Told) -> None:
    async def main() -> None:
        async with door.opened(pool("a"), pool("b")) as (gate, _):
            for each in (await one_of_each(door, gate)).values():
                each.succeeded(None, told)
            assert names(gate) == ["a", "b"]

    door.run(main)


def test_pools_for_other_models_stay_apart_whoever_owns_them(door: Door) -> None:
    async def main() -> None:
        pools = [pool(name, model, max_concurrency=2) for name, model in (("a", "large"), ("b", "small"), ("c", "small"))]
        async with door.opened(*pools) as (gate, _):
            permits = [await door.permit_of(gate, Cost(images=1, tokens=1, model=model)) for model in ["large"] * 2 + ["small"] * 4]
            for permit in permits:
                permit.succeeded(None, MINE)
            assert names(gate) == ["a", "b"]

    door.run(main)


def test_what_is_out_ends_in_the_pool_that_is_left_and_nothing_stays_held(door: Door) -> None:
    async def main() -> None:
        pools = pool("a", tokens_per_minute=6_000, max_concurrency=5), pool("b", tokens_per_minute=6_000)
        async with door.opened(*pools) as (gate, _):
            permits = [await door.permit_of(gate) for _ in range(6)]
            by_pool = {each.name: [permit for permit in permits if permit.pool is each] for each in pools}
            by_pool["a"].pop().succeeded(BILLED, MINE)
            by_pool["b"].pop().succeeded(BILLED, MINE)
            (books,) = gate.statistics()
            assert (books.name, books.calls, books.in_flight, sorted(books.keys)) == ("a", 6, 4, ["key of a", "key of b"])
            assert {permit.pool.name for permit in permits} == {"a"}
            by_pool["b"].pop().released()
            for permit in by_pool["b"]:
                permit.failed(slow_down(0.0))
            for permit in by_pool["a"]:
                permit.succeeded(BILLED)
            (books,) = gate.statistics()
            assert (books.in_flight, books.calls, books.refused) == (0, 5, len(by_pool["b"]))
            assert books.admitted["tokens"] == (2 + len(by_pool["a"])) * 40 + len(by_pool["b"]) * 100
            assert [key.in_flight for each in pools for key in each.keys] == [0, 0, 0]

    door.run(main)


def test_the_limit_holds_over_both_from_the_moment_that_it_is_known(door: Door) -> None:
    started: list[float] = []

    async def main() -> None:
        async with door.opened(pool("a", images_per_minute=100), pool("b", images_per_minute=100)) as (gate, nursery):

            async def client() -> None:
                while True:
                    permit = await door.permit_of(gate)
                    started.append(trio.current_time())
                    await trio.sleep(max(1.0, 15.0 - trio.current_time()))
                    permit.succeeded(None, MINE)

            for _ in range(100):
                nursery.start_soon(client)
            await trio.sleep(300)
            assert len(gate.pools) == 1

    door.run(main)
    assert sum(at <= 15 for at in started) > 40, "two pools, until the first answers"
    for at in started:
        assert sum(at <= other <= at + 60 for other in started) <= 100
    assert sum(at > 120 for at in started) >= 0.97 * 100 * 3


def test_both_keys_are_used_of_the_pool_that_is_left_and_the_dead_one_is_not(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool("a"), pool("b")) as (gate, _):
            for each in (await one_of_each(door, gate)).values():
                each.succeeded(None, MINE)
            assert names(gate) == ["a"]
            permits = [await door.permit_of(gate) for _ in range(4)]
            assert sorted(permit.key for permit in permits) == ["key of a", "key of a", "key of b", "key of b"]
            next(permit for permit in permits if permit.key == "key of a").failed(Problem(kind=Kind.AUTH, message="revoked"))
            assert {(await door.permit_of(gate)).key for _ in range(3)} == {"key of b"}

    door.run(main)


def test_who_waits_when_pools_become_one_is_still_told_that_it_waits_in_vain(door: Door) -> None:
    async def main() -> None:
        async with door.opened(pool("a", max_concurrency=1), pool("b", max_concurrency=1)) as (gate, nursery):
            permits = await one_of_each(door, gate)
            waiting = [await door.queued(gate, nursery) for _ in range(3)]
            for name in ("b", "a"):
                permits[name].succeeded(None, MINE)
                await wait_all_tasks_blocked()
            assert len(gate.pools) == 1
            for each in waiting:
                if each.outcome is not None and not isinstance(each.outcome, Problem):
                    each.outcome.failed(slow_down(86_400.0))
            await wait_all_tasks_blocked()
            assert isinstance(waiting[-1].outcome, Problem)
            assert waiting[-1].kind is Kind.NO_POOL

    door.run(main)


def test_the_books_of_the_pool_that_is_left_begin_with_the_first_call_of_either() -> None:
    early, late = pool("early"), pool("late")
    early.take(ONE, 5.0)
    late.take(ONE, 9.0)
    early.take(ONE, 12.0)
    late.absorb(early, 20.0)
    books = late.statistics(20.0)
    assert (books.calls, books.first_at, books.last_at) == (3, 5.0, 12.0)


def test_a_third_pool_of_the_same_owner_joins_the_one_that_is_left_whoever_named_the_owner_first() -> None:
    owners, pools = Owners(), [pool("a"), pool("b"), pool("c")]
    a, b, c = pools

    def shown(each: Pool, *owned: str) -> None:
        each.owners.update(owned)
        gone = owners.merged(each, pools, 0.0)
        if gone is not None:
            pools.remove(gone)

    shown(b, "organization org-1")
    shown(a, "org-1/proj_1")
    shown(b, "org-1/proj_1")
    assert pools == [a, c]
    shown(c, "organization org-1")
    assert pools == [a]
