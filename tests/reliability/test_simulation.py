from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from reliability.door import Call, Door, RunawayError
from reliability.simulation import Items, Line, Simulation, pinned
from trio._core import _run as scheduler

from headrace.admission.bucket import Bucket
from headrace.models import Limits
from headrace.owners import Owner
from headrace.settings import CacheSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FAULTS = {"server_error": 0.1, "reset": 0.1, "disconnect": 0.05, "truncated_png": 0.05}
POOLS = (
    PoolSettings(name="small", images_per_minute=30, max_concurrency=3),
    PoolSettings(name="large", images_per_minute=120, tokens_per_minute=9_000),
)
IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_simulation import traced
print(traced(int(sys.argv[4]), Path(sys.argv[3])))
"""


def simulation(seed: int, place: Path, api: SimulatorSettings | None = None, **options: Any) -> Simulation:
    settings = Settings(
        pool=POOLS,
        cache=CacheSettings(policy="exact", dir=str(place / "cache")),
        run=RunSettings(out_dir=str(place / "out"), simulate=True, journal=True),
    )
    return Simulation(seed, settings, api or SimulatorSettings(latency_s=10.0, faults=FAULTS), **({"most_calls": 1_000} | options))


def ran(simulated: Simulation, prompts: int) -> Line:
    line = Line(items=Items([f"cat {number}" for number in range(prompts)]))

    async def main() -> None:
        async with simulated.open() as race:
            await simulated.line(race, line)
            simulated.events.append(str(race.statistics()))

    simulated.run(main)
    return line


def traced(seed: int, place: Path) -> str:
    simulated = simulation(seed, place)
    assert len(ran(simulated, 40).results) == 40
    assert len(simulated.door.calls) > 40
    return simulated.trace()


def test_the_same_seed_gives_the_same_run_to_the_last_event_and_another_seed_another_one(tmp_path: Path) -> None:
    traces = [traced(seed, tmp_path / name) for seed, name in ((5, "one"), (5, "again"), (6, "other"))]
    assert traces[0] == traces[1] != traces[2]


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_a_run_is_the_same_in_another_process(tmp_path: Path, hash_seed: str) -> None:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(BENCHMARKS), str(Path(__file__).parent), str(tmp_path / "there"), "5"]
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - our own command
    assert ended.stdout.strip() == traced(5, tmp_path / "here")


def test_trio_is_left_as_it_was() -> None:
    private = vars(scheduler)
    before = private["_ALLOW_DETERMINISTIC_SCHEDULING"], private["_r"].getstate()
    with pinned(1):
        assert private["_ALLOW_DETERMINISTIC_SCHEDULING"] is True
        first = private["_r"].random()
    with pinned(1):
        assert private["_r"].random() == first
    assert (private["_ALLOW_DETERMINISTIC_SCHEDULING"], private["_r"].getstate()) == before


def test_what_waits_for_nothing_is_a_hang_and_not_the_end_of_time(tmp_path: Path) -> None:
    with pytest.raises(trio.TooSlowError):
        simulation(0, tmp_path).run(trio.sleep_forever)


def test_a_line_that_goes_in_circles_is_stopped_at_the_door(tmp_path: Path) -> None:
    simulated = simulation(0, tmp_path, SimulatorSettings(latency_s=0.0), most_calls=3)
    with pytest.RaisesGroup(RunawayError, flatten_subgroups=True):
        ran(simulated, 10)


def test_the_door_notices_a_client_that_does_not_keep_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(pool: SimulatedPool) -> SimulatedPool:
        return attrs.evolve(pool, images_per_minute=None, tokens_per_minute=None)

    kept, broken = (simulation(3, tmp_path / name, SimulatorSettings(latency_s=1.0), pools=generous) for name in ("kept", "broken"))
    ran(kept, 300)
    assert not list(kept.door.broken_limits())
    monkeypatch.setattr(Bucket, "earliest", lambda _bucket, _cost, now: now)
    monkeypatch.setattr(Bucket, "ready", float("-inf"))
    ran(broken, 300)
    found = [re.sub(r" got [\d.]+ (\w+) .*", r" \1", each) for each in broken.door.broken_limits()]
    assert found == ["pool large images", "pool large tokens"]


def door(limits: Limits, calls: Sequence[Call]) -> Door:
    door = Door(World(SimulatorSettings()), [Owner(name="one", limits=limits, keys=())])
    door.calls.extend(calls)
    return door


def call(at: float, **other: object) -> Call:
    plain = Call(at=at, life=1, pool="one", key="a", prompt="a cat", images=1, estimated=100, used=100, usd=0.01)
    for name, value in other.items():
        setattr(plain, name, value)
    return plain


@pytest.mark.parametrize(("last", "broken"), [(59.999, True), (60.0, False)])
def test_a_window_is_sixty_seconds_from_any_instant(last: float, broken: bool) -> None:
    calls = [call(7.0), call(8.0), call(7.0 + last)]
    assert bool(list(door(Limits(images_per_minute=2), calls).broken_limits())) is broken
    assert bool(list(door(Limits(requests_per_minute=2), calls).broken_limits())) is broken
    assert bool(list(door(Limits(tokens_per_minute=200), calls).broken_limits())) is broken
    assert not list(door(Limits(images_per_minute=3), calls).broken_limits())


def test_a_process_that_was_started_again_is_judged_by_itself() -> None:
    calls = [call(1.0), call(2.0, life=2)]
    assert not list(door(Limits(images_per_minute=1), calls).broken_limits())


@pytest.mark.parametrize(
    ("ended", "outcome", "broken"), [(5.0, "ok", False), (9.0, "ok", True), (5.0, "server_error", True), (5.0, "truncated_png", True)]
)
def test_tokens_count_as_estimated_until_a_usable_answer_says_what_they_were(ended: float, outcome: str, broken: bool) -> None:
    first = call(1.0, used=10, ended=ended, outcome=outcome, answered=True)
    found = list(door(Limits(tokens_per_minute=150), [first, call(8.0)]).broken_limits())
    assert bool(found) is broken
