"""Train the verifier of the semantic cache, and print what its thresholds rest on.

    python benchmarks/train_verifier.py DATA [--out FILE]

DATA holds ``paraphrase_triples.jsonl``, ``PartiPrompts.tsv``, ``geneval_prompts.txt``, ``user_prompts_10k.txt``, ``t2i_compbench/*.txt``.
A quarter of all prompts, by hash, is left out of everything here: ``cache_quality.py`` measures the shipped file with those. Thresholds are
set on predictions of models that have not seen the prompt, in folds by prompt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from edits import Edit, different, same
from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]  # it has no types

from headrace.cache.encoder import load
from headrace.cache.features import NAMES, features
from headrace.cache.judge import FLOOR
from headrace.cache.verifier import VERSION
from headrace.cache.vetoes import veto
from headrace.cache.words import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

SEED = 20261123
FOLDS = 5
BUDGETS = (0.001, 0.005, 0.01)
LICENCES = {
    "paraphrase_triples.jsonl": "MIT (SugarCrepe++; captions: COCO, CC BY 4.0)",
    "PartiPrompts.tsv": "Apache-2.0",
    "geneval_prompts.txt": "MIT",
    "t2i_compbench": "MIT",
    "user_prompts_10k.txt": "Apache-2.0 (prompts: DiffusionDB, CC0)",
}
PARAPHRASE = "paraphrase"
ROLES = frozenset(
    {
        "order",
        "objects swapped",
        "attributes swapped",
        "attribute moved",
        "relation",
        "relations swapped",
        "actions swapped",
        "counts swapped",
    }
)
"""Families whose pairs have all or nearly all words in common: the hardest ones, and what they weigh in the training."""
HUMAN_ROLES = frozenset({"swap obj", "swap att", "replace rel"})
WEIGHT_OF_ROLES, WEIGHT_OF_OTHERS, WEIGHT_OF_PARAPHRASES = 4.0, 1.5, 3.0
SHARE = 0.8
"""Part of a budget that is used: the rest is kept for kinds of edits that nobody has thought of."""


class Pair(NamedTuple):
    """Two prompts, and whether they ask for the same picture."""

    family: str
    asked: str
    known: str
    same: bool
    origin: str
    """The prompt that both were made from: folds keep it together."""


def held_out(origin: str) -> bool:
    """Whether a prompt is kept out of the training: a quarter is."""
    return hashlib.sha256(origin.encode()).digest()[0] % 4 == 0


def pairs(data: Path, *, held: bool) -> list[Pair]:
    """All pairs of the prompts that are held out, or of the others."""
    found: list[Pair] = []
    with (data / "paraphrase_triples.jsonl").open(encoding="utf-8") as lines:
        triples = [json.loads(line) for line in lines]
    for triple in triples:
        if held_out(triple["caption"]) is held:
            found += _of_triple(triple)
    seen = {triple["caption"] for triple in triples}
    for base in _prompts(data):
        if base not in seen and held_out(base) is held:
            found += _of_prompt(base, 7, 4)
    for base in _user_prompts(data)[:1600]:
        if held_out(base) is held:
            found += _of_prompt(base, 4, 1)
    # Some negatives of the data are their caption, letter by letter.
    return [pair for pair in dict.fromkeys(found) if pair.same or pair.asked != pair.known]


def _of_triple(triple: dict[str, str]) -> Iterator[Pair]:
    caption, paraphrase, negative = triple["caption"], triple["paraphrase"], triple["negative"]
    family = triple["set"].replace("_", " ")
    yield Pair(PARAPHRASE, caption, paraphrase, True, caption)
    yield Pair(f"{family}, caption", caption, negative, False, caption)
    yield Pair(f"{family}, paraphrase", negative, paraphrase, False, caption)
    for edit in _some(different(caption, SEED), 3):
        yield Pair(edit.family, edit.text, caption, False, caption)
    for edit in _some(different(caption, SEED + 1), 3):
        yield Pair(f"{edit.family}, paraphrase", edit.text, paraphrase, False, caption)
    for edit in _some((edit for edit in different(paraphrase, SEED) if edit.family in ROLES), 3):
        yield Pair(f"{edit.family}, paraphrase", edit.text, caption, False, caption)
    for edit in _some(same(negative, SEED), 1):
        yield Pair(f"{family}, rewrite", caption, edit.text, False, caption)
    for edit in _some(same(caption, SEED), 2):
        yield Pair(edit.family, caption, edit.text, True, caption)
    for edit in _some(same(paraphrase, SEED), 1):
        if edit.family != "typo":
            yield Pair(f"{PARAPHRASE}, rewrite", caption, edit.text, True, caption)


def _of_prompt(base: str, others: int, rewrites: int) -> Iterator[Pair]:
    for edit in _some(different(base, SEED), others):
        yield Pair(edit.family, base, edit.text, False, base)
    for edit in _some(same(base, SEED), rewrites):
        yield Pair(edit.family, base, edit.text, True, base)


def _some(edits: Iterable[Edit], most: int) -> list[Edit]:
    # By hash, so that a new family does not change what is drawn of the others.
    return sorted(edits, key=lambda edit: hashlib.sha256(repr(edit).encode()).digest())[:most]


def _prompts(data: Path) -> list[str]:
    found = [line.split("\t")[0] for line in (data / "PartiPrompts.tsv").read_text("utf-8").splitlines()[1:]]
    found += (data / "geneval_prompts.txt").read_text("utf-8").splitlines()
    for file in sorted((data / "t2i_compbench").glob("*.txt")):
        found += file.read_text("utf-8").splitlines()[:200]
    return list(dict.fromkeys(prompt.strip() for prompt in found if prompt.strip()))


def _user_prompts(data: Path) -> list[str]:
    return list(dict.fromkeys(line for line in (data / "user_prompts_10k.txt").read_text("utf-8").splitlines() if line.strip()))


class Table(NamedTuple):
    """Pairs as the verifier sees them: only those that come as far as it."""

    pairs: list[Pair]
    rows: NDArray[np.float64]
    same: NDArray[np.bool_]
    passes: NDArray[np.bool_]
    """Whether the verifier is asked at all."""
    equal: NDArray[np.bool_]
    """Whether they are canonically equal."""


def tabled(found: Sequence[Pair], vectors: dict[str, NDArray[np.float32]]) -> Table:
    """Features of all pairs."""
    rows, passes, equal = [], [], []
    for pair in found:
        asked, known = read(pair.asked), read(pair.known)
        cosine = float(vectors[pair.asked] @ vectors[pair.known])
        rows.append(features(asked, known, cosine))
        equal.append(asked.canonical == known.canonical)
        passes.append(not equal[-1] and cosine >= FLOOR and veto(asked, known) is None)
    return Table(list(found), np.array(rows), np.array([pair.same for pair in found]), np.array(passes), np.array(equal))


def encoded(texts: Iterable[str]) -> tuple[str, dict[str, NDArray[np.float32]]]:
    """The encoder's fingerprint, and a vector for each text."""
    encoder = load()
    every = sorted(set(texts), key=len)
    vectors: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(every), 256):
        some = every[start : start + 256]
        vectors.update(zip(some, encoder.encode(some), strict=True))
    return encoder.fingerprint, vectors


