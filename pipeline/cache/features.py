"""In what two prompts differ, as numbers: what the verifier decides by. All but the sign of nothing is symmetric.

Words are matched by sense. What is left over is counted by kind, most on one side and least on the other: a replaced word has both,
an added one only the first. What is matched can still have moved, and can belong to something else than before.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from headrace.cache import bindings
from headrace.cache.bindings import sides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.cache.lexicon import Word
    from headrace.cache.words import Reading

LONGEST = 400
"""Words of a prompt that are compared."""
_STEM = 4
"""Letters that two forms of one word have in common at the least."""
_KINDS = {
    "noun": "thing",
    "medium": "thing",
    "person": "thing",
    "symbol": "thing",
    "colour": "attribute",
    "size": "attribute",
    "material": "attribute",
    "shape": "attribute",
    "adjective": "attribute",
}
_GROUPS = ("thing", "attribute", "verb", "posture", "preposition")
_SINGLE = (
    "person",
    "medium",
    "colour",
    "size",
    "adjective",
    "pronoun",
    "conjunction",
    "quantifier",
    "number",
    "negation",
    "adverb",
    "quote",
    "symbol",
)
_CONTENT = frozenset({"thing", "attribute", "verb"})
NAMES = (
    "cosine",
    "words_least",
    "words_most",
    "light_least",
    "light_most",
    *(f"{group}_{side}" for group in _GROUPS for side in ("least", "most")),
    *_SINGLE,
    "content_least",
    "content_most",
    "content_share",
    "synonyms",
    "plurals",
    "alike_least",
    "inversions",
    "inversion_share",
    "breaks",
    "thing_inversions",
    "bigrams",
    *bindings.NAMES,
    "first_thing",
    "same_words",
)


def features(asked: Reading, known: Reading, cosine: float) -> list[float]:
    """One number for each of :data:`NAMES`."""
    left, right = asked.words[:LONGEST], known.words[:LONGEST]
    over, under = leftovers(left, right)
    kinds, other_kinds = Counter(word.kind for word in over), Counter(word.kind for word in under)
    groups, other_groups = _grouped(kinds), _grouped(other_kinds)
    row = [cosine, *sides(len(left), len(right)), *sides(asked.light, known.light)]
    for group in _GROUPS:
        row += sides(groups[group], other_groups[group])
    row += [max(kinds[kind], other_kinds[kind]) for kind in _SINGLE]
    least, most = sides(sum(groups[each] for each in _CONTENT), sum(other_groups[each] for each in _CONTENT))
    row += [least, most, most / max(1, len(left), len(right))]
    row += _matched(left, right)
    row.append(_alike(over, under))
    row += _order(left, right)
    row += bindings.bindings(asked, known)
    row += [
        float(asked.things[:1] == known.things[:1]),
        float(not over and not under),
    ]
    return [float(value) for value in row]


def leftovers(left: Sequence[Word], right: Sequence[Word]) -> tuple[list[Word], list[Word]]:
    """The words on either side that none on the other side matches."""
    return _without(left, right), _without(right, left)


def _without(words: Sequence[Word], others: Sequence[Word]) -> list[Word]:
    there = Counter(word.sense for word in others)
    rest = []
    for word in words:
        if there[word.sense] > 0:
            there[word.sense] -= 1
        else:
            rest.append(word)
    return rest


def _grouped(kinds: Counter[str]) -> Counter[str]:
    groups: Counter[str] = Counter()
    for kind, count in kinds.items():
        groups[_KINDS.get(kind, kind)] += count
    return groups


def _matched(left: Sequence[Word], right: Sequence[Word]) -> list[float]:
    # Senses that are there in other words only, and senses in another number.
    lemmas, others = _by_sense(left), _by_sense(right)
    shared = lemmas.keys() & others.keys()
    return [
        sum(not {lemma for lemma, _ in lemmas[sense]} & {lemma for lemma, _ in others[sense]} for sense in shared),
        sum(not {many for _, many in lemmas[sense]} & {many for _, many in others[sense]} for sense in shared),
    ]


def _by_sense(words: Sequence[Word]) -> dict[str, set[tuple[str, bool]]]:
    found: dict[str, set[tuple[str, bool]]] = {}
    for word in words:
        found.setdefault(word.sense, set()).add((word.lemma, word.form == "plural"))
    return found


def _alike(over: Sequence[Word], under: Sequence[Word]) -> float:
    # How much of its beginning the strangest leftover of the shorter side shares with one on the other side.
    if not over or not under:
        return 1.0 if not over and not under else 0.0
    sides = [side for side in ((over, under), (under, over)) if len(side[0]) <= len(side[1])]
    return min(max(_common(word.lemma, other.lemma) for other in many[:8]) for few, many in sides for word in few[:8])


def _common(one: str, other: str) -> float:
    length = 0
    for character, its in zip(one, other, strict=False):
        if character != its:
            break
        length += 1
    return length / max(len(one), len(other)) if length >= _STEM else 0.0


def _order(left: Sequence[Word], right: Sequence[Word]) -> list[float]:
    places: dict[str, list[int]] = {}
    for place, word in enumerate(right):
        places.setdefault(word.sense, []).append(place)
    sequence: list[int] = []
    things: list[int] = []
    for word in left:
        there = places.get(word.sense)
        if there:
            place = there.pop(0)
            sequence.append(place)
            if _KINDS.get(word.kind) == "thing":
                things.append(place)
    inversions = _inversions(sequence)
    possible = len(sequence) * (len(sequence) - 1) / 2
    ranks = {place: rank for rank, place in enumerate(sorted(sequence))}
    breaks = sum(ranks[after] != ranks[before] + 1 for before, after in pairwise(sequence))
    pairs = {(word.sense, after.sense) for word, after in pairwise(left)}
    others = {(word.sense, after.sense) for word, after in pairwise(right)}
    return [
        inversions,
        inversions / possible if possible else 0.0,
        breaks,
        _inversions(things),
        len(pairs & others) / max(1, len(pairs | others)),
    ]


def _inversions(sequence: Sequence[int]) -> int:
    before: list[int] = []
    count = 0
    for value in sequence:
        count += len(before) - bisect_left(before, value)
        insort(before, value)
    return count
