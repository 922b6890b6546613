"""The whole line in virtual time against the simulator, under every fault of the API, of its keys and of the input.

Each fault meets one pool or two, with and without a fallback, a cache, a journal and a budget, as the seed says. A trial is lost where a
prompt has not exactly one result, ok with its pictures or failed with its reason; where something hangs or is still held at the end; where
the door gets more than a limit in some 60 s; or where results, journal and the API's bill disagree.

From the folder ``benchmarks``, ``python -m reliability.matrix [SEEDS] [FAULT ...]`` tells each fault by itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.records import Kind, Status
from headrace.settings import KeySettings, PoolSettings
from headrace.simulator import SimulatorSettings
from headrace.simulator.faults import FAULTS
from reliability.bad_input import INPUTS, bad_input
from reliability.outcome import Outcome
from reliability.simulation import Simulation, chance
from reliability.trial import DISCIPLINES, folder, one_line, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headrace.records import Result

SEEDS = 20
SHORT_SEEDS = 2
_MOST_CALLS = 3_000
_ENDS_THE_PROMPT = frozenset({"invalid_value", "unknown_parameter", "model_not_found", "moderation_blocked", "content_policy_violation"})
_ENDS_THE_RUN = frozenset({Kind.NO_POOL, Kind.OVER_BUDGET})
_PROBABILITY = 0.3


def http_fault(name: str, seed: int) -> list[str]:
    """A few prompts of which some meet the fault never, once, twice or always; with odd seeds any call may meet it."""
    dice, likely = chance(seed, name), seed % 2 == 1
    prompts = [
        *(f"a cat {number}" for number in range(4)),
        *(f"an owl {number} [[fault:{name}*1]]" for number in range(2)),
        f"a dog [[fault:{name}*2]]",
        f"a fox [[fault:{name}]]",
    ]
    dice.shuffle(prompts)
    prompts.append(prompts[0])  # asked for twice
    api = SimulatorSettings(latency_s=10.0, faults={name: _PROBABILITY} if likely else {})

    def check(results: list[Result]) -> Iterator[str]:
        for result in results if not likely else ():
            text = result.prompt or ""
            passes = "[[" not in text or ("*" in text and name not in _ENDS_THE_PROMPT)
            if passes and result.status is not Status.OK and (result.error is None or result.error.kind not in _ENDS_THE_RUN):
                yield f"{text!r} is {result.status}: {result.error}"

    with folder() as place:
        chosen = settings(place, dice)
        chosen = attrs.evolve(
            chosen,
            provider=attrs.evolve(chosen.provider, timeout_s=dice.choice((90.0, 300.0))),
            run=attrs.evolve(chosen.run, max_cost_usd=dice.choice((None, None, None, 0.03)), max_wait_s=600.0),
        )
        return one_line(Simulation(seed, chosen, api, most_calls=_MOST_CALLS), prompts, check=check)


def _revoked(simulation: Simulation) -> None:
    simulation.world.revoke(simulation.owners[0].keys[0].secret.reveal())


def _halved(simulation: Simulation) -> None:
    simulation.world.change_limit("one", images_per_minute=15)


def _penniless(simulation: Simulation) -> None:
    simulation.world.bench("one", "insufficient_quota")


def _shared(simulation: Simulation) -> None:
    """One picture of somebody else's: at one each 6.7 s of 30 a minute that is 30 %."""
    pool = simulation.world.pool_of(simulation.owners[0].keys[0].secret.reveal())
    if pool is not None and pool.admit(1, 300, trio.current_time()) is None:
        pool.leave()


KEY_FAULTS: dict[str, tuple[Callable[[Simulation], None], float | None]] = {
    "key revoked in mid-run": (_revoked, None),
    "quota cut in half in mid-run": (_halved, None),
    "money of one pool gone in mid-run": (_penniless, None),
    "a stranger takes 30 % of the limit": (_shared, 60 / 9),
}
"""What happens, and after how many seconds it happens again, if it does."""


def key_fault(name: str, seed: int) -> list[str]:
    """Forty prompts, two pools, and something that happens to one of them: the other takes over, so every prompt gets its picture."""
    dice, (strike, every_s) = chance(seed, name), KEY_FAULTS[name]
    pools = (
        PoolSettings(name="one", images_per_minute=30, max_concurrency=dice.choice((None, 4))),
        PoolSettings(name="two", images_per_minute=30),
    )
    keys = tuple(KeySettings(name=key, pool=pool, env="KEY") for key, pool in (("a", "one"), ("b", "one"), ("c", "two")))
    first_s = 0.0 if every_s else dice.uniform(0, 60)

    def check(results: list[Result]) -> Iterator[str]:
        for result in results:
            if result.status is not Status.OK:
                yield f"prompt {result.seq} is {result.status}: {result.error}"

    with folder() as place:
        api = SimulatorSettings(latency_s=10.0)
        discipline = dice.choice(DISCIPLINES)
        simulation = Simulation(
            seed,
            settings(place, dice, pools=pools, keys=keys),
            api,
            pools=lambda pool: attrs.evolve(pool, discipline=discipline),
            most_calls=_MOST_CALLS,
        )

        async def meddle() -> None:
            await trio.sleep(first_s)
            strike(simulation)
            while every_s:
                await trio.sleep(every_s)
                strike(simulation)

        return one_line(simulation, [f"a cat {number}" for number in range(40)], meddle=meddle, check=check)


_KINDS: tuple[tuple[str, Sequence[str], Callable[[str, int], list[str]]], ...] = (
    ("API", tuple(FAULTS), http_fault),
    ("keys", tuple(KEY_FAULTS), key_fault),
    ("input", tuple(INPUTS), bad_input),
)


def tried(fault: str, trial: Callable[[str, int], list[str]], seeds: int) -> list[str]:
    """What a fault breaks under so many seeds, a line each."""
    return [f"{fault}, {failure}" for seed in range(seeds) for failure in trial(fault, seed)]


def outcomes(short: bool) -> list[Outcome]:
    """One outcome for each kind of fault."""
    seeds = SHORT_SEEDS if short else SEEDS
    found = []
    for kind, faults, trial in _KINDS:
        broken = [failure for fault in faults for failure in tried(fault, trial, seeds)]
        found.append(Outcome(f"faults of the {kind}", seeds * len(faults), tuple(broken), f"{len(faults)} faults, {seeds} seeds each"))
    return found


def main() -> None:
    """Print a line a fault."""
    seeds, names = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS, sys.argv[2:]
    for kind, faults, trial in _KINDS:
        for fault in faults:
            if not names or fault in names:
                broken = tried(fault, trial, seeds)
                print(f"{kind:6} {fault:40} {seeds:5} trials {len(broken):5} failures", flush=True)
                for failure in broken[:5]:
                    print(f"    {failure}")


if __name__ == "__main__":
    main()
