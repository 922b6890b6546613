"""Train the verifier of the semantic cache, and print what its thresholds rest on.

    python benchmarks/train_verifier.py DATA [--out FILE] [--encoder NAME] [--vectors FILE]

DATA is what ``pairs.py`` says. A quarter of all prompts, by hash, is left out of everything here: ``cache_quality.py`` measures the shipped
file with those. Thresholds are set on predictions of models that have not seen the prompt, in folds by prompt. Only what comes as far as
the verifier is encoded; ``--vectors`` keeps the vectors for the next run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from edits import ROLES
from pairs import PARAPHRASE, SEED, Pair, Vectors, digests, pairs
from sklearn.ensemble import HistGradientBoostingClassifier
from templates import EXCHANGED, TOLD_OTHERWISE

from headrace.cache.features import NAMES, features
from headrace.cache.judge import FLOOR
from headrace.cache.verifier import VERSION
from headrace.cache.vetoes import veto
from headrace.cache.words import read
from headrace.settings import ENCODER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FOLDS = 5
BUDGETS = (0.001, 0.005, 0.01)
SWAPS = frozenset({"swap obj", "swap att"})
HARD = ROLES | {"replace rel", EXCHANGED}
"""Families whose pairs have all or nearly all words in common, those of the data first, and what they weigh in the training."""
WEIGHT_OF_SWAPS, WEIGHT_OF_HARD, WEIGHT_OF_OTHERS = 12.0, 4.0, 1.5
WEIGHT_OF_PARAPHRASES, WEIGHT_OF_SCENES, WEIGHT_OF_REWRITES = 3.0, 0.5, 1.0
SHARE = 0.8
"""Part of a budget that is used: the rest is kept for kinds of edits that nobody has thought of."""
WORST, SMALLEST = 4, 40
"""No family of so many pairs has more than so many times the budget (2 % at 0.5 %)."""
LEAST_WORST = 0.02
"""Less than that few families are large enough to tell."""


class Table(NamedTuple):
    """Pairs as the verifier sees them: only those that come as far as it."""

    pairs: list[Pair]
    rows: NDArray[np.float64]
    same: NDArray[np.bool_]
    passes: NDArray[np.bool_]
    """Whether the verifier is asked at all."""
    equal: NDArray[np.bool_]
    """Whether they are canonically equal."""


def tabled(found: Sequence[Pair], vectors: Vectors) -> Table:
    """Features of all pairs that nothing decides before the verifier."""
    readings = [(read(pair.asked), read(pair.known)) for pair in found]
    equal = np.array([asked.canonical == known.canonical for asked, known in readings])
    open_ = [place for place, (asked, known) in enumerate(readings) if not equal[place] and veto(asked, known) is None]
    cosines = vectors.cosines([found[place].asked for place in open_], [found[place].known for place in open_])
    rows = np.zeros((len(found), len(NAMES)))
    passes = np.zeros(len(found), np.bool_)
    for place, cosine in zip(open_, cosines, strict=True):
        if cosine >= FLOOR:
            passes[place] = True
            rows[place] = features(*readings[place], float(cosine))
    return Table(list(found), rows, np.array([pair.same for pair in found]), passes, equal)


def fitted(table: Table, chosen: NDArray[np.bool_]) -> HistGradientBoostingClassifier:
    """Trees from the chosen pairs."""
    # Typos are left out: what is a slip and what another word takes a dictionary to tell.
    chosen = chosen & table.passes & np.array([pair.family != "typo" for pair in table.pairs])
    weights = np.array([_weight(pair) for pair in table.pairs])
    model = HistGradientBoostingClassifier(
        learning_rate=0.04,
        max_iter=600,
        max_leaf_nodes=16,
        max_features=0.3,
        min_samples_leaf=30,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=SEED,
    )
    return model.fit(table.rows[chosen], table.same[chosen], sample_weight=weights[chosen])


def _weight(pair: Pair) -> float:
    family = pair.family.split(",")[0]
    if pair.same:
        return {PARAPHRASE: WEIGHT_OF_PARAPHRASES, TOLD_OTHERWISE: WEIGHT_OF_SCENES}.get(family, WEIGHT_OF_REWRITES)
    return WEIGHT_OF_SWAPS if family in SWAPS else WEIGHT_OF_HARD if family in HARD else WEIGHT_OF_OTHERS


def cross_scores(table: Table) -> NDArray[np.float64]:
    """Scores of models that have not seen the prompt; 0 where the verifier is not asked, 1 where nobody needs it."""
    scores = np.where(table.equal, 1.1, 0.0)
    fold = np.array([hashlib.sha256(b"fold" + pair.origin.encode()).digest()[0] % FOLDS for pair in table.pairs])
    for each in range(FOLDS):
        asked = (fold == each) & table.passes
        scores[asked] = fitted(table, fold != each).predict_proba(table.rows[asked])[:, 1]
    return scores


def rates(table: Table, scores: NDArray[np.float64], threshold: float) -> dict[str, tuple[int, int]]:
    """Of each family, how many pairs are served and how many there are."""
    served, every = Counter[str](), Counter[str]()
    for pair, score in zip(table.pairs, scores, strict=True):
        every[pair.family] += 1
        served[pair.family] += bool(score >= threshold)
    return {family: (served[family], count) for family, count in sorted(every.items())}


class Leaks:
    """False hits of all families at any threshold.

    Args:
        table: the pairs.
        scores: theirs.
    """

    def __init__(self, table: Table, scores: NDArray[np.float64]) -> None:
        wrong = ~table.same
        names, self._family = np.unique(
            [pair.family for pair, counts in zip(table.pairs, wrong, strict=True) if counts], return_inverse=True
        )
        self._scores = scores[wrong]
        self._sizes = np.bincount(self._family, minlength=len(names))

    def within(self, threshold: float, budget: float) -> bool:
        """Whether the threshold keeps the budget, and the worst family what it may leak."""
        worst = self._rates(threshold)[self._sizes >= SMALLEST].max()
        return self.rate(threshold) <= SHARE * budget and bool(worst <= max(LEAST_WORST, WORST * budget))

    def rate(self, threshold: float) -> float:
        """The larger one of the rate over all pairs and the mean of the families' rates."""
        return float(max(np.mean(self._scores >= threshold), self._rates(threshold).mean()))

    def _rates(self, threshold: float) -> NDArray[np.float64]:
        return np.bincount(self._family, weights=self._scores >= threshold, minlength=len(self._sizes)) / self._sizes


