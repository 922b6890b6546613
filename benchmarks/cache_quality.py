"""How often each policy of the cache serves the wrong picture, and how often the right one, by kind of edit.

    python benchmarks/cache_quality.py DATA [--encoder NAME] [--verifier FILE] [--vectors FILE]
    python benchmarks/cache_quality.py --stream FILE

The pairs are made from prompts that ``train_verifier.py`` has left out, so the figures are those of the shipped verifier on prompts that
it has not seen; those "by hand" no generator has made. Ends with 1 where the default misses a goal. ``--stream`` feeds a file of prompts,
one a line, in its order, and lists every hit that is not to the letter, for reading.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from by_hand import HAND_WRITTEN
from pairs import PARAPHRASE, Pair, Vectors, pairs
from rewrites import FORMATTING

from headrace.cache.audit import Audit
from headrace.cache.difference import difference
from headrace.cache.judge import Verified
from headrace.cache.verifier import Verifier
from headrace.cache.words import read
from headrace.records import Prompt, Request
from headrace.settings import ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BUDGETS = (0.001, 0.005, 0.01)
DEFAULT = BUDGETS.index(0.005) + 1
COSINES = (0.92, 0.6)
"""The article's rule, and GPTCache's."""
POLICIES = ("canonical", "0.1 %", "0.5 %", "1 %", "cos .92", "cos .6")
MOST_FALSE, MOST_FALSE_OF_A_FAMILY, LEAST_PARAPHRASES, LEAST_REWRITES = 0.005, 0.02, 0.30, 0.95
SMALLEST = 40
"""Pairs that a family has to have for its rate to mean something."""


class Answer(NamedTuple):
    """A pair, and by which of :data:`POLICIES` it is served."""

    pair: Pair
    served: tuple[bool, ...]


def measured(found: Sequence[Pair], verifier: Verifier, vectors: Vectors) -> list[Answer]:
    """What each policy would do."""
    verifier.check(vectors.encoder.fingerprint)
    judges = [Verified(verifier, budget) for budget in BUDGETS]
    cosines = vectors.cosines([pair.asked for pair in found], [pair.known for pair in found])
    answers = []
    for pair, cosine in zip(found, cosines, strict=True):
        asked, known = read(pair.asked), read(pair.known)
        verdicts = [judge.judge(asked, known, float(cosine)).same for judge in judges]
        answers.append(Answer(pair, (asked.canonical == known.canonical, *verdicts, *(bool(cosine >= limit) for limit in COSINES))))
    return answers


def upper(hits: int, count: int) -> float:
    """Upper end of Wilson's 95 % interval; of no hits the rule of three."""
    if not hits:
        return min(1.0, 3 / count)
    z, share = 1.96, hits / count
    middle, spread = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle + spread) / (1 + z * z / count)


def printed(title: str, answers: Iterable[Answer]) -> dict[str, float]:
    """A row a family, the sum last; and the families' rates at the default."""
    families: dict[str, list[tuple[bool, ...]]] = defaultdict(list)
    for answer in answers:
        families[answer.pair.family].append(answer.served)
    rows = sorted(families.items())
    print(f"\n{title:42}{'pairs':>6} " + "".join(f"{policy:>10}" for policy in POLICIES) + "   at 0.5 %")
    for family, served in (*rows, ("all", [each for _, some in rows for each in some])):
        totals = [sum(column) for column in zip(*served, strict=True)]
        shares = "".join(f"{total / len(served):10.2%}" for total in totals)
        print(f"{family:42}{len(served):6} {shares}   {totals[DEFAULT]} hits, 95 % below {upper(totals[DEFAULT], len(served)):.2%}")
    return {family: float(np.mean([each[DEFAULT] for each in some])) for family, some in rows if len(some) >= SMALLEST}


def quality(data: Path, verifier: Verifier, vectors: Vectors) -> list[str]:
    """Print the tables; which goals the default misses."""
    by_hand = [Pair(f"by hand: {family}", asked, known, same, asked) for family, asked, known, same in HAND_WRITTEN]
    answers = measured(pairs(data, held=True) + by_hand, verifier, vectors)

    def chosen(title: str, fits: Callable[[Pair], bool]) -> tuple[float, dict[str, float]]:
        some = [answer for answer in answers if fits(answer.pair)]
        return float(np.mean([answer.served[DEFAULT] for answer in some])), printed(title, some)

    false, families = chosen("other pictures (false hits)", lambda pair: not pair.same)
    rewrites, _ = chosen("same picture: formatting (served)", lambda pair: pair.same and pair.family in FORMATTING)
    chosen("same picture: in other words (served)", lambda pair: pair.same and pair.family not in FORMATTING)
    paraphrases = float(np.mean([answer.served[DEFAULT] for answer in answers if answer.pair.family == PARAPHRASE]))
    worst, most = max(families.items(), key=lambda item: item[1])
    print(
        f"\nat 0.5 %: {false:.2%} false hits (goal {MOST_FALSE:.1%}), worst family of {SMALLEST} pairs or more {most:.2%} ({worst}; "
        f"goal {MOST_FALSE_OF_A_FAMILY:.0%}), {paraphrases:.1%} of human-checked paraphrases (goal {LEAST_PARAPHRASES:.0%}), "
        f"{rewrites:.2%} of formatting rewrites (goal {LEAST_REWRITES:.0%})"
    )
    goals = {
        "false hits": false <= MOST_FALSE,
        "the worst family": most <= MOST_FALSE_OF_A_FAMILY,
        "paraphrases": paraphrases >= LEAST_PARAPHRASES,
        "rewrites": rewrites >= LEAST_REWRITES,
    }
    return [goal for goal, reached in goals.items() if not reached]


def stream(file: Path, verifier: Verifier, vectors: Vectors, budget: float) -> None:
    """Feed prompts in their order; print hits by tier, and every hit that is not to the letter."""
    judge = Verified(verifier, budget)
    judge.check(vectors.encoder.fingerprint)
    audit = Audit(vectors.encoder, judge, "")
    prompts = iter([line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()])
    tiers: Counter[str] = Counter()
    while some := list(islice(prompts, 500)):
        for ruling in audit.rule([_prompt(text) for text in some]):
            tiers[ruling.tier or "miss"] += 1
            if ruling.known is None or ruling.tier in {None, "exact"}:
                continue
            scores = "" if ruling.verdict is None else f" score {ruling.verdict.score:.4f}, cosine {ruling.verdict.cosine:.4f}"
            print(f"\nasked {ruling.prompt}\nknown {ruling.known}\n{ruling.tier}{scores}: {difference(ruling.prompt, ruling.known)}")
    print(f"\n{tiers.total()} prompts: " + ", ".join(f"{count} {tier}" for tier, count in sorted(tiers.items())))


def _prompt(text: str) -> Prompt:
    return Prompt(seq=0, id="", request=Request(prompt=text, model="any", size="1x1", quality="any"))


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description="False hits and served rewrites of the semantic cache, by kind of edit.")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--stream", type=Path, metavar="FILE")
    parser.add_argument("--budget", type=float, default=0.005)
    parser.add_argument("--encoder", default=ENCODER, help="name or path of another model")
    parser.add_argument("--verifier", type=Path, metavar="FILE", help="instead of the shipped one")
    parser.add_argument("--vectors", type=Path, metavar="FILE", help=".npz where vectors are kept")
    options = parser.parse_args()
    verifier = Verifier.load(options.verifier)
    vectors = Vectors(options.encoder, options.vectors)
    if options.stream is not None:
        stream(options.stream, verifier, vectors, options.budget)
    if options.data is not None and (missed := quality(options.data, verifier, vectors)):
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
