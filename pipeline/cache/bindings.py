"""How two prompts differ in what belongs to what: attributes of things, relations between them, and who is exchanged with whom.

One file, though it is a long one: each kind of difference is a few lines, and none is read without the others.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.cache.clauses import Relation
    from headrace.cache.words import Reading

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
    "exchanged",
    "least_alike",
    "levels_differ",
    "counts_differ",
    "negated_differ",
)
_SIDEWAYS = frozenset({"near", "and", "with", "front-of", "left-of"})
_RELATIONS = 16
_THINGS = 8
"""So many that both prompts name are compared with each other."""


def bindings(asked: Reading, known: Reading) -> list[float]:
    """One number for each of :data:`NAMES`."""
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
        differing(_directions(asked), _directions(known)),
        _differing_of(asked, known, lambda each: (each.subject, each.relation) if not each.object else None),
        _differing_of(asked, known, lambda each: (each.relation, each.object) if each.relation not in _PLACES else None),
        *_exchanged(asked, known, shared),
        max(_levels(asked, known), _levels(known, asked)),
        differing(asked.numbers, known.numbers),
        differing(asked.negated, known.negated),
    ]


def _exchanged(asked: Reading, known: Reading, shared: set[str]) -> list[float]:
    # How much better two things fit into each other's places than into their own, and how far the worst is from what it was.
    things = [thing for thing in dict.fromkeys(asked.things) if thing in shared][:_THINGS]
    one, other = ({thing: _said_of(thing, reading) for thing in things} for reading in (asked, known))
    own = {thing: _alike(one[thing], other[thing]) for thing in things}
    best = 0.0
    for first, second in combinations(things, 2):
        crossed = _alike(_without(one[first], second), _without(other[second], first))
        crossed += _alike(_without(one[second], first), _without(other[first], second))
        best = max(best, crossed - own[first] - own[second])
    return [round(best, 4), round(min(own.values(), default=1.0), 4)]


def _levels(one: Reading, other: Reading) -> int:
    # "Speakers on a laptop on a desk" are not "speakers and a laptop on a desk".
    beside = {
        frozenset((each.subject, its.subject))
        for each, its in combinations(sorted(other.relations)[:_RELATIONS], 2)
        if each.object and each[1:] == its[1:]
    }
    related = {frozenset((each.subject, each.object)) for each in other.relations}
    apart = {frozenset((each.subject, each.object)) for each in one.relations if each.object and each.relation not in _SIDEWAYS}
    return len((apart & beside) - related)


def _said_of(thing: str, reading: Reading) -> frozenset[tuple[str, str, str]]:
    said = {("is", attribute, "") for attribute, other in reading.attributes if other == thing}
    said |= {("count", number, "") for number, other in reading.numbers if other == thing}
    for each in reading.relations:
        subject, relation, other = _coarsened(each)
        if subject == thing:
            said.add(("does", relation, other))
        if other == thing:
            said.add(("is with" if relation in _EITHER else "suffers", relation, subject))
    return frozenset(said)


def _without(said: frozenset[tuple[str, str, str]], name: str) -> frozenset[tuple[str, str, str]]:
    return frozenset((role, what, "another" if whom == name else whom) for role, what, whom in said)


def _alike(one: frozenset[tuple[str, str, str]], other: frozenset[tuple[str, str, str]]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def differing(one: Iterable[object], other: Iterable[object]) -> float:
    """How many of either are not among the other."""
    ones, others = Counter(one), Counter(other)
    return sum(((ones - others) + (others - ones)).values())


def _differing_of(asked: Reading, known: Reading, part: Callable[[Relation], object]) -> float:
    return len({part(each) for each in asked.relations} ^ {part(each) for each in known.relations})


def sides(one: float, other: float) -> list[float]:
    """The smaller one first: which prompt was asked and which is known makes no difference."""
    return [one, other] if one <= other else [other, one]


def _places_left(asked: Reading, known: Reading) -> list[float]:
    one, other = Counter(_places(asked)), Counter(_places(known))
    return sides((one - other).total(), (other - one).total())


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
