"""In what two prompts differ, as numbers: what the verifier decides by. All but the sign of nothing is symmetric.

Words are matched by sense. What is left over is counted by kind, most on one side and least on the other: a replaced word has both,
an added one only the first. What is matched can still have moved, and can belong to something else than before.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.cache.words import Reading, Relation, Word

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
_PLACES = {
    "on": "vertical",
    "above": "vertical",
    "under": "vertical",
    "front-of": "depth",
    "behind": "depth",
    "left-of": "side",
    "right-of": "side",
    "near": "near",
    "around": "near",
    "with": "with",
    "of": "with",
    "in": "in",
    "through": "through",
    "against": "against",
    "toward": "toward",
    "outside": "outside",
    "inside": "in",
    "between": "near",
    "middle-of": "in",
}
_EITHER = frozenset({"near", "with"})
"""Relations that hold both ways."""
_DIRECTIONS = frozenset(
    [
        "up",
        "down",
        "toward",
        "towards",
        "away",
        "off",
        "out",
        "into",
        "onto",
        "to",
        "from",
        "across",
        "through",
        "over",
        "past",
        "along",
        "around",
        "left",
        "right",
        "back",
        "forward",
        "inside",
        "outside",
    ]
)

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
    "attributes_differ",
    "attributes_moved",
    "relations_same",
    "relations_differ",
    "relations_reversed",
    "pairs_same",
    "pairs_reversed",
    "roles_moved",
    "coarse_same",
    "coarse_differ",
    "coarse_reversed",
    "governed_differ",
    "links_same",
    "links_moved",
    "places_least",
    "places_most",
    "directions_differ",
    "subjects_differ",
    "objects_differ",
    "counts_differ",
    "negated_differ",
    "first_thing",
    "same_words",
)


def features(asked: Reading, known: Reading, cosine: float) -> list[float]:
    """One number for each of :data:`NAMES`."""
    left, right = asked.words[:LONGEST], known.words[:LONGEST]
    over, under = leftovers(left, right)
    kinds, other_kinds = Counter(word.kind for word in over), Counter(word.kind for word in under)
    groups, other_groups = _grouped(kinds), _grouped(other_kinds)
    row = [cosine, *_sides(len(left), len(right)), *_sides(asked.light, known.light)]
    for group in _GROUPS:
        row += _sides(groups[group], other_groups[group])
    row += [max(kinds[kind], other_kinds[kind]) for kind in _SINGLE]
    least, most = _sides(sum(groups[each] for each in _CONTENT), sum(other_groups[each] for each in _CONTENT))
    row += [least, most, most / max(1, len(left), len(right))]
    row += _matched(left, right)
    row.append(_alike(over, under))
    row += _order(left, right)
    row += _bindings(asked, known)
    row += [
        _differing(asked.numbers, known.numbers),
        _differing(asked.negated, known.negated),
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


def _sides(one: float, other: float) -> list[float]:
    return [one, other] if one <= other else [other, one]


def _differing(one: Iterable[object], other: Iterable[object]) -> float:
    ones, others = Counter(one), Counter(other)
    return sum(((ones - others) + (others - ones)).values())


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


def _bindings(asked: Reading, known: Reading) -> list[float]:
    shared = set(asked.things) & set(known.things)
    return [
        len(asked.attributes ^ known.attributes),
        max(len(moved_attributes(asked, known, shared)), len(moved_attributes(known, asked, shared))),
        len(asked.relations & known.relations),
        len(asked.relations ^ known.relations),
        len(reversed_relations(asked.relations, known.relations)),
        *_pairs(asked.relations, known.relations),
        _moved_roles(asked.relations, known.relations, shared),
        *_coarse(asked.relations, known.relations),
        _differing_of(asked, known, lambda each: (each.relation, each.object)),
        len(asked.links & known.links),
        _moved_roles(asked.links, known.links, shared),
        *_places_left(asked, known),
        _differing(_directions(asked), _directions(known)),
        _differing_of(asked, known, lambda each: (each.subject, each.relation) if not each.object else None),
        _differing_of(asked, known, lambda each: (each.relation, each.object) if each.relation not in _PLACES else None),
    ]


def _differing_of(asked: Reading, known: Reading, part: Callable[[Relation], object]) -> float:
    return len({part(each) for each in asked.relations} ^ {part(each) for each in known.relations})


def _places_left(asked: Reading, known: Reading) -> list[float]:
    one, other = Counter(_places(asked)), Counter(_places(known))
    return _sides((one - other).total(), (other - one).total())


def _places(reading: Reading) -> list[str]:
    # Relations in space, with no regard to which of two things is named first.
    return [_PLACES[word.sense] for word in reading.words if _PLACES.get(word.sense, "with") != "with"]


def _directions(reading: Reading) -> list[str]:
    return [word.lemma for word in reading.words if word.lemma in _DIRECTIONS]


def _coarse(asked: frozenset[Relation], known: frozenset[Relation]) -> list[float]:
    one, other = {_coarsened(each) for each in asked if each.object}, {_coarsened(each) for each in known if each.object}
    return [
        len(one & other),
        len(one ^ other),
        sum(each[1] not in _EITHER and (each[2], each[1], each[0]) in other - one for each in one - other),
    ]


def _coarsened(each: Relation) -> tuple[str, str, str]:
    relation = _PLACES.get(each.relation, each.relation)
    if relation in _EITHER and each.object < each.subject:
        return each.object, relation, each.subject
    return each.subject, relation, each.object


def moved_attributes(asked: Reading, known: Reading, shared: set[str]) -> list[tuple[str, str, str]]:
    """Attributes of another thing than in the other prompt, though both name both things: attribute, thing, the other's thing."""
    theirs = known.attributes - asked.attributes
    return sorted(
        (attribute, thing, other)
        for attribute, thing in asked.attributes - known.attributes
        for its, other in theirs
        if its == attribute and other != thing and thing in shared and other in shared
    )


def reversed_relations(asked: frozenset[Relation], known: frozenset[Relation]) -> list[Relation]:
    """Relations that hold the other way round in the other prompt."""
    theirs = known - asked
    return sorted(each for each in asked - known if each.object and each.object != each.subject and each.turned() in theirs)


def _pairs(asked: frozenset[Relation], known: frozenset[Relation]) -> list[float]:
    one, other = (
        {(each.subject, each.object) for each in asked if each.object},
        {(each.subject, each.object) for each in known if each.object},
    )
    return [len(one & other), sum(thing != its and (its, thing) in other - one for thing, its in one - other)]


def _moved_roles(asked: frozenset[Relation], known: frozenset[Relation], shared: set[str]) -> int:
    # Who does it, or to whom it is done, is another one of those that both prompts name.
    moved = [
        (each, its)
        for each in asked - known
        for its in known - asked
        if each.relation == its.relation
        and (
            (each.object == its.object and each.subject in shared and its.subject in shared)
            or (each.subject == its.subject and each.object in shared and its.object in shared)
        )
    ]
    return max(len({each for each, _ in moved}), len({its for _, its in moved}))
