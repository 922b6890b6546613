"""One random hour of the soak: what is asked, of whom, how fast it answers, what goes wrong and when."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import attrs

from headrace.settings import CacheSettings, KeySettings, PoolSettings, ProviderSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings
from headrace.simulator.faults import FAULTS
from reliability.trial import DISCIPLINES, LADDERS, a_pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from headrace.simulator import SimulatedPool, World

HOUR_S = 3_600.0
_MOST_PROMPTS = 120
_SLOW_TO_MAKE = frozenset({"oversized", "deep_json"})
"""They take half a second each to make; the matrix has them."""
_LAST_WORDS = (
    *("auth", "forbidden", "wrong_url", "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded"),
    *("project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_hard_limit_reached"),
)
"""Faults that end a key or a pool: a rare one is enough."""
_PASSING = tuple(name for name in FAULTS if name not in _SLOW_TO_MAKE and name not in _LAST_WORDS)


@attrs.frozen(kw_only=True)
class Hour:
    """Everything that a run is made of."""

    settings: Settings
    api: SimulatorSettings
    api_pool: Callable[[SimulatedPool], SimulatedPool] = attrs.field(repr=False)
    """What the API's own limits are."""
    items: tuple[object, ...]
    lines: int
    """So many lines beside each other read the same items."""
    lives_s: tuple[float, ...]
    """After how long each process in turn is cancelled; infinity for one that comes to its end."""
    drain_s: float
    """When no more input is taken."""
    arrival_s: float
    """Mean seconds between two items."""
    consumer_s: float
    """Mean seconds that the consumer takes for a result."""
    strikes: tuple[tuple[float, Callable[[World], None]], ...]
    """What happens to the API, and when."""


def imagined(dice: Random, place: Path) -> Hour:
    """The hour that these dice give, with its files in that folder."""
    pools = tuple(a_pool(name, dice) for name in ("one", "two", "three")[: dice.randint(1, 3)])
    keys = tuple(
        KeySettings(name=f"{pool.name}-{number}", pool=pool.name, env="KEY", weight=dice.choice((1.0, 3.0)))
        for pool in pools
        for number in range(dice.randint(1, 3))
    )
    cuts = tuple(dice.uniform(0, dice.choice((5, 60, 900))) for _ in range(dice.choice((0, 0, 1, 2))))
    return Hour(
        settings=_settings(dice, place, pools, keys),
        api=_api(dice),
        api_pool=_api_pool(dice),
        items=_items(dice),
        lines=dice.choice((1, 1, 1, 2)),
        lives_s=(*cuts, math.inf) if dice.random() < 0.8 else (*cuts, dice.uniform(0, 600)),  # noqa: PLR2004
        drain_s=dice.choice((HOUR_S, HOUR_S, dice.uniform(0, 300))),
        arrival_s=dice.choice((0.0, 0.0, 0.0, 2.0, 30.0)),
        consumer_s=dice.choice((0.0, 0.0, 0.0, 1.0, 20.0)),
        strikes=_strikes(dice, pools, keys),
    )


def _settings(dice: Random, place: Path, pools: tuple[PoolSettings, ...], keys: tuple[KeySettings, ...]) -> Settings:
    return Settings(
        provider=ProviderSettings(timeout_s=dice.choice((20.0, 90.0, 300.0)), estimator=dice.choice(("vendor", "vendor", "article"))),
        pool=pools,
        key=keys,
        cache=CacheSettings(policy=dice.choice(("off", "exact", "exact")), dir=str(place / "cache")),
        fallback=dice.choice(LADDERS),
        run=RunSettings(
            out_dir=str(place / "out"),
            max_in_flight=dice.choice((None, None, None, 1, 7, 40)),
            ordered=dice.random() < 0.3,  # noqa: PLR2004
            max_cost_usd=dice.choice((None, None, None, 0.05, 0.2)),
            max_wait_s=dice.choice((120.0, 600.0)),
            journal=dice.random() < 0.6,  # noqa: PLR2004
            in_doubt=dice.choice(("retry", "retry", "hold")),
            simulate=True,
        ),
    )


def _api(dice: Random) -> SimulatorSettings:
    names = dice.sample(_PASSING, dice.choice((0, 1, 3, 6)))
    likely = dice.choice((0.05, 0.2, 0.6)) / max(1, len(names))
    faults = dict.fromkeys(names, likely)
    if dice.random() < 0.2:  # noqa: PLR2004
        faults[dice.choice(_LAST_WORDS)] = 0.02
    return SimulatorSettings(
        latency_s=dice.choice((None, 0.0, 1.0, 10.0, 40.0)),
        sigma=dice.choice((0.0, 0.35, 1.0)),
        charge_rejected=dice.random() < 0.8,  # noqa: PLR2004
        limit_headers=dice.random() < 0.5,  # noqa: PLR2004
        faults=faults,
    )


def _api_pool(dice: Random) -> Callable[[SimulatedPool], SimulatedPool]:
    discipline = dice.choice(DISCIPLINES)
    # Sometimes the API has limits that the settings do not name, or lower ones.
    share, hidden = dice.choice((1.0, 1.0, 1.0, 0.6)), dice.choice((None, None, 20.0))

    def other(pool: SimulatedPool) -> SimulatedPool:
        images = hidden if pool.images_per_minute is None else max(1.0, pool.images_per_minute * share)
        return attrs.evolve(pool, discipline=discipline, images_per_minute=images)

    return other


def _items(dice: Random) -> tuple[object, ...]:
    """Prompts, some of them equal, some as objects, some of them none."""
    texts = [f"a cat {number}" for number in range(dice.choice((3, _MOST_PROMPTS, _MOST_PROMPTS)))]
    kinds: tuple[Callable[[str], object], ...] = (
        lambda text: {"prompt": f"{text} in ink", "n": dice.randint(1, 3)},
        lambda text: {"prompt": f"{text} in oil", "quality": "medium"},
        lambda text: {"prompt": text, "cache": dice.choice(("bypass", "refresh"))},
        lambda text: {"prompt": f"{text} again", "variation": dice.randint(0, 1)},
        lambda text: {"prompt": text, "colour": "red"},
        lambda _: 17,
    )
    share = dice.choice((0.0, 0.1, 0.4))
    # Mostly different ones: what is there already is no call.
    items = (dice.choice(texts) for _ in range(dice.randint(0, len(texts))))
    return tuple(dice.choice(kinds)(text) if dice.random() < share else text for text in items)


def _strikes(
    dice: Random, pools: tuple[PoolSettings, ...], keys: tuple[KeySettings, ...]
) -> tuple[tuple[float, Callable[[World], None]], ...]:
    possible: tuple[Callable[[World], None], ...] = (
        partial(_revoke, dice.choice(keys).name),
        partial(_limit, dice.choice(pools).name, dice.choice((2.0, 15.0, 300.0))),
        partial(_bench, dice.choice(pools).name),
    )
    chosen = dice.sample(possible, dice.choice((0, 0, 1, 2)))
    return tuple(sorted(((dice.uniform(0, 600), strike) for strike in chosen), key=lambda strike: strike[0]))


def _revoke(key: str, world: World) -> None:
    world.revoke(f"sk-sim-primary-{key}")


def _limit(pool: str, images: float, world: World) -> None:
    world.change_limit(pool, images_per_minute=images)


def _bench(pool: str, world: World) -> None:
    world.bench(pool, "insufficient_quota")
