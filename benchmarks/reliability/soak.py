"""Random runs of one virtual hour each, as a seed says.

Limits, keys, latencies, faults, budgets, prompts, lines beside each other, cancellations, drains and restarts on the same folder are all
drawn. A run is lost where a line that came to its end has not exactly one result for each prompt, something is still held or running, a
limit is exceeded over some 60 s at the API's door, the budget is overspent by more than what is in flight, or what was finished is paid for
again.

From the folder ``benchmarks``, ``python -m reliability.soak --seed 17`` repeats one run and says what it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from headrace.errors import lone
from headrace.records import Status, Strategy
from reliability.hour import Hour, imagined
from reliability.invariants import held, lost, overspent, running, unbalanced, unexplained, unjournalled
from reliability.outcome import Outcome
from reliability.simulation import Items, Line, Simulation, chance
from reliability.trial import DAY_S, folder, journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from headrace.records import Result

RUNS = 1_000
SHORT_RUNS = 20
_TOLD_EVERY = 50
_CACHED = frozenset({Strategy.PRIMARY, Strategy.CACHE_EXACT})
"""What made a result whose picture the cache has afterwards."""


class _Run:
    """One seeded run: an hour of some lines, in one process after the other on the same folder."""

    def __init__(self, seed: int, place: Path) -> None:
        self.seed = seed
        self.hour = imagined(chance(seed, "hour"), place)
        self.simulation = Simulation(seed, self.hour.settings, self.hour.api, pools=self.hour.api_pool)
        self.lives: list[list[Line]] = []
        self.cuts: dict[int, float] = {}
        """Process -> when it was cancelled, for those that were."""
        self.broken: list[str] = []

    def play(self) -> list[str]:
        """Run it; returns what is broken."""
        try:
            self.simulation.run(self._lives, patience_s=DAY_S)
        except trio.TooSlowError:
            results = sum(len(line.results) for lines in self.lives for line in lines)
            self.broken.append(f"hangs with {results} results after {len(self.simulation.door.calls)} calls")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the run found
            self.broken.append(f"breaks: {lone(error) if isinstance(error, BaseExceptionGroup) else error!r}")
        self.broken += self._books()
        return [f"seed {self.seed}: {each}" for each in self.broken]

    async def _lives(self) -> None:
        for number, cut_s in enumerate(self.hour.lives_s):
            dice = chance(self.seed, f"life {number}")
            lines = [Line(items=Items(self.hour.items, _pauses(dice, self.hour.arrival_s))) for _ in range(self.hour.lines)]
            self.lives.append(lines)
            async with self.simulation.open() as race:
                with trio.move_on_after(cut_s) as life:
                    async with trio.open_nursery() as beside:
                        beside.start_soon(self._meddle)
                        async with trio.open_nursery() as side_by_side:
                            for line in lines:
                                pauses = _pauses(dice, self.hour.consumer_s)
                                side_by_side.start_soon(self._line, race, line, pauses)
                        beside.cancel_scope.cancel()
                if life.cancelled_caught:
                    self.cuts[self.simulation.door.life] = trio.current_time()
                self.broken.extend(held(race))
                most = race.max_in_flight
            self.broken.extend(running())
            self.broken.extend(unjournalled(self.simulation.door.calls, journal_of(self.hour.settings)))
            for line in lines:
                whole, ordered = not life.cancelled_caught, self.hour.settings.run.ordered
                self.broken.extend(lost(line, whole=whole, ordered=ordered, most=most))

    async def _line(self, race: Any, line: Line, pauses: Any) -> None:
        await self.simulation.line(race, line, pause_s=pauses, drain_s=self.hour.drain_s)

    async def _meddle(self) -> None:
        for at_s, strike in self.hour.strikes:
            await trio.sleep_until(at_s)
            strike(self.simulation.world)

    def _books(self) -> Iterator[str]:
        results = [result for lines in self.lives for line in lines for result in line.results]
        calls, run = self.simulation.door.calls, self.hour.settings.run
        whole = not self.broken and all(cut_s == float("inf") for cut_s in self.hour.lives_s)
        yield from unexplained(results, Path(run.out_dir))
        yield from self.simulation.door.broken_limits()
        yield from overspent(calls, run.max_cost_usd, together=run.journal)
        if self.hour.settings.provider.estimator == "vendor":
            # Out of the journal a result comes again as it was, with its cost.
            costs = {result.item: result for result in results}.values() if run.journal else results
            yield from unbalanced(calls, costs, whole=whole)
        if run.journal and run.in_doubt == "hold" and self.hour.lines == 1:
            yield from self._asked_again()
        if run.journal or self.hour.settings.cache.policy == "exact":
            yield from self._paid_again()

    def _asked_again(self) -> Iterator[str]:
        """What is to be held is not asked for again: what was under way when a process was cancelled."""
        calls = self.simulation.door.calls
        for text in _once(self.hour.items):
            own = [call for call in calls if call.prompt == text]
            cut = [call.life for call in own if call.in_doubt and call.ended == self.cuts.get(call.life)]
            if cut and any(call.life > cut[0] for call in own):
                yield f"{text!r} was in doubt after life {cut[0]} and asked for again"

    def _paid_again(self) -> Iterator[str]:
        """What one process finished is not paid for by a later one, as far as the journal or the cache remembers it."""
        journal = self.hour.settings.run.journal
        texts = Counter(item for item in self.hour.items if isinstance(item, str))
        others = {item["prompt"] for item in self.hour.items if isinstance(item, dict)}
        for text, times in texts.items():
            if text in others:
                continue
            calls = [call for call in self.simulation.door.calls if call.prompt == text and call.billed]
            asked = times * self.hour.lines
            if journal and (usable := sum(call.usable for call in calls)) > asked:
                yield f"{text!r} is asked for {asked} times and was made {usable} times"
            if journal and self.hour.lines > 1:
                continue  # lines beside each other finish each other's prompts, and who has what is not told apart
            for number, lines in enumerate(self.lives, 1):
                done = sum(result.prompt == text and _remembered(result, journal=journal) for line in lines for result in line.results)
                if done == asked and (later := sum(call.life > number for call in calls)):
                    yield f"{text!r} was finished in life {number} and paid for {later} times afterwards"


def _once(items: tuple[object, ...]) -> Iterator[str]:
    """The texts that one item alone asks for."""
    texts = Counter(item["prompt"] if isinstance(item, dict) else item for item in items)
    return (text for text, times in texts.items() if times == 1 and isinstance(text, str))


def _remembered(result: Result, *, journal: bool) -> bool:
    return result.status is Status.OK and (journal or result.strategy in _CACHED)


def _pauses(dice: Random, mean_s: float) -> Any:
    return (lambda: dice.expovariate(1 / mean_s)) if mean_s else (lambda: 0.0)


def soak(seeds: range) -> Outcome:
    """The runs of these seeds."""
    broken: list[str] = []
    calls, started = 0, time.monotonic()
    for done, seed in enumerate(seeds, 1):
        with folder() as place:
            run = _Run(seed, place)
            broken += run.play()
            calls += len(run.simulation.door.calls)
        if done % _TOLD_EVERY == 0:
            elapsed_s = time.monotonic() - started
            print(f"{done} of {len(seeds)} runs, {calls:,} calls, {len(broken)} failures, {elapsed_s:.0f} s", file=sys.stderr, flush=True)
    return Outcome("random hours", len(seeds), tuple(broken), note=f"{calls:,} calls")


def outcomes(short: bool) -> list[Outcome]:
    """One outcome for all runs."""
    return [soak(range(SHORT_RUNS if short else RUNS))]


def main() -> None:
    """Run many seeds, or one again."""
    parser = argparse.ArgumentParser(description="Random runs of one virtual hour each.")
    parser.add_argument("runs", type=int, nargs="?", default=RUNS)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="repeat the run of this seed alone")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        with folder() as place:
            print(_told(imagined(chance(chosen.seed, "hour"), place)))
    seeds = range(chosen.first, chosen.first + chosen.runs) if chosen.seed is None else range(chosen.seed, chosen.seed + 1)
    outcome = soak(seeds)
    for failure in outcome.failures:
        print(failure)
    print(f"{outcome.trials} runs, {len(outcome.failures)} failures, {outcome.note}")
    sys.exit(bool(outcome.failures))


def _told(hour: Hour) -> str:
    return "\n".join(f"{name}: {value}" for name, value in attrs.asdict(hour, recurse=False).items())


if __name__ == "__main__":
    main()
