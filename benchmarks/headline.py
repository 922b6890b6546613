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

import base64
import math
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import attrs
import httpx
import trio
from reliability.simulation import Simulation, chance
from rewrites import FORMATTING, same
from show import keep, machine, options, table
from templates import scene

from headrace.cache.canonical import canonical
from headrace.models import catalogue
from headrace.records import Status, Strategy
from headrace.settings import CacheSettings, FallbackSettings, PoolSettings, RequestSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from headrace.records import Result

REQUEST = RequestSettings(size="1424x1424", quality="high", output_format="webp", output_compression=70)
FAULTS = {"server_error": 0.07, "overloaded": 0.03, "reset": 0.01, "disconnect": 0.01, "truncated_png": 0.01}
SIGMA = 0.35
LATENCIES_S = (4.2, 2.3)
OWN_LATENCY_S = 2.3
REPEATS = 0.3
ARTICLE = {
    "before": {"pictures_per_minute": 45.0, "success": 0.87, "latency_s": 4.2, "usd": 0.07},
    "after": {"pictures_per_minute": 486.0, "success": 0.992, "latency_s": 2.3, "usd": 0.049},
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

    def shown(self) -> tuple[str, ...]:
        """What a table has of it, under ``SHOWN``."""
        latencies = f"{self.latency_s:.2f}", f"{self.latency_with_hits_s:.2f}"
        return f"{self.pictures_per_minute:.0f}", f"{self.success:.1%}", *latencies, f"{self.usd:.4f}", str(self.refused)

    def figures(self) -> dict[str, float]:
        """What is kept of it."""
        kept = attrs.asdict(self, filter=attrs.filters.exclude("finished_s"))
        return {**kept, "pictures": len(self.finished_s), "pictures_per_minute": self.pictures_per_minute, "success": self.success}


SHOWN = ("pictures/min", "success", "latency s", "with hits s", "USD a picture", "429s")
NOTES = """\
Latency is the server's, the same for every client: a client changes what a prompt takes by hits alone ("with hits").
Of the article's factor of 10.8, 10 is the tier: 500 calls a minute against 50. A loop at 4.2 s a call makes 14 a minute, not 52.
A naive client several at once starts with a full bucket, a minute's limit, above the pace. Once that is spent, refusals are charged
and it gives up what is left; 1,500 prompts do not spend it at tier 4, where it is fast and loses the prompts that meet a fault.
headrace counts every call towards the limit, also one that fails: 500 calls a minute are at most 435 fresh pictures with these faults.
It gives a prompt up after four attempts: 3 in 10,000 meet four faults in a row.
At 4.2 s a call tier 4's 20 calls at once are 286 a minute for any client: what the article claims there takes a server of 2.3 s."""
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
    _tell_own(own)
    _tell_headline(headline)
    _tell_claims()
    print(NOTES)
    every = [(OWN_LATENCY_S, *row) for row in own.items()]
    every += [(seconds, *row) for seconds, outcomes in headline.items() for row in outcomes.items()]
    rows = [{"server_s": seconds, **attrs.asdict(setting), **outcome.figures()} for seconds, setting, outcome in every]
    keep(given.json, {"article": ARTICLE, "rows": rows})
    if given.plots:
        _plot(headline[OWN_LATENCY_S], given.plots)
    ours = [outcome for _, setting, outcome in every if not setting.naive]
    answered = sum(len(outcome.finished_s) for outcome in ours) / sum(outcome.prompts for outcome in ours)
    return 0 if answered >= ARTICLE["after"]["success"] and not any(outcome.refused for outcome in ours) else 1


def measured(setting: Setting, latency_s: float, seed: int) -> Outcome:
    """The row's run in virtual time; the server's mean latency is in seconds."""
    prompts = made_up(setting.prompts, chance(seed, "prompts"))
    api = SimulatorSettings(latency_s=latency_s / math.exp(SIGMA**2 / 2), sigma=SIGMA, faults=FAULTS)
    with tempfile.TemporaryDirectory(prefix="headrace-headline-") as place:
        simulation = Simulation(seed, _settings(setting, Path(place)), api)
        run = _naive if setting.naive else _headrace
        finished_s, seconds, hits = run(simulation, prompts, setting.at_once or 1)
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


def _headrace(simulation: Simulation, prompts: Sequence[str], _: int) -> tuple[list[float], float, int]:
    ended: list[tuple[float, Result]] = []

    async def main() -> None:
        async with simulation.open() as race, race.results(prompts) as results:
            ended.extend([(trio.current_time(), result) async for result in results])

    simulation.run(main)
    finished = [(at, result) for at, result in ended if result.status is Status.OK]
    hits = sum(result.strategy is not Strategy.PRIMARY for _, result in finished)
    return [at for at, _ in finished], ended[-1][0], hits


def _naive(simulation: Simulation, prompts: Sequence[str], at_once: int) -> tuple[list[float], float, int]:
    key, waiting = simulation.owners[0].keys[0].secret, iter(prompts)
    body = attrs.asdict(REQUEST, filter=lambda _, value: value is not None)

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(simulation.door)) as client, trio.open_nursery() as nursery:
            client.headers["Authorization"] = f"Bearer {key.reveal()}"
            for _ in range(at_once):
                nursery.start_soon(worker, client)

    async def worker(client: httpx.AsyncClient) -> None:
        for prompt in waiting:
            try:
                answer = await client.post("http://simulated/v1/images/generations", json={**body, "prompt": prompt})
                base64.b64decode(answer.raise_for_status().json()["data"][0]["b64_json"])
            except (httpx.HTTPError, OSError, ValueError):
                continue

    simulation.run(main)
    ended = [(call.ended or 0.0, call.usable) for call in simulation.door.calls]
    return sorted(at for at, usable in ended if usable), max(at for at, _ in ended), 0


