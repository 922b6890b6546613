"""How a prompt is read: which things it names, what they are like, how many there are, and who does what to whom.

There is no tagger and no model: lists of words (``words.toml``), endings, and the place of a word among articles, prepositions and commas.
What is read wrongly is read wrongly on both sides of a comparison, and what cannot be read the verifier treats as different.

One file, though it is a long one: the rules share the word that they stand at and its neighbours.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from headrace.cache.canonical import ARTICLES, canonical, content
from headrace.cache.clauses import Clauses
from headrace.cache.lexicon import ADJECTIVES, OPEN, Word, lexicon, word_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.cache.clauses import Relation

READINGS, LONGEST_KEPT = 512, 2_000
"""So many prompts are kept as they were read, and none of more characters: a reading takes 40 kB, and a long one 200."""
_DETERMINING = frozenset({"number", "quantifier"})
_CLAUSE_ENDS = frozenset({"while", "when", "where", "as", "but", "because", "so", "then", "though", "although", "whereas"})

_POSSESSIVES = frozenset({"his", "her", "its", "their", "my", "your", "our", "this", "these", "those"})
_HAVING = frozenset({"have", "has", "having", "feature", "features", "featuring"})
_NAMES = frozenset({"noun", "person"})
_RECENT = 4
"""Words among which the participle of "run over by" stands."""


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


def read(text: str) -> Reading:
    """Read a prompt, or remember how it was read."""
    return _remembered(text) if len(text) <= LONGEST_KEPT else _Reader().read(text)


@lru_cache(maxsize=READINGS)
def _remembered(text: str) -> Reading:
    return _Reader().read(text)


class _Reader:
    """One pass over the tokens; open-class words between two others of a closed class are a run."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.light = 0
        self.quoted: list[str] = []
        self._clauses = Clauses()
        self._run: list[Word] = []
        self._start = 0
        """Where the run begins among the words."""
        self._determined = False
        self._after_auxiliary = False
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
            numbers=tuple(self._clauses.numbers),
            negated=tuple(self._clauses.negated),
            attributes=frozenset(self._clauses.attributes),
            relations=frozenset(self._clauses.relations),
            links=frozenset(self._clauses.links),
            things=tuple(self._clauses.things),
        )

    def _take(self, token: str, *, determined: bool) -> None:
        word = word_of(token)
        if determined:
            self._end_run()
            self._release()
            self._determined = True
        if word.kind in OPEN or word.kind in {"quote", "symbol"}:
            if not self._run:
                self._start = len(self.words)
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
            self._clauses.end_counts()
            self._clauses.coordinated = word.sense == ","
            if word.sense != ",":
                self._end_clause()
            return
        if word.kind == "light":
            self.light += 1
            self._end_run()
            self._release()
            if word.lemma in _HAVING:
                self._clauses.relate("with")
            return
        self.words.append(word)
        self._take_closed(word)

    def _take_closed(self, word: Word) -> None:
        if word.kind == "preposition" and word.lemma == "of" and self._clauses.counts and not self._run:
            return  # "a bunch of bananas" is bananas
        passive = word.lemma == "by" and self._ended_in_participle()
        if word.lemma == "by" and any(each.form == "ed" and each.kind == "verb" for each in self.words[-_RECENT:]):
            self.words[-1] = word._replace(sense="by")
        self._end_run()
        if word.kind in _DETERMINING:
            self._determined = True
            self._clauses.counts.append(word.sense)
        elif word.kind == "negation":
            self._clauses.negate(word.sense)
        elif word.kind == "preposition":
            self._release()
            self._clauses.prepose(word.sense, passive=passive)
        elif word.kind == "conjunction":
            if word.sense in _CLAUSE_ENDS:
                self._end_clause()
            self._clauses.coordinated = word.sense == "and"
        elif word.kind == "pronoun":
            self._release()
            if word.lemma in _POSSESSIVES:
                self._determined = True
            else:
                self._clauses.refer(word)

    def _ended_in_participle(self) -> bool:
        return bool(self._run) and self._run[-1].form == "ed"

    def _end_run(self) -> None:
        run, self._run = self._run, []
        phrase: list[Word] = []
        for place, word in enumerate(run):
            if self._is_verb(run, place, phrase):
                self._end_phrase(phrase)
                self._release()
                phrase = []
                self._clauses.act(word, after_auxiliary=self._after_auxiliary)
            else:
                phrase.append(word)
        self._end_phrase(phrase)
        self._name(run)
        if run:
            self._determined = False
            self._after_auxiliary = False

    def _name(self, run: Sequence[Word]) -> None:
        # A word stands for its synonyms as the head of a phrase only: a jet is an airplane, "jet black" and "Lady Gaga" are not.
        for place, (word, after) in enumerate(pairwise(run), self._start):
            if word.kind in _NAMES and after.kind in _NAMES and word.sense != word.lemma:
                self.words[place] = word._replace(sense=word.lemma)

    def _release(self) -> None:
        # Adjectives that no noun follows are things themselves, as in "somebody in red".
        held, self._held = self._held, []
        if held:
            self._clauses.name(held[:-1], held[-1])

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
            return bool(phrase) or bool(self._clauses.subjects)
        return bool(phrase and phrase[-1].form == "plural") or (
            not phrase and bool(self.words) and _before(self.words, len(run) - place) in {"to", "they", "who"}
        )

    def _end_phrase(self, phrase: Sequence[Word]) -> None:
        if not phrase:
            return
        predicate = self._after_auxiliary and self._clauses.subjects and not self._determined
        if predicate and all(word.kind in ADJECTIVES or word.form == "ed" for word in phrase):
            self._clauses.describe(phrase)
        elif all(word.kind in ADJECTIVES for word in phrase):
            self._held += phrase
        else:
            *modifiers, head = (*self._held, *phrase)
            self._held = []
            self._clauses.name(modifiers, head)

    def _end_clause(self) -> None:
        self._end_run()
        self._release()
        self._clauses.end()


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
