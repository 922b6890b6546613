"""What a word is by itself: its kind, its form, and the word that stands for all that mean the same thing in a picture.

The lists are in ``words.toml``; verbs are known in the forms that rules make of them, and whatever stands nowhere is a noun.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from headrace.cache.canonical import ARTICLES, AUXILIARIES, PUNCTUATION, singular

if TYPE_CHECKING:
    from collections.abc import Iterator

ADJECTIVES = frozenset({"colour", "size", "material", "shape", "adjective"})
CONTENT = ADJECTIVES | {"noun", "person", "medium", "verb", "quote", "symbol"}
OPEN = ADJECTIVES | {"noun", "person", "medium", "verb", "posture"}


class Word(NamedTuple):
    """A word that matters."""

    lemma: str
    sense: str
    """The first of the words that stand for the same thing."""
    kind: str
    """A key of ``[kinds]`` in ``words.toml``, or noun, number, quote, symbol."""
    form: str
    """Of a verb: base, s, ing or ed; of a noun: plural or nothing."""


class _Lexicon(NamedTuple):
    kinds: dict[str, str]
    verbs: dict[str, tuple[str, str]]
    senses: dict[str, str]
    phrases: dict[str, list[tuple[tuple[str, ...], str]]]
    opposites: frozenset[tuple[str, str]]
    postures: frozenset[str]
    animate: frozenset[str]


@cache
def lexicon() -> _Lexicon:
    """The lists of words."""
    table = tomllib.loads(resources.files("headrace.cache").joinpath("words.toml").read_text("utf-8"))
    kinds: dict[str, str] = {}
    for kind, words in reversed(table["kinds"].items()):
        kinds.update(dict.fromkeys(words.split(), kind))
    verbs = {form: base for kind in ("verb", "posture") for verb in table["kinds"][kind].split() for form, base in _forms(verb)}
    for pair in table["verbs"]["irregular"].split():
        form, _, base = pair.partition(":")
        verbs[form] = (base, "ed")
    senses: dict[str, str] = {}
    for group in table["same"]["groups"].strip().splitlines():
        first, *others = group.split()
        senses.update((other.replace("_", " "), senses.get(first, first)) for other in others)
    phrases: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
    for phrase in table["relations"]["phrases"].replace("\n", "|").strip("|").split("|"):
        said, _, relation = phrase.partition("=")
        words = tuple(word for word in said.split() if word not in ARTICLES)
        phrases[words[0]].append((words, relation))
    for entries in phrases.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    for word in ("light", "conjunction", "preposition", "pronoun", "negation", "quantifier"):
        for each in table["kinds"][word].split():
            verbs.pop(each, None)
    pairs = [tuple(senses.get(word, word) for word in pair.split("/")) for pair in table["opposite"]["pairs"].split()]
    opposites = frozenset(pair for one, other in pairs for pair in ((one, other), (other, one)))
    return _Lexicon(
        {word: kind for word, kind in kinds.items() if kind not in {"verb", "posture"}},
        verbs,
        senses,
        dict(phrases),
        opposites,
        frozenset(table["kinds"]["posture"].split()),
        frozenset(table["animate"]["words"].split()),
    )


def _forms(verb: str) -> Iterator[tuple[str, tuple[str, str]]]:
    short = sum(letter in "aeiou" for letter in verb) == 1 and verb[-2:-1] in tuple("aeiou") and verb[-1] not in "aeiouwxyh"
    stems = {verb + verb[-1]} if short else {verb, verb + "l"} if verb.endswith("el") else {verb}
    if verb.endswith("e") and not verb.endswith(("ee", "ye")):
        stems = {verb[:-1]}
    yield verb, (verb, "base")
    yield (
        (
            verb[:-1] + "ies"
            if verb.endswith("y") and verb[-2] not in "aeiou"
            else verb + ("es" if verb.endswith(("s", "x", "ch", "sh", "z", "o")) else "s")
        ),
        (verb, "s"),
    )
    for stem in stems:
        yield stem + "ing", (verb, "ing")
        yield (
            (stem[:-1] + "ied" if verb.endswith("y") and verb[-2] not in "aeiou" else stem + ("d" if stem.endswith("e") else "ed")),
            (verb, "ed"),
        )


@lru_cache(maxsize=65_536)
def word_of(token: str) -> Word:
    """A token by itself, in lower case."""
    lists = lexicon()
    if token[0] == '"':
        return Word(token, token, "quote", "")
    if token[0].isdecimal():
        return Word(token, token, "number", "")
    if token in PUNCTUATION:
        return Word(token, token, "punctuation", "")
    if token in AUXILIARIES:
        return Word(token, token, "auxiliary", "")
    kind = lists.kinds.get(token)
    if token in lists.verbs and (kind is None or (kind == "adjective" and lists.verbs[token][1] != "base")):
        base, form = lists.verbs[token]
        return Word(base, lists.senses.get(base, base), "posture" if base in lists.postures else "verb", form)
    if kind is None and not any(character.isalnum() for character in token):
        return Word(token, token, "symbol", "")
    if kind is not None and kind not in {"noun", "person", "medium"}:
        return Word(token, lists.senses.get(token, token), kind, "")
    lemma = singular(token)
    if kind is None:
        kind = lists.kinds.get(lemma, "noun")
    return Word(
        lemma,
        lists.senses.get(token, lists.senses.get(lemma, lemma)),
        kind if kind in OPEN else "noun",
        "plural" if lemma != token else "",
    )


def is_animate(sense: str) -> bool:
    """Whether something of that name can do something."""
    return lexicon().kinds.get(sense) == "person" or sense in lexicon().animate
