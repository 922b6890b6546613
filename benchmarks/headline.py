"""The tests of the article of July 2025 that this project grew from, in virtual time, with its figures beside ours.

    python benchmarks/headline.py [--seed 1] [--json FILE] [--plots DIR]

Its own benchmark: 100 prompts with one key one at a time, with three keys five at a time, and with three keys ten at a time and a cache.
Its headline: from 45 to 486 pictures a minute. The limits are its tiers (``article-2025-07/...``: calls, tokens and calls at once; no limit
of images), which the simulated API keeps by continuous buckets, rejected calls charged.

What had to be chosen, since the article does not say it:

* A fresh picture is 1424x1424 at high quality, which costs its $0.07.
* 13 of 100 calls meet a fault, so that whoever asks once gets its 87 %: 7 fail after their time, 3 are turned away, 1 breaks before its
  answer, and 2 are paid for and arrive broken.
* The answer takes 4.2 s or 2.3 s on average, whoever asks; each row is measured with both.
* 30 of 100 prompts ask for an earlier one's picture, half of them in other letters or in a politer form.

The naive client is a loop, or several at once, that asks once and gives a prompt up on every error; a refusal costs it no time. headrace
has its defaults without the fallbacks, so that a picture is the one that was asked for. A picture counts when it arrived whole; the rate
is over the time until the last prompt is settled; the price is all that is billed, spoilt pictures too, over the pictures that count.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import attrs
import trio
from naive import ask_once
from reliability.simulation import Simulation, chance
from rewrites import FORMATTING, same
from show import keep, machine, options, table
from templates import scene

from headrace.admission.retry import RetryPolicy
from headrace.cache.canonical import canonical
from headrace.models import catalogue
from headrace.records import Status, Strategy
from headrace.settings import CacheSettings, FallbackSettings, PoolSettings, RequestSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from random import Random

    from headrace.records import Result

REQUEST = RequestSettings(size="1424x1424", quality="high", output_format="webp", output_compression=70)
FAULTS = {"server_error": 0.07, "overloaded": 0.03, "reset": 0.01, "disconnect": 0.01, "truncated_png": 0.01}
SIGMA = 0.35
LATENCIES_S = (4.2, 2.3)
OWN_LATENCY_S = 2.3
REPEATS = 0.3
ARTICLE = {
    "before": {"tier": 2, "pictures_per_minute": 45.0, "success": 0.87, "latency_s": 4.2, "usd": 0.07},
    "after": {"tier": 4, "pictures_per_minute": 486.0, "success": 0.992, "latency_s": 2.3, "usd": 0.049},
}


@attrs.frozen(kw_only=True)
class Setting:
    """One row: who asks, for how much, and under which limits."""

    name: str
    tier: int
    prompts: int
    keys: int = 1
    """Each with a tier's limits of its own."""
    at_once: int | None = None
    """Calls, or headrace's prompts, at once; None is what headrace makes of the limits."""
    naive: bool = False
    cache: bool = False


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of it."""

    prompts: int
    finished_s: tuple[float, ...]
    """When each picture was there."""
    seconds: float
    """Until the last prompt was settled."""
    latency_s: float
    """Mean of the calls that brought a picture."""
    latency_with_hits_s: float
    """Mean of the pictures, where one that took no call of its own took no time."""
    usd: float
    """A picture."""
    calls: int
    refused: int
    """Calls over a limit."""

    @property
    def pictures_per_minute(self) -> float:
        """Over the whole time."""
        return len(self.finished_s) / self.seconds * 60

    @property
    def success(self) -> float:
        """Pictures a prompt."""
        return len(self.finished_s) / self.prompts

    def figures(self) -> dict[str, float]:
        """What is kept of it."""
        kept = attrs.asdict(self, filter=attrs.filters.exclude("finished_s"))
        return {**kept, "pictures": len(self.finished_s), "pictures_per_minute": self.pictures_per_minute, "success": self.success}


SHOWN = ("pictures/min", "success", "latency s", "with hits s", "USD a picture", "429s")
OWN = (
    Setting(name="1 key, 1 at a time, no cache", tier=3, prompts=100, at_once=1),
    Setting(name="3 keys, 5 at a time, no cache", tier=3, prompts=100, keys=3, at_once=5),
    Setting(name="3 keys, 10 at a time, cache", tier=3, prompts=100, keys=3, at_once=10, cache=True),
)
LOOP = Setting(name="naive, a loop", tier=2, prompts=300, at_once=1, naive=True)
HEADLINE = (
    LOOP,
    Setting(name="naive, 5 at once", tier=2, prompts=300, at_once=5, naive=True),
    Setting(name="headrace", tier=2, prompts=300),
    Setting(name="naive, 20 at once", tier=4, prompts=1_500, at_once=20, naive=True),
    Setting(name="headrace", tier=4, prompts=1_500),
    Setting(name="headrace, cache", tier=4, prompts=1_500, cache=True),
)


def main() -> int:
    """Run everything and print the tables; 1 where headrace was refused, or answered less of all prompts than the article claims."""
    given = options(__doc__).parse_args()
    own = {setting: measured(setting, OWN_LATENCY_S, given.seed) for setting in OWN}
    headline = {seconds: {setting: measured(setting, seconds, given.seed) for setting in HEADLINE} for seconds in LATENCIES_S}
    print(machine())
    figures = {
        "article": ARTICLE,
        "faults": FAULTS,
        "repeats": REPEATS,
        "attempts": RetryPolicy().attempts,
        "own": _kept(OWN_LATENCY_S, own),
        "headline": [row for seconds, outcomes in headline.items() for row in _kept(seconds, outcomes)],
        "claims": list(_claims()),
    }
    for each in tables(figures):
        table(*each)
    keep(given.json, figures)
    if given.plots:
        _plot(headline[OWN_LATENCY_S], given.plots)
    ours = [outcome for outcomes in (own, *headline.values()) for setting, outcome in outcomes.items() if not setting.naive]
    answered = sum(len(outcome.finished_s) for outcome in ours) / sum(outcome.prompts for outcome in ours)
    return 0 if answered >= ARTICLE["after"]["success"] and not any(outcome.refused for outcome in ours) else 1


def _kept(server_s: float, outcomes: Mapping[Setting, Outcome]) -> list[dict[str, Any]]:
    return [{"server_s": server_s, **attrs.asdict(setting), **outcome.figures()} for setting, outcome in outcomes.items()]


def measured(setting: Setting, latency_s: float, seed: int) -> Outcome:
    """The row's run in virtual time; the server's mean latency is in seconds."""
    prompts = made_up(setting.prompts, chance(seed, "prompts"))
    api = SimulatorSettings(latency_s=latency_s / math.exp(SIGMA**2 / 2), sigma=SIGMA, faults=FAULTS)
    with tempfile.TemporaryDirectory(prefix="headrace-headline-") as place:
        simulation = Simulation(seed, _settings(setting, Path(place)), api)
        if setting.naive:
            finished_s, seconds = ask_once(simulation, _request(), prompts, setting.at_once or 1)
            hits = 0
        else:
            finished_s, seconds, hits = _headrace(simulation, prompts)
    calls = simulation.door.calls
    took = [call.ended - call.at for call in calls if call.usable and call.ended is not None]
    return Outcome(
        prompts=len(prompts),
        finished_s=tuple(finished_s),
        seconds=seconds,
        latency_s=fmean(took),
        latency_with_hits_s=sum(took) / (len(took) + hits),
        usd=sum(call.usd for call in calls if call.billed) / len(finished_s),
        calls=len(calls),
        refused=sum(call.status == 429 for call in calls),  # noqa: PLR2004 - HTTP
    )


def made_up(number: int, dice: Random) -> list[str]:
    """Prompts of which three in ten ask for an earlier one's picture."""
    again = set(dice.sample(range(1, number), round(number * REPEATS)))
    first, fresh, prompts = dice.randrange(1_000_000), dict[str, str](), list[str]()
    for place in range(number):
        if place in again:
            text = dice.choice(list(fresh.values()))
            prompts.append(_reworded(text, dice) if dice.random() < 0.5 else text)  # noqa: PLR2004 - half of them
            continue
        while canonical(text := scene(first).told(0)) in fresh:
            first += 1
        fresh[canonical(text)] = text
        prompts.append(text)
    return prompts


