"""What ``headrace estimate`` says beside what the run itself then takes and costs, through the simulator and with the same settings.

    python benchmarks/estimate.py FILE... [--seed 1] [--json FILE]

FILE is a TSV with a column Prompt, or a text with one prompt a line. Three runs for each:

* as it is: ``headrace run`` against a simulated API on loopback, with three organisations of different size, in real time;
* mixed: the same, with the first 400 prompts at different models, qualities, sizes and numbers, over organisations of which one is bound
  by images, one by tokens, one by calls at once, and one is for one model only;
* tiers: all prompts, mixed, at the limits of usage tiers 4 and 3, in virtual time.

A simulated picture takes as long as a real one. The time of a run is that of its process, from start to end, and in virtual time that of
the line. Exit status 1 where a time or a cost differs by more than 10 %.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import attrs
import trio
from loopback import loopback_api
from prompt_files import prompts_of
from reliability.simulation import Items, Line, Simulation, chance
from show import keep, machine, options, table

from headrace.forecast.latency import latency
from headrace.forecast.report import estimated
from headrace.models import catalogue
from headrace.owners import simulated_owners, simulated_pools
from headrace.settings import CacheSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings
from headrace.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

WITHIN = 0.1
SECONDS = 70.0
"""That a run in real time is to take, about: limits are chosen accordingly."""
PATIENCE_S = 600.0
FEW = 400
"""Mixed prompts in real time: two cores would not keep up with the large pictures of more."""
FLARE, SUNBURST = "gpt-image-2.5-flare", "gpt-image-2.5-sunburst"
MODELS = (FLARE, FLARE, SUNBURST)
QUALITIES, WEIGHTS = ("low", "medium", "high"), (5, 3, 2)
NUMBERS = (1, 1, 1, 2)
SIZES = ("1024x1024", "1536x1024", "1024x1536", "2048x2048")
SHARES = (1, 2, 4)


@attrs.frozen(kw_only=True)
class Row:
    """One run beside its estimate."""

    case: str
    prompts: int
    paid: tuple[int, int]
    """Prompts, estimated and actual; so are the next two, in seconds and in USD."""
    seconds: tuple[float, float]
    usd: tuple[float, float]
    binding: str

    @property
    def good(self) -> bool:
        """Whether time and cost are near enough."""
        return all(abs(told / actual - 1) <= WITHIN for told, actual in (self.seconds, self.usd))

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        pairs = ((self.paid, ",.0f", ""), (self.seconds, ",.1f", " s"), (self.usd, ",.4f", " USD"))
        shown = (f"{told:{form}} / {actual:{form}}{unit}" for (told, actual), form, unit in pairs)
        ratios = (f"{told / actual:.3f}" for told, actual in (self.seconds, self.usd))
        paid, seconds, usd = shown
        by_time, by_cost = ratios
        return (self.case, f"{self.prompts:,}", paid, seconds, by_time, usd, by_cost, self.binding)


def main() -> int:
    """Run it and print the table; 1 where an estimate was off."""
    parser = options(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    rows = []
    for path in chosen.files:
        prompts = prompts_of(path)
        random = chance(chosen.seed, path.name)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plain, few, mixed = folder / "plain.txt", folder / "few.jsonl", folder / "mixed.jsonl"
            few.write_text("".join(json.dumps(_asked(prompt, random)) + "\n" for prompt in prompts[:FEW]), "utf-8")
            plain.write_text("".join(f"{prompt}\n" for prompt in prompts), "utf-8")
            mixed.write_text("".join(json.dumps(_asked(prompt, random)) + "\n" for prompt in prompts), "utf-8")
            rows += [
                _in_real_time(f"{path.name}, as it is", plain, _three(len(prompts)), folder / "a"),
                _in_real_time(f"{path.name}, mixed", few, _four(min(FEW, len(prompts))), folder / "b"),
                _in_virtual_time(f"{path.name}, mixed, tiers", mixed, chosen.seed, folder / "c"),
            ]
    print(machine())
    columns = ("run", "prompts", "paid: est. / actual", "time: est. / actual", "ratio", "cost: est. / actual", "ratio", "binds most")
    table("the estimate beside the run", columns, [row.cells() for row in rows])
    keep(chosen.json, [attrs.asdict(row) for row in rows])
    return 0 if all(row.good for row in rows) else 1


def _three(prompts: int) -> list[PoolSettings]:
    whole = prompts * 60 / SECONDS
    return [PoolSettings(name=f"p{share}", images_per_minute=round(whole * share / sum(SHARES))) for share in SHARES]


def _four(prompts: int) -> list[PoolSettings]:
    """Bound by images, by tokens, by calls at once, and one for one model only."""
    each = 1.1 * fmean(NUMBERS) * prompts * 60 / SECONDS / 4
    busy_s = each / fmean(NUMBERS) / 60 * _mean(lambda model, quality, _: latency(simulated=False).mean_s(model, quality))
    tokens = each * _mean(lambda model, quality, size: catalogue().model(model).picture_tokens(size, quality))
    return [
        PoolSettings(name="images", images_per_minute=round(each)),
        PoolSettings(name="tokens", images_per_minute=round(3 * each), tokens_per_minute=round(tokens)),
        PoolSettings(name="calls", images_per_minute=round(3 * each), max_concurrency=max(1, round(busy_s))),
        PoolSettings(name="flare", images_per_minute=round(each), models=(FLARE,)),
    ]


def _mean(of: Callable[[str, str, str], float]) -> float:
    """Over all that is asked for."""
    weights = dict(zip(QUALITIES, WEIGHTS, strict=True))
    asked = list(product(MODELS, QUALITIES, SIZES))
    return sum(weights[quality] * of(model, quality, size) for model, quality, size in asked) / sum(weights[each] for _, each, _ in asked)


def _in_real_time(case: str, source: Path, pools: Sequence[PoolSettings], folder: Path) -> Row:
    owners = simulated_owners(pools, ())
    # Template pictures: to draw them takes a processor 50 to 120 ms each, and here that would bind before the limits do.
    with loopback_api(SimulatorSettings(pools=simulated_pools(owners), pictures="template")) as url:
        folder.mkdir()
        config = folder / "headrace.toml"
        config.write_text(_config(url, pools, folder), "utf-8")
        environ = {**os.environ, **{f"BENCH_{owner.name}": owner.keys[0].secret.reveal() for owner in owners}}
        given = [str(source), "-c", str(config), "--out-dir", str(folder / "out")]
        told = json.loads(_headrace({**os.environ}, "estimate", *given, "--json"))
        started = time.monotonic()
        output = _headrace(environ, "run", *given)
        seconds = time.monotonic() - started
    return _row(case, told, [json.loads(line) for line in output.splitlines()], seconds)


def _config(url: str, pools: Sequence[PoolSettings], folder: Path) -> str:
    tables = [f'[provider]\nbase_url = "{url}"\n[cache]\ndir = "{folder}/cache"\n']
    for pool in pools:
        # JSON's texts, numbers and lists are TOML's as well.
        named = attrs.asdict(pool, filter=lambda _, value: value not in (None, (), False))
        tables.append("[[pool]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in named.items()))
        tables.append(f'[[key]]\nname = "key-{pool.name}"\npool = "{pool.name}"\nenv = "BENCH_{pool.name}"\n')
    return "".join(tables)


def _in_virtual_time(case: str, source: Path, seed: int, folder: Path) -> Row:
    folder.mkdir()
    pools = (PoolSettings(name="four", tier=4), PoolSettings(name="three", tier=3, models=(FLARE,)))
    real = Settings(pool=pools, cache=CacheSettings(dir=str(folder / "cache")), run=RunSettings(out_dir=str(folder / "out")))
    told = trio.run(estimated, real, Source(str(source)), {})
    simulation = Simulation(seed, attrs.evolve(real, run=attrs.evolve(real.run, simulate=True)))
    line = Line(items=Items(map(json.loads, source.read_text("utf-8").splitlines())))
    took: list[float] = []

    async def run() -> None:
        async with simulation.open() as race:
            started = trio.current_time()
            await simulation.line(race, line)
            took.append(trio.current_time() - started)

    simulation.run(run)
    return _row(case, told, [result.as_dict() for result in line.results], took[0])


def _row(case: str, told: dict[str, Any], results: Sequence[dict[str, Any]], seconds: float) -> Row:
    bad = [result for result in results if result["status"] != "ok"]
    if len(bad) != told["bad"]:
        raise SystemExit(f"{case}: {len(bad)} prompts failed, {told['bad']} were to: {bad[0]['error'] if bad else ''}")
    paid = [result for result in results if result["strategy"] == "primary"]
    most = told["time"]["binding"][0]
    return Row(
        case=case,
        prompts=len(results),
        paid=(told["paid"]["prompts"], len(paid)),
        seconds=(told["time"]["seconds"], seconds),
        usd=(told["paid"]["cost_usd"], sum(result["cost_usd"] for result in results)),
        binding=f"{most['cause']}{'' if most['pool'] is None else ' of ' + most['pool']} ({most['weight']:.0%})",
    )


def _headrace(environ: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "headrace", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=PATIENCE_S, check=False)  # noqa: S603 - our own command
    if done.returncode not in (0, 1):
        raise SystemExit(f"headrace {arguments[0]} ended with {done.returncode}: {done.stderr}")
    print(done.stderr, file=sys.stderr)
    return done.stdout


def _asked(prompt: str, random: Random) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "model": random.choice(MODELS),
        "quality": random.choices(QUALITIES, WEIGHTS)[0],
        "size": random.choice(SIZES),
        "n": random.choice(NUMBERS),
    }


if __name__ == "__main__":
    sys.exit(main())
