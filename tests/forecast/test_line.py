from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from reliability.simulation import Items, Line, Simulation

from headrace.forecast.report import estimated
from headrace.settings import CacheSettings, PoolSettings, RunSettings, Settings
from headrace.sources import Source

if TYPE_CHECKING:
    from pathlib import Path

POOLS: dict[str, list[dict[str, Any]]] = {
    "calls": [{"name": "a", "max_concurrency": 12}],
    "tokens": [{"name": "a", "images_per_minute": 400, "tokens_per_minute": 30_000}],
    "images": [{"name": "a", "images_per_minute": 70}, {"name": "b", "images_per_minute": 20}],
    "models": [{"name": "a", "images_per_minute": 60}, {"name": "b", "images_per_minute": 60, "models": ["gpt-image-2"]}],
}


@pytest.mark.parametrize("name", POOLS)
def test_the_line_starts_its_last_call_when_it_was_told_to_and_costs_what_was_told(tmp_path: Path, name: str) -> None:
    models = ("gpt-image-2.5-flare", "gpt-image-2", "gpt-image-2")
    asked = [{"prompt": f"fox {i % 75}", "model": models[i % 75 % 3], "size": "1536x1024"} for i in range(80)]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f"{json.dumps(each)}\n" for each in asked))
    pools = tuple(PoolSettings(**each) for each in POOLS[name])
    cache = CacheSettings(dir=str(tmp_path / "cache"), policy="canonical")
    real = Settings(pool=pools, cache=cache, run=RunSettings(out_dir=str(tmp_path / "out")))
    told = trio.run(estimated, real, Source(str(source)), {})
    simulation = Simulation(1, attrs.evolve(real, run=attrs.evolve(real.run, simulate=True)))
    line, last_at = Line(items=Items(asked)), []

    async def run() -> None:
        async with simulation.open() as race:
            started = trio.current_time()
            await simulation.line(race, line)
            last_at.append(max(pool.last_at or 0.0 for pool in race.statistics()) - started)

    simulation.run(run)
    results: list[dict[str, Any]] = [result.as_dict() for result in line.results]
    paid = [result for result in results if result["strategy"] == "primary"]
    assert len(paid) == told["paid"]["prompts"] == 75
    assert told["paid"]["cost_usd"] == pytest.approx(sum(result["cost_usd"] for result in paid))
    # How long the last calls take is chance.
    assert told["time"]["starts_s"] == pytest.approx(last_at[0], rel=0.1)