def points(table: Table, scores: NDArray[np.float64]) -> list[dict[str, float]]:
    """An operating point for each budget."""
    steps = np.linspace(0.1, 1, 9001)  # what is less likely is never a hit
    leaks = Leaks(table, scores)
    paraphrases = np.array([pair.family == PARAPHRASE for pair in table.pairs])
    found = []
    for budget in BUDGETS:
        low, high = 0, len(steps) - 1
        while low < high:
            middle = (low + high) // 2
            if leaks.within(steps[middle], budget):
                high = middle
            else:
                low = middle + 1
        threshold = round(float(steps[low]), 5)
        found.append(
            {
                "budget": budget,
                "threshold": threshold,
                "false_hit_rate": round(leaks.rate(threshold), 5),
                "recall": round(float(np.mean(scores[paraphrases] >= threshold)), 4),
            }
        )
    return found


def trees(model: HistGradientBoostingClassifier) -> tuple[float, list[list[list[float]]]]:
    """The model as plain numbers: its base, and its trees in the order of :mod:`headrace.cache.verifier`."""
    every = [_rows(predictors[0].nodes) for predictors in model._predictors]  # noqa: SLF001 - scikit-learn has no public way to its trees
    return float(model._baseline_prediction.ravel()[0]), every  # noqa: SLF001 - see above


def _rows(nodes: Any) -> list[list[float]]:
    rows: list[list[float]] = []

    def walk(place: int) -> None:
        node = nodes[place]
        if node["is_leaf"]:
            rows.append([round(float(node["value"]), 5)])
            return
        row: list[float] = [int(node["feature_idx"]), round(float(node["num_threshold"]), 5), 0]
        rows.append(row)
        walk(int(node["left"]))
        row[2] = len(rows)
        walk(int(node["right"]))

    walk(0)
    return rows


def leakage(table: Table, threshold: float) -> dict[str, tuple[int, int]]:
    """False hits of each family when none of its pairs, nor of those with paraphrases, was trained with."""
    found = {}
    kinds = np.array([pair.family.split(",")[0] for pair in table.pairs])
    for kind in sorted({pair.family.split(",")[0] for pair in table.pairs if not pair.same}):
        asked = (kinds == kind) & table.passes & ~table.same
        every = int(np.sum((kinds == kind) & ~table.same))
        hits = int(np.sum(fitted(table, kinds != kind).predict_proba(table.rows[asked])[:, 1] >= threshold)) if asked.any() else 0
        found[kind] = (hits + int(np.sum(table.equal & (kinds == kind) & ~table.same)), every)
    return found


def main() -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(description="Train the verifier of the semantic cache.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--encoder", default=ENCODER, help="name or path of another model")
    parser.add_argument("--vectors", type=Path, metavar="FILE", help=".npz where vectors are kept")
    parser.add_argument("--date", default="2026-11-23", help="of the evidence")
    options = parser.parse_args()
    found = pairs(options.data, held=False)
    vectors = Vectors(options.encoder, options.vectors)
    table = tabled(found, vectors)
    scores = cross_scores(table)
    operating = points(table, scores)
    for point in operating:
        print(
            f"budget {point['budget']:.1%}: threshold {point['threshold']}, "
            f"false hits {point['false_hit_rate']:.3%}, paraphrases {point['recall']:.1%}"
        )
    default = operating[BUDGETS.index(0.005)]["threshold"]
    printed("by models that have not seen the prompt, at 0.5 %", rates(table, scores, default))
    left_out = leakage(table, default)
    printed("family left out of the training", left_out)
    if options.out is not None:
        base, every = trees(fitted(table, np.ones(len(found), dtype=np.bool_)))
        evidence = {
            "data": digests(options.data),
            "seed": SEED,
            "date": options.date,
            "held_out": "prompts whose SHA-256 begins with a byte divisible by 4",
            "thresholds": f"on scores of {FOLDS} folds by prompt; rates: the larger one of all pairs' and the families' mean",
            "share_of_budget": SHARE,
            "pairs": {family: count for family, (_, count) in rates(table, scores, 2.0).items()},
            "family_left_out": {family: [served, count] for family, (served, count) in left_out.items()},
        }
        shipped = {
            "version": VERSION,
            "encoder": vectors.encoder.fingerprint,
            "features": list(NAMES),
            "points": operating,
            "evidence": evidence,
            "base": base,
            "trees": every,
        }
        options.out.write_text(json.dumps(shipped, separators=(",", ":")) + "\n", encoding="utf-8")


def printed(title: str, found: dict[str, tuple[int, int]]) -> None:
    """A row a family."""
    print(f"{title:50} {'served':>7} {'of':>7}")
    for family, (served, count) in found.items():
        print(f"{family:50} {served:7} {count:7} {served / count:8.2%}")


if __name__ == "__main__":
    main()
