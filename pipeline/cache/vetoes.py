"""What no score can outweigh: differences after which the picture is always another one.

The verifier learns from pairs and may meet a kind of difference that it has never seen; a veto has nothing to learn.

One file, though it is a long one: a list, of which each veto is a few lines.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from headrace.cache.bindings import moved_attributes, reversed_relations
from headrace.cache.features import LONGEST, leftovers
from headrace.cache.lexicon import CONTENT, is_animate, lexicon
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.cache.words import Reading

LONG = 20
"""From so many words on, one different content word no longer shows in a score, and still is another picture."""
_LONGEST_DETAIL = 120
_VAGUE = frozenset({"multicolored", "rainbow", "pastel", "neon", "person", "kid", "elder", "adult", "1"})
"""Words that need not be said to be true."""

_TOLD = CONTENT - {"posture"} | {"number"}
_SCOPES = frozenset(
    [
        "only",
        "almost",
        "nearly",
        "barely",
        "hardly",
        "half",
        "less",
        "fewer",
        "more",
        "most",
        "mostly",
        "least",
        "even",
        "still",
        "already",
        "also",
        "just",
        "fully",
        "partly",
        "never",
        "again",
    ]
)
"""Words that change how far something goes."""
_SHOWN = {"ing": "in progress", "ed": "done"}
_SEXES = {"he": "he", "him": "he", "his": "he", "himself": "he", "she": "she", "her": "she", "hers": "she", "herself": "she"}


@attrs.frozen
class Veto:
    """Why two prompts do not ask for the same picture."""

    rule: str
    detail: str
    """Short, fit for a line of a terminal."""


def veto(asked: Reading, known: Reading) -> Veto | None:
    """The first difference that forbids to show the picture of ``known`` for ``asked``."""
    # Some rules look from one side; whatever stands against a pair from either stands against it.
    return _first(_ALL, asked, known) or _first(_ALL, known, asked)


def gross_veto(asked: Reading, known: Reading) -> Veto | None:
    """The same for a picture that is offered as a similar one: only quoted texts, counts and negations."""
    return _first(_GROSS, asked, known)


def _first(rules: dict[str, Callable[[Reading, Reading], str]], asked: Reading, known: Reading) -> Veto | None:
    for name, rule in rules.items():
        if detail := rule(asked, known):
            return Veto(name, clean(detail, _LONGEST_DETAIL))
    return None


def _versus(asked: Iterable[object], known: Iterable[object]) -> str:
    one, other = ", ".join(sorted(map(str, asked))), ", ".join(sorted(map(str, known)))
    return f"{one or 'nothing'} is not {other or 'nothing'}"


def _sets(asked: set[str], known: set[str]) -> str:
    return _versus(asked - known, known - asked) if asked != known else ""


def _quoted(asked: Reading, known: Reading) -> str:
    one, other = sorted(asked.quoted), sorted(known.quoted)
    return "" if one == other else _versus((f'"{text}"' for text in one), (f'"{text}"' for text in other))


def _count(asked: Reading, known: Reading) -> str:
    one, other = _numbers(asked), _numbers(known)
    if one - other or other - one:
        return _versus((one - other).elements(), (other - one).elements())
    counted, its = _counted(asked), _counted(known)
    for thing in sorted(counted.keys() & its.keys()):
        if counted[thing] != its[thing]:
            return _versus((f"{number} {thing}" for number in counted[thing]), (f"{number} {thing}" for number in its[thing]))
    shared = set(asked.things) & set(known.things)
    for number, thing in sorted(set(asked.numbers) - set(known.numbers)):
        moved = sorted(other for its_number, other in set(known.numbers) - set(asked.numbers) if its_number == number and other in shared)
        if thing in shared and moved:
            return f"{number} {thing} is not {number} {moved[0]}"
    return ""


def _numbers(reading: Reading) -> Counter[str]:
    # "One" need not be said to be true.
    return Counter(word.sense for word in reading.words if word.kind == "number" and word.sense != "1")


def _counted(reading: Reading) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for number, thing in sorted(reading.numbers):
        if thing and number.isdecimal():
            found.setdefault(thing, []).append(number)
    return found


def _negation(asked: Reading, known: Reading) -> str:
    one, other = {thing for _, thing in asked.negated}, {thing for _, thing in known.negated}
    return _versus((f"no {thing}" for thing in one - other), (f"no {thing}" for thing in other - one)) if one != other else ""


def _of_kind(reading: Reading, *kinds: str) -> set[str]:
    return {word.sense for word in reading.words if word.kind in kinds and word.sense not in _VAGUE}


def _same_words(*kinds: str) -> Callable[[Reading, Reading], str]:
    def rule(asked: Reading, known: Reading) -> str:
        return _sets(_of_kind(asked, *kinds), _of_kind(known, *kinds))

    return rule


def _person(asked: Reading, known: Reading) -> str:
    one, other = _of_kind(asked, "person"), _of_kind(known, "person")
    if one - other and other - one:
        return _versus(one - other, other - one)
    he, she = ({_SEXES[word.lemma] for word in reading.words if word.lemma in _SEXES} for reading in (asked, known))
    return _versus(he - she, she - he) if he and she and he != she else ""


def _plural(asked: Reading, known: Reading) -> str:
    # Whether there is one or there are several; where a number says so, it is compared as such.
    one, other = _forms(asked), _forms(known)
    for thing in sorted(one.keys() & other.keys()):
        if not one[thing] & other[thing] or (one[thing].total() == other[thing].total() and one[thing] != other[thing]):
            return _versus(["several " * ("plural" in one[thing]) + thing], ["several " * ("plural" in other[thing]) + thing])
    return ""


def _forms(reading: Reading) -> dict[str, Counter[str]]:
    counted = {thing for number, thing in reading.numbers if number != "1"}
    found: dict[str, Counter[str]] = {}
    for word in reading.words:
        if word.kind in {"noun", "person"} or (word.kind == "verb" and word.form in {"base", "s"} and word.sense in reading.things):
            many = word.sense in counted or word.form in {"plural", "s"}
            found.setdefault(word.sense, Counter())["plural" if many else ""] += 1
    return found


def _binding(asked: Reading, known: Reading) -> str:
    shared = set(asked.things) & set(known.things)
    for attribute, thing, other in moved_attributes(asked, known, shared):
        return f"{attribute} {thing} is not {attribute} {other}"
    return ""


def _opposite(asked: Reading, known: Reading) -> str:
    over, under = leftovers(asked.words, known.words)
    opposites = lexicon().opposites
    for word in over:
        for its in under:
            if (word.sense, its.sense) in opposites:
                return _versus([word.lemma], [its.lemma])
    return ""


def _twins(asked: Reading, known: Reading) -> str:
    # Of two things of one name, who is which is told by the order of what is said of them.
    if not _named_twice(asked) & _named_twice(known):
        return ""
    one, other = _said(asked), _said(known)
    shared = Counter(one) & Counter(other)
    one, other = _only(one, shared), _only(other, shared)
    return "" if one == other else f"{', '.join(one)} is another order than {', '.join(other)}"


def _named_twice(reading: Reading) -> set[str]:
    return {thing for thing, count in Counter(word.sense for word in reading.words if word.kind in {"noun", "person"}).items() if count > 1}


def _said(reading: Reading) -> list[str]:
    return [f"{word.sense} {word.form}" if word.form == "plural" else word.sense for word in reading.words if word.kind in _TOLD]


def _only(words: list[str], shared: Counter[str]) -> list[str]:
    left = Counter(shared)
    kept = []
    for word in words:
        if left[word] > 0:
            left[word] -= 1
            kept.append(word)
    return kept


def _belonging(asked: Reading, known: Reading) -> str:
    shared = set(asked.things) & set(known.things)
    # "A man in a kitchen with a dog" has the dog as much as "a man with a dog"; "a shower next to a toilet with a lid" has no lid.
    agreed = {each[1:] for each in asked.relations & known.relations if is_animate(each.subject)}
    for each in sorted(asked.links - known.links):
        for its in sorted(known.links - asked.links):
            moved = each[1:] == its[1:] and each.relation in {"with", "of"} and each[1:] not in agreed
            if moved and {each.subject, its.subject} <= shared:
                return f"{each.subject} {each.relation} {each.object} is not {its.subject} {its.relation} {its.object}"
    return ""


def _tense(asked: Reading, known: Reading) -> str:
    # A falling tree is no fallen one. What is done to something shows the same in either form: "cuts bread", "bread is cut".
    one, other = _lone_verbs(asked), _lone_verbs(known)
    for verb in sorted(one.keys() & other.keys()):
        if {one[verb], other[verb]} == {"ing", "ed"}:
            return _versus([f"{verb} {_SHOWN[one[verb]]}"], [f"{verb} {_SHOWN[other[verb]]}"])
    return ""


def _lone_verbs(reading: Reading) -> dict[str, str]:
    objects = {each.relation.split()[0] for each in reading.relations if each.object}
    if any(word.lemma == "by" for word in reading.words):
        return {}
    return {word.sense: word.form for word in reading.words if word.kind == "verb" and word.sense not in objects}


def _scope(asked: Reading, known: Reading) -> str:
    one, other = (Counter(_scoped(reading)) for reading in (asked, known))
    if one == other:
        return ""
    return _versus((" ".join(each) for each in one - other), (" ".join(each) for each in other - one))


def _scoped(reading: Reading) -> list[tuple[str, str]]:
    # "Only the dog wears a hat" is not "the dog wears only a hat".
    words = reading.words
    return [
        (word.sense, next((its.sense for its in words[place + 1 :] if its.kind in CONTENT), ""))
        for place, word in enumerate(words)
        if word.lemma in _SCOPES
    ]


def _order(asked: Reading, known: Reading) -> str:
    for each in reversed_relations(asked.relations, known.relations):
        return f"{each.subject} {each.relation} {each.object} is not {each.object} {each.relation} {each.subject}"
    return ""


def _script(asked: Reading, known: Reading) -> str:
    foreign = next((word.lemma for reading in (asked, known) for word in reading.words if not _latin(word.lemma)), None)
    return "" if foreign is None else f"{foreign} cannot be compared by more than its letters"


def _latin(word: str) -> bool:
    return word.isascii() or all(ord(character) < 0x250 for character in word if character.isalpha())  # noqa: PLR2004 - end of Latin


def _length(asked: Reading, known: Reading) -> str:
    longest = max(len(asked.words), len(known.words))
    if longest > LONGEST:
        return f"more than {LONGEST} words"
    if longest < LONG:
        return ""
    over, under = leftovers(asked.words, known.words)
    over, under = [word for word in over if word.kind in CONTENT], [word for word in under if word.kind in CONTENT]
    return _versus({word.lemma for word in over}, {word.lemma for word in under}) if over or under else ""


_GROSS: dict[str, Callable[[Reading, Reading], str]] = {"quoted_text": _quoted, "count": _count, "negation": _negation}
_ALL: dict[str, Callable[[Reading, Reading], str]] = {
    "script": _script,
    **_GROSS,
    "colour": _same_words("colour"),
    "symbol": _same_words("symbol"),
    "medium": _same_words("medium"),
    "person": _person,
    "plural": _plural,
    "length": _length,
    "opposite": _opposite,
    "tense": _tense,
    "scope": _scope,
    "twins": _twins,
    "binding": _binding,
    "order": _order,
    "belonging": _belonging,
}