def _tell_own(outcomes: Mapping[Setting, Outcome]) -> None:
    rows = [(setting.name, f"{outcome.seconds:.0f}", outcome.calls, *outcome.shown()) for setting, outcome in outcomes.items()]
    title = f"The article's benchmark: headrace, 100 prompts, tier 3 a key, a server of {OWN_LATENCY_S:g} s"
    table(title, ("", "seconds", "calls", *SHOWN), rows)


def _tell_headline(by_latency: Mapping[float, Mapping[Setting, Outcome]]) -> None:
    rows: list[tuple[object, ...]] = []
    for (when, claimed), tier in zip(ARTICLE.items(), (2, 4), strict=True):
        rate, success, latency_s, usd = claimed.values()
        figures = f"{rate:.0f}", f"{success:.1%}", f"{latency_s:.2f}", "", f"{usd:.4f}", ""
        rows.append((f"the article claims, {when}", tier, "", *figures, f"{rate / ARTICLE['before']['pictures_per_minute']:.1f}"))
    for seconds, outcomes in by_latency.items():
        for setting, outcome in outcomes.items():
            times = outcome.pictures_per_minute / outcomes[LOOP].pictures_per_minute
            rows.append((setting.name, setting.tier, f"{seconds:g}", *outcome.shown(), f"{times:.1f}"))
    table("The article's headline: one key", ("", "tier", "server s", *SHOWN, "x the loop"), rows)


def _tell_claims() -> None:
    """Calls at once are calls a second times seconds a call (Little's law)."""
    rows = []
    for when, tier, hits in (("before", 2, 0.0), ("after", 4, 0.0), ("after, with 30 % hits", 4, REPEATS)):
        claimed, limits = ARTICLE[when.partition(",")[0]], catalogue().tier(f"article-2025-07/{tier}")
        calls = claimed["pictures_per_minute"] / claimed["success"] * (1 - hits)
        at_once = calls * claimed["latency_s"] / 60
        rows.append((when, f"{calls:.0f}", f"{at_once:.1f}", f"{limits.requests_per_minute:.0f}", limits.max_concurrency))
    table("What the claims take", ("", "calls/min", "calls at once", "tier's calls/min", "tier's at once"), rows)


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
