from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from headrace.simulator import SimulatedPool, SimulatorSettings, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def beside_a_stranger(
    pool: SimulatedPool,
    images_per_minute: float,
    meanwhile: Callable[[World], Awaitable[None]],
    settings: dict[str, Any] | None = None,
    **how: Any,
) -> World:
    """The world in which a stranger drew on the pool for as long as ``meanwhile`` took."""

    async def main() -> World:
        world = World(SimulatorSettings(pools=(pool,), **(settings or {})))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(world.stranger, pool.name, images_per_minute, **how))
            await meanwhile(world)
            nursery.cancel_scope.cancel()
        return world

    return trio.run(main, clock=MockClock(autojump_threshold=0))


async def ten_minutes(_: World) -> None:
    await trio.sleep(600)


def test_a_stranger_asks_at_its_pace_and_is_counted_nowhere_else() -> None:
    world = beside_a_stranger(SimulatedPool(images_per_minute=300.0), 90, ten_minutes)
    record = world.strangers["studio"]
    assert record.asked == pytest.approx(900, rel=0.02)
    assert (record.served, record.refused) == (record.asked, 0)
    assert (world.bill, world.counts, world.peak) == ({}, {}, {"studio": 0})
    assert world.accepted["studio"].number == 0


def test_a_stranger_goes_on_although_it_is_refused() -> None:
    world = beside_a_stranger(SimulatedPool(images_per_minute=None, requests_per_minute=30.0, discipline="fixed"), 90, ten_minutes)
    record = world.strangers["studio"]
    assert record.served == 300
    assert record.refused == pytest.approx(600, rel=0.05)


def test_what_a_stranger_uses_is_missing_for_others() -> None:
    async def ours(world: World) -> None:
        pool = world.pool_of("sk-sim-a")
        assert pool
        for _ in range(600):
            await trio.sleep(1)
            if pool.admit(1, 196, trio.current_time()) is None:
                pool.leave()

    world = beside_a_stranger(SimulatedPool(images_per_minute=60.0, max_concurrency=1), 30, ours, {"charge_rejected": False})
    together = world.accepted["studio"].images + world.strangers["studio"].served
    # A minute's worth was there at the start, and ten minutes' flowed in.
    assert together == pytest.approx(660, abs=2)
    assert 0 < world.strangers["studio"].served < world.strangers["studio"].asked


def test_what_a_stranger_is_refused_is_charged_where_refusals_are() -> None:
    pool = SimulatedPool(images_per_minute=60.0, burst_s=1.0)
    free = beside_a_stranger(pool, 90, ten_minutes, {"charge_rejected": False}).strangers["studio"]
    charged = beside_a_stranger(pool, 90, ten_minutes).strangers["studio"]
    assert free.asked == charged.asked
    assert charged.served < free.served / 2


def test_a_strangers_tokens_are_charged() -> None:
    pool = SimulatedPool(images_per_minute=None, tokens_per_minute=3_000.0, discipline="fixed")
    assert beside_a_stranger(pool, 60, ten_minutes, tokens=100).strangers["studio"].served == 300
    assert beside_a_stranger(pool, 60, ten_minutes).strangers["studio"].refused == 0


def test_a_stranger_holds_its_places_for_as_long_as_it_is_told_to() -> None:
    pool = SimulatedPool(images_per_minute=None, max_concurrency=2)
    assert beside_a_stranger(pool, 60, ten_minutes).strangers["studio"].refused == 0
    held = beside_a_stranger(pool, 60, ten_minutes, hold_s=10.0)
    # Two places, each taken again within a second or so after 10 s.
    assert 600 / 11.2 * 2 - 2 <= held.strangers["studio"].served <= 600 / 10 * 2 + 2
    own = held.pool_of("sk-sim-a")
    assert own
    assert own.admit(1, 0, 600.0) is None
    assert own.admit(1, 0, 600.0) is None


def test_strangers_come_at_the_same_times_in_every_run_of_one_seed() -> None:
    async def times(world: World, found: list[float]) -> None:
        for _ in range(2_000):
            before = world.strangers["studio"].asked
            await trio.sleep(0.01)
            if world.strangers["studio"].asked > before:
                found.append(trio.current_time())

    runs: list[list[float]] = [[], [], []]
    for found, seed in zip(runs, (1, 1, 2), strict=True):
        beside_a_stranger(SimulatedPool(), 60, partial(times, found=found), {"seed": seed})
    assert runs[0] == runs[1] != runs[2]
    gaps = [later - earlier for earlier, later in zip(runs[0], runs[0][1:], strict=False)]
    assert 0.78 <= min(gaps) < 0.95
    assert 1.05 < max(gaps) <= 1.22


@pytest.mark.parametrize("how", [{"images_per_minute": 0}, {"images_per_minute": 5, "tokens": -1}, {"images_per_minute": 5, "hold_s": -1}])
def test_strangers_that_cannot_be_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a stranger asks for"):
        trio.run(partial(World(SimulatorSettings()).stranger, "unlimited", **how))
    with pytest.raises(ValueError, match="there is no pool 'nowhere'"):
        trio.run(World(SimulatorSettings()).stranger, "nowhere", 5.0)
