"""How often each policy of the cache serves the wrong picture, and how often the right one, by kind of edit.

    python benchmarks/cache_quality.py DATA
    python benchmarks/cache_quality.py --stream FILE

The pairs are made from prompts that ``train_verifier.py`` has left out, so the figures are those of the shipped verifier on prompts that
it has not seen; those "by hand" no generator has made. ``--stream`` feeds a file of prompts, one a line, in its order, and lists every hit
by meaning for reading.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from edits import FORMATTING, HAND_WRITTEN
from train_verifier import PARAPHRASE, Pair, encoded, pairs

from headrace.cache.difference import difference
from headrace.cache.judge import FLOOR, Verified
from headrace.cache.verifier import Verifier
from headrace.cache.words import read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

CANDIDATES = 5
COSINES = (0.92, 0.6)
"""The article's rule, and GPTCache's."""
POLICIES = ("canonical", "0.1 %", "0.5 %", "1 %", "cos .92", "cos .6")


def measured(found: Sequence[Pair], verifier: Verifier) -> list[tuple[Pair, tuple[bool, ...]]]:
    """What each of :data:`POLICIES` would serve."""
    fingerprint, vectors = encoded(text for pair in found for text in (pair.asked, pair.known))
    verifier.check(fingerprint)
    judges = [Verified(verifier, budget) for budget in (0.001, 0.005, 0.01)]
    answers = []
    for pair in found:
        asked, known = read(pair.asked), read(pair.known)
        cosine = float(vectors[pair.asked] @ vectors[pair.known])
        verdicts = [judge.judge(asked, known, cosine).same for judge in judges]
        answers.append((pair, (asked.canonical == known.canonical, *verdicts, *(cosine >= threshold for threshold in COSINES))))
    return answers


def upper(hits: int, count: int) -> float:
    """Upper end of Wilson's 95 % interval; of no hits the rule of three."""
    if not hits:
        return min(1.0, 3 / count)
    z, share = 1.96, hits / count
    middle, spread = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle + spread) / (1 + z * z / count)


def printed(title: str, answers: Sequence[tuple[Pair, tuple[bool, ...]]], group: Callable[[Pair], str]) -> None:
    """A table by family, the sum last."""
    families: dict[str, list[tuple[bool, ...]]] = defaultdict(list)
    for pair, served in answers:
        families[group(pair)].append(served)
    print(f"\n{title:42}{'pairs':>6} " + "".join(f"{policy:>10}" for policy in POLICIES) + "   at 0.5 %")
    for family, rows in (*sorted(families.items()), ("all", [served for _, served in answers])):
        totals = [sum(column) for column in zip(*rows, strict=True)]
        shares = "".join(f"{total / len(rows):10.2%}" for total in totals)
        print(f"{family:42}{len(rows):6} {shares}   {totals[2]} hits, 95 % below {upper(totals[2], len(rows)):.2%}")


def quality(data: Path, verifier: Verifier) -> None:
    """Print the tables."""
    found = pairs(data, held=True) + [Pair(f"by hand: {family}", asked, known, same, asked) for family, asked, known, same in HAND_WRITTEN]
    answers = measured(found, verifier)
    wrong = [answer for answer in answers if not answer[0].same]
    right = [answer for answer in answers if answer[0].same]
    printed("other pictures (false hits)", wrong, lambda pair: pair.family)
    printed("same picture: formatting (served)", [each for each in right if each[0].family in FORMATTING], lambda pair: pair.family)
    printed("same picture: in other words (served)", [each for each in right if each[0].family not in FORMATTING], lambda pair: pair.family)
    paraphrased = [served for pair, served in right if pair.family == PARAPHRASE]
    print(f"\nhuman-checked paraphrases served at 0.5 %: {np.mean([served[2] for served in paraphrased]):.1%} of {len(paraphrased)}")


def stream(file: Path, verifier: Verifier, budget: float) -> None:
    """Feed prompts in their order; print hits by tier, and every hit that is not to the letter."""
    prompts = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    _, vectors = encoded(prompts)
    judge = Verified(verifier, budget)
    matrix: NDArray[np.float32] = np.zeros((len(prompts), len(vectors[prompts[0]])), np.float32)
    stored: list[str] = []
    exact: set[str] = set()
    keys: dict[str, str] = {}
    tiers: Counter[str] = Counter()
    for prompt in prompts:
        key = read(prompt).canonical
        cosines = matrix[: len(stored)] @ vectors[prompt]
        if prompt in exact:
            tiers["exact"] += 1
            continue
        if key in keys:
            known, verdict = keys[key], None
        else:
            near = [place for place in np.argsort(-cosines)[:CANDIDATES] if cosines[place] >= FLOOR]
            tiers["with a candidate"] += bool(near)
            verdicts = ((stored[place], judge.judge(read(prompt), read(stored[place]), float(cosines[place]))) for place in near)
            known, verdict = next(((known, verdict) for known, verdict in verdicts if verdict.same), ("", None))
        if known:
            tiers["canonical" if verdict is None else "verified"] += 1
            told = "canonical" if verdict is None else f"score {verdict.score:.4f}, cosine {verdict.cosine:.4f}"
            print(f"\nasked {prompt}\nknown {known}\n{told}: {difference(prompt, known)}")
            continue
        tiers["miss"] += 1
        exact.add(prompt)
        keys[key] = prompt
        matrix[len(stored)] = vectors[prompt]
        stored.append(prompt)
    print(f"\n{len(prompts)} prompts: " + ", ".join(f"{count} {tier}" for tier, count in sorted(tiers.items())))


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description="False hits and served rewrites of the semantic cache, by kind of edit.")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--stream", type=Path, metavar="FILE")
    parser.add_argument("--budget", type=float, default=0.005)
    parser.add_argument("--verifier", type=Path, help="instead of the shipped one")
    options = parser.parse_args()
    verifier = Verifier.load(options.verifier)
    if options.data is not None:
        quality(options.data, verifier)
    if options.stream is not None:
        stream(options.stream, verifier, options.budget)


if __name__ == "__main__":
    main()
