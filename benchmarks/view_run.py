"""The runs that the live view is measured and photographed with."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from headrace.assembly import open_race
from headrace.settings import CacheSettings, KeySettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from headrace.race import Race

A_MINUTE = 300.0
OTHER_MODEL = "gpt-image-2.5-sunburst"
OUT_OF_CREDIT = 262
THINGS = ("a lighthouse", "two foxes", "a tram", "an orchard", "a violin", "three kites", "a glass teapot", "a paper boat")
PLACES = ("in the rain", "at dawn", "on a hill", "under neon light", "in deep snow", "in a bottle", "at low tide")
STYLES = ("watercolour", "linocut", "gouache", "studio photograph", "charcoal sketch", "pixel art", "oil on canvas")
DEMO = (
    # name, images, tokens and calls that the settings allow, images that the server allows
    ("studio", 120.0, 60_000.0, 20, 120.0),
    ("agency", 90.0, 40_000.0, 12, 60.0),
    ("lab", 30.0, None, 6, 30.0),  # for another model
)


def plain() -> Iterator[str]:
    """As many as anybody takes, all different."""
    return (f"a lighthouse, print number {number}" for number in itertools.count())


def demo() -> list[dict[str, Any]]:
    """A campaign: every thing in every place and style, some of them twice, some in medium quality, a few that fail."""
    prompts: list[dict[str, Any]] = [
        {"prompt": f"{thing} {place}, {style}", "id": f"spring-{number:04}"}
        for number, (style, place, thing) in enumerate(itertools.product(STYLES, PLACES, THINGS))
    ]
    for number, prompt in enumerate(prompts):
        if number % 9 == 4:  # noqa: PLR2004 - now and then
            prompts[number] = prompts[number - 4] | {"id": prompt["id"]}
        elif number % 41 == 7:  # noqa: PLR2004
            prompt["prompt"] += " [[fault:moderation_blocked]]"
        elif number % 12 == 10:  # noqa: PLR2004
            prompt["model"] = OTHER_MODEL
            prompt["prompt"] += " [[fault:insufficient_quota]]" * (number == OUT_OF_CREDIT)
        elif number == 60:  # noqa: PLR2004
            prompt["size"] = "512x512"
        elif number % 3 == 0:
            prompt["quality"] = "medium"
    return prompts


def _models(name: str) -> tuple[str, ...]:
    return {"lab": ("*sunburst",), "studio": ("*flare",), "agency": ("*flare",)}.get(name, ())


@asynccontextmanager
async def crowd(folder: Path, pools: int) -> AsyncIterator[Race]:
    """A race over so many organisations that allow 300 images a minute together; over those of the picture where it is 0."""
    rows = [(f"studio-{number:03}", A_MINUTE / pools, None, 8, A_MINUTE / pools) for number in range(pools)] or DEMO
    settings = Settings(
        pool=tuple(
            PoolSettings(name=name, images_per_minute=images, tokens_per_minute=tokens, max_concurrency=calls, models=_models(name))
            for name, images, tokens, calls, _ in rows
        ),
        key=tuple(KeySettings(name=f"{name}-a", pool=name, env="SIMULATED") for name, *_ in rows),
        cache=CacheSettings(policy="off" if pools else "exact", dir=str(folder / "cache")),
        run=RunSettings(simulate=True, journal=True, out_dir=str(folder), max_cost_usd=None if pools else 5.0),
    )
    theirs = tuple(
        SimulatedPool(
            name=name,
            keys=(f"sk-sim-primary-{name}-a",),
            images_per_minute=images,
            tokens_per_minute=tokens,
            max_concurrency=calls,
            burst_s=60.0 if pools else 6.0,
        )
        for name, _, tokens, calls, images in rows
    )
    world = World(SimulatorSettings(pools=theirs, pictures="template", latency_s=4.0 if pools else 6.0))
    async with open_race(settings, app=make_app(world)) as race:
        yield race