def fitted(table: Table, chosen: NDArray[np.bool_]) -> HistGradientBoostingClassifier:
    """Trees from the chosen pairs."""
    # Typos are left out: what is a slip and what another word takes a dictionary to tell.
    chosen = chosen & table.passes & np.array([pair.family != "typo" for pair in table.pairs])
    hard = np.array([pair.family.split(",")[0] in ROLES | HUMAN_ROLES for pair in table.pairs])
    paraphrased = np.array([pair.family.startswith(PARAPHRASE) for pair in table.pairs])
    weights = np.where(table.same, np.where(paraphrased, WEIGHT_OF_PARAPHRASES, 1.0), np.where(hard, WEIGHT_OF_ROLES, WEIGHT_OF_OTHERS))
    model = HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=350,
        max_leaf_nodes=16,
        max_features=0.3,
        min_samples_leaf=30,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=SEED,
    )
    return model.fit(table.rows[chosen], table.same[chosen], sample_weight=weights[chosen])


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


def false_hit_rate(table: Table, scores: NDArray[np.float64], threshold: float) -> float:
    """The larger one of the rate over all pairs that must miss and the mean of the families' rates."""
    wrong = ~table.same
    families: dict[str, list[bool]] = defaultdict(list)
    for pair, score in zip(table.pairs, scores, strict=True):
        if not pair.same:
            families[pair.family].append(bool(score >= threshold))
    return float(max(np.mean(scores[wrong] >= threshold), np.mean([np.mean(each) for each in families.values()])))


def points(table: Table, scores: NDArray[np.float64]) -> list[dict[str, float]]:
    """An operating point for each budget."""
    steps = np.unique(np.concatenate([np.round(scores[table.passes], 5), np.linspace(0.1, 1, 901)]))
    steps = steps[steps >= 0.1]  # noqa: PLR2004 - so unlikely is never a hit
    paraphrases = np.array([pair.family == PARAPHRASE for pair in table.pairs])
    found = []
    for budget in BUDGETS:
        low, high = 0, len(steps) - 1
        while low < high:
            middle = (low + high) // 2
            if false_hit_rate(table, scores, steps[middle]) <= SHARE * budget:
                high = middle
            else:
                low = middle + 1
        threshold = float(steps[low])
        found.append(
            {
                "budget": budget,
                "threshold": round(threshold, 5),
                "false_hit_rate": round(false_hit_rate(table, scores, threshold), 5),
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


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main() -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(description="Train the verifier of the semantic cache.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--date", default="2026-11-23", help="of the evidence")
    options = parser.parse_args()
    found = pairs(options.data, held=False)
    fingerprint, vectors = encoded(text for pair in found for text in (pair.asked, pair.known))
    table = tabled(found, vectors)
    scores = cross_scores(table)
    operating = points(table, scores)
    for point in operating:
        print(
            f"budget {point['budget']:.1%}: threshold {point['threshold']}, "
            f"false hits {point['false_hit_rate']:.3%}, paraphrases {point['recall']:.1%}"
        )
    default = operating[BUDGETS.index(0.005)]["threshold"]
    print(f"{'family':40} {'served':>7} {'of':>7}   by models that have not seen the prompt, at 0.5 %")
    for family, (served, count) in rates(table, scores, default).items():
        print(f"{family:40} {served:7} {count:7} {served / count:8.2%}")
    left_out = leakage(table, default)
    print(f"{'family left out of the training':40} {'hits':>7} {'of':>7}")
    for family, (served, count) in left_out.items():
        print(f"{family:40} {served:7} {count:7} {served / count:8.2%}")
    if options.out is not None:
        base, every = trees(fitted(table, np.ones(len(found), dtype=np.bool_)))
        evidence = {
            "data": {name: {"sha256": digest(options.data / name), "licence": licence} for name, licence in LICENCES.items()},
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
            "encoder": fingerprint,
            "features": list(NAMES),
            "points": operating,
            "evidence": evidence,
            "base": base,
            "trees": every,
        }
        options.out.write_text(json.dumps(shipped, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