def _reworded(text: str, dice: Random) -> str:
    return dice.choice([edit.text for edit in same(text, dice.randrange(1_000)) if edit.family in FORMATTING])


def _settings(setting: Setting, place: Path) -> Settings:
    tier = f"article-2025-07/{setting.tier}"
    return Settings(
        request=REQUEST,
        pool=tuple(PoolSettings(name=f"key-{number}", tier=tier) for number in range(setting.keys)),
        cache=CacheSettings(policy="canonical" if setting.cache else "off", dir=str(place / "cache")),
        fallback=FallbackSettings(ladder=()),
        run=RunSettings(out_dir=str(place / "out"), max_in_flight=setting.at_once, simulate=True),
    )


def _request() -> dict[str, Any]:
    return attrs.asdict(REQUEST, filter=lambda _, value: value is not None)


def _headrace(simulation: Simulation, prompts: Sequence[str]) -> tuple[list[float], float, int]:
    ended: list[tuple[float, Result]] = []

    async def main() -> None:
        async with simulation.open() as race, race.results(prompts) as results:
            ended.extend([(trio.current_time(), result) async for result in results])

    simulation.run(main)
    finished = [(at, result) for at, result in ended if result.status is Status.OK]
    hits = sum(result.strategy is not Strategy.PRIMARY for _, result in finished)
    return [at for at, _ in finished], ended[-1][0], hits


