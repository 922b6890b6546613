"""How a prompt is read: which things it names, what they are like, how many there are, and who does what to whom.

There is no tagger and no model: lists of words (``words.toml``), endings, and the place of a word among articles, prepositions and commas.
What is read wrongly is read wrongly on both sides of a comparison, and what cannot be read the verifier treats as different.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import attrs

from headrace.cache.canonical import ARTICLES, AUXILIARIES, PUNCTUATION, canonical, content, singular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READINGS = 4_096
"""So many prompts are kept as they were read."""
_INVERSE = {"right-of": "left-of", "under": "above", "behind": "front-of"}
_SYMMETRIC = frozenset({"near", "and", "between", "middle-of"})
ADJECTIVES = frozenset({"colour", "size", "material", "shape", "adjective"})
CONTENT = ADJECTIVES | {"noun", "person", "medium", "verb", "quote", "symbol"}
_OPEN = ADJECTIVES | {"noun", "person", "medium", "verb", "posture"}
_DETERMINING = frozenset({"number", "quantifier"})
_CLAUSE_ENDS = frozenset({"while", "when", "where", "as", "but", "because", "so", "then", "though", "although", "whereas"})

_POSSESSIVES = frozenset({"his", "her", "its", "their", "my", "your", "our", "this", "these", "those"})
_RELATIVES = frozenset({"that", "which", "who", "whom"})
_HAVING = frozenset({"have", "has", "having", "feature", "features", "featuring"})
_ADVERBIAL = frozenset({"at", "to", "toward", "for", "about", "with", "from", "like", "into", "after"})
"""Prepositions that belong to the verb before them."""
_OF_THINGS = frozenset(
    [
        "photo",
        "picture",
        "painting",
        "drawing",
        "image",
        "group",
        "herd",
        "flock",
        "pair",
        "variety",
        "bunch",
        "pile",
        "portrait",
        "view",
        "row",
        "piece",
    ]
)
"""Nouns that something is made of: what is said of them is said of it."""


class Word(NamedTuple):
    """A word that matters."""

    lemma: str
    sense: str
    """The first of the words that stand for the same thing."""
    kind: str
    """A key of ``[kinds]`` in ``words.toml``, or noun, number, quote, symbol."""
    form: str
    """Of a verb: base, s, ing or ed; of a noun: plural or nothing."""


class Relation(NamedTuple):
    """Something that one thing has to do with another; ``left`` of, ``above`` and in ``front`` of stand for their inverses too."""

    subject: str
    relation: str
    object: str

    def turned(self) -> Relation:
        """The same the other way round."""
        return Relation(self.object, self.relation, self.subject)


@attrs.frozen(kw_only=True)
class Reading:
    """One prompt, read."""

    text: str
    canonical: str
    words: tuple[Word, ...]
    """What matters, in order: all but articles, auxiliaries, punctuation and words that only place a thing somewhere."""
    light: int
    """How many words only place a thing somewhere or say that it is there."""
    quoted: tuple[str, ...]
    """Texts in quotes, to the letter."""
    numbers: tuple[tuple[str, str], ...]
    """Numbers with what is counted, where that is known, in order."""
    negated: tuple[tuple[str, str], ...]
    """Negations with what they negate, in order."""
    attributes: frozenset[tuple[str, str]]
    """What things are like: (attribute, thing)."""
    relations: frozenset[Relation]
    """Who does what to whom and what is where, as far as clauses tell."""
    links: frozenset[Relation]
    """The same for prepositions alone, each with the thing named just before it: what is with what is often told by that."""
    things: tuple[str, ...]
    """Heads of the noun phrases, in order."""


class _Lexicon(NamedTuple):
    kinds: dict[str, str]
    verbs: dict[str, tuple[str, str]]
    senses: dict[str, str]
    phrases: dict[str, list[tuple[tuple[str, ...], str]]]
    opposites: frozenset[tuple[str, str]]
    postures: frozenset[str]


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


@lru_cache(maxsize=READINGS)
def read(text: str) -> Reading:
    """Read a prompt, or remember how it was read."""
    reader = _Reader()
    return reader.read(text)


class _Reader:
    """One pass over the tokens; open-class words between two others of a closed class are a run."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.light = 0
        self.quoted: list[str] = []
        self.numbers: list[tuple[str, str]] = []
        self.negated: list[tuple[str, str]] = []
        self.attributes: set[tuple[str, str]] = set()
        self.relations: set[Relation] = set()
        self.things: list[str] = []
        self._run: list[Word] = []
        self._determined = False
        self._counts: list[str] = []
        self._negation = ""
        self._subjects: list[str] = []
        """What a verb or a preposition that comes now belongs to."""
        self._verb: Word | None = None
        self._preposition = ""
        self._fronted: list[tuple[str, str]] = []
        """Prepositions and their things that stood before any subject."""
        self._after_auxiliary = False
        self._coordinated = False
        self._last_person = False
        self._object_of = ""
        """What the last thing is the object of."""
        self.links: set[Relation] = set()
        self._held: list[Word] = []
        """Adjectives whose noun is still to come, as in "black and white photo"."""

    def read(self, text: str) -> Reading:
        for token, determined in _phrased(content(text)):
            self._take(token, determined=determined)
        self._end_clause()
        return Reading(
            text=text,
            canonical=canonical(text),
            words=tuple(self.words),
            light=self.light,
            quoted=tuple(self.quoted),
            numbers=tuple(self.numbers),
            negated=tuple(self.negated),
            attributes=frozenset(self.attributes),
            relations=frozenset(self.relations),
            links=frozenset(self.links),
            things=tuple(self.things),
        )

    def _take(self, token: str, *, determined: bool) -> None:
        word = word_of(token)
        if determined:
            self._end_run()
            self._release()
            self._determined = True
        if word.kind in _OPEN or word.kind in {"quote", "symbol"}:
            self.words.append(word)
            self._run.append(word)
            if word.kind == "quote":
                self.quoted.append(token[1:-1])
            return
        if word.kind == "auxiliary":
            self._end_run()
            self._release()
            self._after_auxiliary = True
            return
        if word.kind == "punctuation":
            self._end_run()
            self._coordinated = word.sense == ","
            if word.sense != ",":
                self._end_clause()
            return
        if word.kind == "light":
            self.light += 1
            self._end_run()
            self._release()
            if word.lemma in _HAVING:
                self._relate("with")
            return
        self.words.append(word)
        self._take_closed(word)

    def _take_closed(self, word: Word) -> None:
        if word.kind == "preposition" and word.lemma == "of" and self._counts and not self._run:
            return  # "a bunch of bananas" is bananas
        passive = word.lemma == "by" and self._ended_in_participle()
        self._end_run()
        if word.kind in _DETERMINING:
            self._determined = True
            self._counts.append(word.sense)
        elif word.kind == "negation":
            self._negate(word.sense)
        elif word.kind == "preposition":
            self._release()
            self._prepose(word.sense, passive=passive)
        elif word.kind == "conjunction":
            if word.sense in _CLAUSE_ENDS:
                self._end_clause()
            self._coordinated = word.sense == "and"
        elif word.kind == "pronoun":
            self._release()
            self._refer(word)

    def _negate(self, negation: str) -> None:
        self._end_negation("")
        self._negation = negation
        if negation == "without":
            self._relate("with")

    def _prepose(self, preposition: str, *, passive: bool) -> None:
        if passive and self._verb is not None:
            self._relations_of_passive(self._verb)
        elif self._verb is not None and preposition in _ADVERBIAL:
            self._relate(f"{self._verb.sense} {preposition}")
        else:
            self._relate(preposition)

    def _refer(self, pronoun: Word) -> None:
        if pronoun.lemma in _POSSESSIVES:
            self._determined = True
        elif pronoun.lemma in _RELATIVES:
            self._subjects = self.things[-1:]
            self._preposition = ""
        else:
            self._thing(pronoun.sense)

    def _ended_in_participle(self) -> bool:
        return bool(self._run) and self._run[-1].form == "ed"

    def _relations_of_passive(self, verb: Word) -> None:
        self.relations -= {Relation(subject, verb.sense, "") for subject in self._subjects}
        self._preposition = "by:" + verb.sense
        self._verb = None

    def _relate(self, preposition: str) -> None:
        self._preposition = preposition
        self._verb = None

    def _end_run(self) -> None:
        run, self._run = self._run, []
        phrase: list[Word] = []
        for place, word in enumerate(run):
            if self._is_verb(run, place, phrase):
                self._end_phrase(phrase)
                self._release()
                phrase = []
                self._verb_phrase(word)
            else:
                phrase.append(word)
        self._end_phrase(phrase)
        if run:
            self._determined = False
            self._after_auxiliary = False

    def _release(self) -> None:
        # Adjectives that no noun follows are things themselves, as in "somebody in red".
        held, self._held = self._held, []
        if held:
            *modifiers, head = held
            self.attributes.update((word.sense, head.sense) for word in modifiers)
            self._thing(head.sense)

    def _is_verb(self, run: Sequence[Word], place: int, phrase: Sequence[Word]) -> bool:
        word = run[place]
        if word.kind not in {"verb", "posture"} or (self._determined and not phrase):
            return False
        after = run[place + 1] if place + 1 < len(run) else None
        if word.form == "ing":
            return True
        if word.form == "ed":
            return after is None or (not phrase and self._after_auxiliary)
        if word.form == "s":
            return bool(phrase) or bool(self._subjects)
        return bool(phrase and phrase[-1].form == "plural") or (
            not phrase and bool(self.words) and _before(self.words, len(run) - place) in {"to", "they", "who"}
        )

    def _verb_phrase(self, verb: Word) -> None:
        self._end_negation(verb.sense)
        if verb.form == "ing" and self._last_person and not self._after_auxiliary:
            # Whoever was named last does it, even if only something else was said to be near: "a girl next to a boy eating".
            self._subjects = self.things[-1:]
        for subject in self._subjects:
            self.relations.add(Relation(subject, verb.sense, ""))
        self._verb = verb
        self._preposition = ""
        self._coordinated = False

    def _end_phrase(self, phrase: Sequence[Word]) -> None:
        if not phrase:
            return
        if (
            self._after_auxiliary
            and self._subjects
            and not self._determined
            and all(word.kind in ADJECTIVES or word.form == "ed" for word in phrase)
        ):
            for word in phrase:
                self.attributes.update((word.sense, subject) for subject in self._subjects)
                self._end_negation(word.sense)
            return
        if all(word.kind in ADJECTIVES for word in phrase):
            self._held += phrase
            return
        *modifiers, head = (*self._held, *phrase)
        self._held = []
        self.attributes.update((word.sense, head.sense) for word in modifiers)
        self._thing(head.sense)
        self._last_person = head.kind == "person" or head.sense == "person"

    def _thing(self, thing: str) -> None:
        self._last_person = False
        self.things.append(thing)
        self._end_negation(thing)
        self.numbers += [(count, thing) for count in self._counts]
        self._counts = []
        if self._preposition:
            self._thing_of_preposition(thing, self._preposition)
            self._preposition = ""
        elif self._verb is not None:
            self._thing_of_verb(thing, self._verb.sense)
            self._verb = None
        elif self._coordinated and self._object_of and self._subjects:
            # "a plate with a fork and a knife on a table": of the same as the fork, and maybe the next subject.
            for subject in self._subjects:
                self._put(subject, self._object_of, thing)
            self._subjects = [thing]
        else:
            self._subject(thing)
        self._coordinated = False

    def _thing_of_preposition(self, thing: str, preposition: str) -> None:
        self._object_of = preposition
        if len(self.things) > 1:
            self.links.add(Relation(self.things[-2], preposition, thing))
        if preposition == "of" and self._subjects and self._subjects[-1] in _OF_THINGS:
            self.relations.add(Relation(self._subjects[-1], "of", thing))
            self._subjects = [thing]
        elif self._subjects:
            for subject in self._subjects:
                self._put(subject, preposition, thing)
        else:
            self._fronted = [*self._fronted[-3:], (preposition, thing)]

    def _thing_of_verb(self, thing: str, verb: str) -> None:
        self._object_of = verb
        for subject in self._subjects:
            self._put(subject, verb, thing)
        if not self._subjects:
            self.relations.add(Relation("", verb, thing))

    def _subject(self, thing: str) -> None:
        self._subjects = [*self._subjects[-3:], thing] if self._coordinated else [thing]
        self._object_of = ""
        for preposition, fronted in self._fronted:
            self._put(thing, preposition, fronted)
        if not self._coordinated:
            self._fronted = []

    def _put(self, subject: str, relation: str, thing: str) -> None:
        if relation.startswith("by:"):
            subject, relation, thing = thing, relation[3:], subject
        elif relation in _INVERSE:
            subject, relation, thing = thing, _INVERSE[relation], subject
        elif relation in _SYMMETRIC and thing < subject:
            subject, thing = thing, subject
        self.relations.add(Relation(subject, relation, thing))

    def _end_negation(self, negated: str) -> None:
        if self._negation:
            self.negated.append((self._negation, negated))
            self._negation = ""

    def _end_clause(self) -> None:
        self._end_run()
        self._release()
        self._end_negation("")
        self.numbers += [(count, "") for count in self._counts]
        self._counts = []
        self._subjects = []
        self._verb = None
        self._preposition = ""
        self._fronted = []
        self._object_of = ""


def _before(words: Sequence[Word], back: int) -> str:
    return words[-back - 1].lemma if len(words) > back else ""


def _phrased(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    # Without articles, each word with whether one stood before it; what is said in several words is one.
    plain = [(word, bool(place) and words[place - 1] in ARTICLES) for place, word in enumerate(words) if word not in ARTICLES]
    phrases = lexicon().phrases
    place = 0
    while place < len(plain):
        word, determined = plain[place]
        for said, meaning in phrases.get(word, ()):
            if tuple(each for each, _ in plain[place : place + len(said)]) == said:
                yield meaning, determined
                place += len(said)
                break
        else:
            yield word, determined
            place += 1


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
        lists.senses.get(lemma, lists.senses.get(token, lemma)),
        kind if kind in _OPEN else "noun",
        "plural" if lemma != token else "",
    )
