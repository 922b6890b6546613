"""One trial: a line runs to its end in a simulation, something meddles with it, and every invariant is looked at."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from headrace.errors import lone
from headrace.journal.status import status
from headrace.settings import AlternativeSettings, CacheSettings, FallbackSettings, KeySettings, PoolSettings, RunSettings, Settings
from reliability.invariants import held, lost, overspent, running, unbalanced, unexplained, unjournalled
from reliability.simulation import Items, Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from random import Random

    from headrace.records import Result
    from headrace.simulator.settings import Discipline
    from reliability.simulation import Simulation

DAY_S = 86_400.0
DISCIPLINES: tuple[Discipline, ...] = ("continuous", "sliding", "fixed")
ALTERNATIVE = AlternativeSettings(
    base_url="https://alternative.example/v1",
    model="gpt-image-2",
    pool=(PoolSettings(name="other", images_per_minute=60),),
    key=(KeySettings(name="other", pool="other", env="OTHER"),),
)
LADDERS: tuple[FallbackSettings, ...] = (
    FallbackSettings(ladder=()),
    FallbackSettings(ladder=("reduced_quality",)),
    FallbackSettings(ladder=("reduced_quality", "alternative_api"), alternative=ALTERNATIVE),
)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one trial."""
    with tempfile.TemporaryDirectory(prefix="headrace-trial-") as name:
        yield Path(name)


def a_pool(name: str, dice: Random) -> PoolSettings:
    """A pool with limits of any size, or without."""
    return PoolSettings(
        name=name,
        images_per_minute=dice.choice((None, 5, 30, 61, 120, 600)),
        requests_per_minute=dice.choice((None, None, 20, 90)),
        tokens_per_minute=dice.choice((None, None, 4_000, 30_000)),
        max_concurrency=dice.choice((None, 1, 2, 5)),
    )


def settings(place: Path, dice: Random, *, pools: tuple[PoolSettings, ...] | None = None, keys: tuple[KeySettings, ...] = ()) -> Settings:
    """Settings of one or two pools, with or without a cache, a ladder and an order."""
    return Settings(
        pool=pools or tuple(a_pool(name, dice) for name in ("one", "two")[: dice.randint(1, 2)]),
        key=keys,
        cache=CacheSettings(policy=dice.choice(("off", "exact")), dir=str(place / "cache")),
        fallback=dice.choice(LADDERS),
        run=RunSettings(
            out_dir=str(place / "out"),
            max_in_flight=dice.choice((None, 1, 3, 12)),
            ordered=dice.random() < 0.5,  # noqa: PLR2004 - a coin
            journal=dice.random() < 0.5,  # noqa: PLR2004 - a coin
            simulate=True,
        ),
    )


def journal_of(chosen: Settings) -> dict[str, Any] | None:
    """What ``headrace status --json`` says of the output folder, where it has a journal."""
    return status(chosen.run.out_dir) if chosen.run.journal else None


def one_line(
    simulation: Simulation,
    items: Iterable[object],
    *,
    meddle: Callable[[], Awaitable[None]] | None = None,
    prompts: int | None = None,
    check: Callable[[list[Result]], Iterable[str]] = lambda _: (),
) -> list[str]:
    """What is broken after one line over ``items``.

    Args:
        simulation: the API and the settings.
        items: the input.
        meddle: runs beside the line.
        prompts: how many prompts ``items`` hold, where not every item is one.
        check: what else has to be true of the results.
    """
    line, broken = Line(items=Items(items)), list[str]()

    async def main() -> None:
        async with simulation.open() as race:
            async with trio.open_nursery() as beside:
                if meddle is not None:
                    beside.start_soon(meddle)
                await simulation.line(race, line)
                beside.cancel_scope.cancel()
            broken.extend(held(race))
            # Blank lines are read and hold nothing.
            most = race.max_in_flight if prompts is None else None
        broken.extend(running())
        broken.extend(lost(line, prompts=prompts, ordered=simulation.settings.run.ordered, most=most))

    try:
        simulation.run(main, patience_s=DAY_S)
    except trio.TooSlowError:
        broken.append(
            f"hangs: {len(line.results)} of {line.items.read} prompts have a result, {len(simulation.door.calls)} calls were made"
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the trial found
        broken.append(f"breaks: {lone(error) if isinstance(error, BaseExceptionGroup) else error!r}")
    calls, whole = simulation.door.calls, not broken
    broken += unexplained(line.results, Path(simulation.settings.run.out_dir))
    broken += simulation.door.broken_limits()
    broken += unbalanced(calls, line.results, whole=whole)
    broken += unjournalled(calls, journal_of(simulation.settings))
    broken += overspent(calls, simulation.settings.run.max_cost_usd)
    broken += check(line.results)
    return [f"seed {simulation.seed}: {each}" for each in broken]