def tables(figures: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Titles, columns and rows, from what ``--json`` keeps."""
    own = [[row["name"], f"{row['seconds']:.0f}", str(row["calls"]), *_shown(row)] for row in figures["own"]]
    title = f"The article's benchmark: headrace, {figures['own'][0]['prompts']} prompts, tier {figures['own'][0]['tier']} a key"
    yield f"{title}, a server of {figures['own'][0]['server_s']:g} s", ["", "seconds", "calls", *SHOWN], own
    rows: list[list[str]] = []
    for when, claimed in figures["article"].items():
        times = claimed["pictures_per_minute"] / figures["article"]["before"]["pictures_per_minute"]
        shown = f"{claimed['pictures_per_minute']:.0f}", f"{claimed['success']:.1%}", f"{claimed['latency_s']:.2f}", ""
        rows.append([f"the article claims, {when}", str(claimed["tier"]), "", *shown, f"{claimed['usd']:.4f}", "", f"{times:.1f}"])
    for row in figures["headline"]:
        loop = next(each for each in figures["headline"] if each["name"] == LOOP.name and each["server_s"] == row["server_s"])
        times = row["pictures_per_minute"] / loop["pictures_per_minute"]
        rows.append([row["name"], str(row["tier"]), f"{row['server_s']:g}", *_shown(row), f"{times:.1f}"])
    yield "The article's headline: one key", ["", "tier", "server s", *SHOWN, "x the loop"], rows
    # Calls at once are calls a second times seconds a call (Little's law).
    claims = []
    for claim in figures["claims"]:
        at_once = claim["calls"] * claim["latency_s"] / 60
        limits = [f"{claim['requests_per_minute']:.0f}", str(claim["max_concurrency"])]
        claims.append([claim["name"], f"{claim['calls']:.0f}", f"{at_once:.1f}", *limits])
    yield "What the claims take", ["", "calls/min", "calls at once", "tier's calls/min", "tier's at once"], claims


def _shown(row: Mapping[str, Any]) -> list[str]:
    latencies = f"{row['latency_s']:.2f}", f"{row['latency_with_hits_s']:.2f}"
    return [f"{row['pictures_per_minute']:.0f}", f"{row['success']:.1%}", *latencies, f"{row['usd']:.4f}", str(row["refused"])]


def _claims() -> Iterator[dict[str, Any]]:
    for name, when, hits in (("before", "before", 0.0), ("after", "after", 0.0), (f"after, with {REPEATS:.0%} hits", "after", REPEATS)):
        claimed = ARTICLE[when]
        limits = catalogue().tier(f"article-2025-07/{claimed['tier']}")
        calls = claimed["pictures_per_minute"] / claimed["success"] * (1 - hits)
        at_once = {"requests_per_minute": limits.requests_per_minute, "max_concurrency": limits.max_concurrency}
        yield {"name": name, "calls": calls, "latency_s": claimed["latency_s"], **at_once}


def _plot(outcomes: Mapping[Setting, Outcome], folder: Path) -> None:
    from plots import finished  # noqa: PLC0415 - matplotlib only where plots are asked for

    finished_min, limits = {}, {}
    for tier in (2, 4):
        shown = {setting.name: outcome for setting, outcome in outcomes.items() if setting.tier == tier}
        finished_min[f"minutes, tier {tier}"] = {name: [at / 60 for at in outcome.finished_s] for name, outcome in shown.items()}
        limits[f"minutes, tier {tier}"] = catalogue().tier(f"article-2025-07/{tier}").requests_per_minute or 0.0
    finished(folder / "headline.svg", f"pictures finished, one key, a server of {OWN_LATENCY_S:g} s", finished_min, limits)


if __name__ == "__main__":
    sys.exit(main())
