"""Who does what to whom: what is said of each thing that a prompt names, told from the order of things, verbs and prepositions.

One file, though it is a long one: a clause is read in one pass, whose steps hand each other what they found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headrace.cache.lexicon import Word, is_animate

if TYPE_CHECKING:
    from collections.abc import Sequence

_INVERSE = {"right-of": "left-of", "under": "above", "behind": "front-of"}
_SYMMETRIC = frozenset({"near", "and", "between", "middle-of"})
_RELATIVES = frozenset({"that", "which", "who", "whom"})
_OBJECTS = frozenset({"it", "them", "him", "her"})
"""Pronouns that stand for what was named before."""
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


class Relation(NamedTuple):
    """Something that one thing has to do with another; ``left`` of, ``above`` and in ``front`` of stand for their inverses too."""

    subject: str
    relation: str
    object: str

    def turned(self) -> Relation:
        """The same the other way round."""
        return Relation(self.object, self.relation, self.subject)


class Clauses:
    """Takes what a prompt says, phrase by phrase."""

    def __init__(self) -> None:
        self.things: list[str] = []
        """Heads of the noun phrases, in order."""
        self.numbers: list[tuple[str, str]] = []
        """Numbers with what is counted."""
        self.negated: list[tuple[str, str]] = []
        """Negations with what they negate."""
        self.attributes: set[tuple[str, str]] = set()
        """What things are like."""
        self.relations: set[Relation] = set()
        """What they have to do with each other."""
        self.links: set[Relation] = set()
        """Prepositions, each with the thing named just before it."""
        self.subjects: list[str] = []
        """What a verb or a preposition that comes now belongs to."""
        self.coordinated = False
        """Whether "and" or a comma stood before what comes now."""
        self.counts: list[str] = []
        """Numbers whose thing is still to come."""
        self._topic: list[str] = []
        """The subjects before these: what a pronoun stands for that cannot mean the subject itself."""
        self._negation = ""
        self._verb: Word | None = None
        self._preposition = ""
        self._fronted: list[tuple[str, str]] = []
        """Prepositions and their things that stood before any subject."""
        self._last_animate = False
        self._object_of = ""
        """What the last thing is the object of."""
        self._joined: set[Relation] = set()
        """What was said of the last thing only because "and" stood before it."""

    def name(self, modifiers: Sequence[Word], head: Word) -> None:
        """A thing, and what it is like."""
        self.attributes.update((_quality(word), head.sense) for word in modifiers)
        self.thing(head.sense)
        self._last_animate = is_animate(head.sense)

    def describe(self, words: Sequence[Word]) -> None:
        """What the subjects are said to be."""
        for word in words:
            self.attributes.update((_quality(word), subject) for subject in self.subjects)
            self._end_negation(word.sense)

    def end_counts(self) -> None:
        """Whatever was to be counted is not named."""
        self.numbers += [(count, "") for count in self.counts]
        self.counts = []

    def negate(self, negation: str) -> None:
        """A word such as no or without."""
        self._end_negation("")
        self._negation = negation
        if negation == "without":
            self.relate("with")

    def prepose(self, preposition: str, *, passive: bool) -> None:
        """A preposition; "by" after a participle names who does it."""
        if passive and self._verb is not None:
            self._relations_of_passive(self._verb)
        elif self._verb is not None and preposition in _ADVERBIAL:
            self.relate(f"{self._verb.sense} {preposition}")
        else:
            self.relate(preposition)

    def relate(self, preposition: str) -> None:
        """What comes now has this to do with the subjects."""
        self._preposition = preposition
        self._verb = None

    def refer(self, pronoun: Word) -> None:
        """A pronoun that does not belong to a noun."""
        if pronoun.lemma in _RELATIVES:
            self.subjects = self.things[-1:]
            self._preposition = ""
        elif pronoun.lemma in _OBJECTS and (self._preposition or self._verb is not None) and (meant := self._meant()):
            self._related_to(meant)
        else:
            self.thing(pronoun.sense)

    def act(self, verb: Word, *, after_auxiliary: bool) -> None:
        """A verb of the subjects, or of whoever was named last."""
        self._end_negation(verb.sense)
        if verb.form == "ing" and self._last_animate and not after_auxiliary:
            # Whoever was named last does it, even if only something else was said to be near: "a girl next to a boy eating".
            self._turn_to(self.things[-1:])
        elif verb.form == "ed" and not after_auxiliary and self._object_of and not self.coordinated:
            self._turn_to(self.things[-1:])  # "holding a cake covered in frosting": the cake is
        if self._joined and verb.form == "ing":
            self.relations -= self._joined  # "a cat on a mat and a dog running": no dog on the mat
            self._turn_to(self.things[-1:])
        for subject in self.subjects:
            self.relations.add(Relation(subject, verb.sense, ""))
        self._verb = verb
        self._preposition = ""
        self.coordinated = False

    def thing(self, thing: str) -> None:
        """A thing, as a subject or as the object of what came before."""
        animate, self._last_animate = self._last_animate, False
        self.things.append(thing)
        self._end_negation(thing)
        self.numbers += [(count, thing) for count in self.counts]
        self.counts = []
        self._joined = set()
        if self._preposition:
            self._thing_of_preposition(thing, self._preposition, animate=animate)
            self._preposition = ""
        elif self._verb is not None:
            self._thing_of_verb(thing, self._verb.sense)
            self._verb = None
        elif self.coordinated and self._object_of and self.subjects:
            # "a plate with a fork and a knife on a table": of the same as the fork, and maybe the next subject.
            before = set(self.relations)
            for subject in self.subjects:
                self._put(subject, self._object_of, thing)
            self._joined = self.relations - before
            self._turn_to([thing])
        else:
            self._subject(thing)
        self.coordinated = False

    def end(self) -> None:
        """What comes now has other subjects."""
        self._end_negation("")
        self.end_counts()
        self._turn_to([])
        self._verb = None
        self._preposition = ""
        self._fronted = []
        self._object_of = ""

    def _turn_to(self, subjects: list[str]) -> None:
        if self.subjects and self.subjects != subjects:
            self._topic = self.subjects
        self.subjects = subjects

    def _meant(self) -> str:
        # "A plate with a fork on it": the plate. "A cat sleeps while a dog looks at it": the cat.
        others = [thing for thing in self.subjects if thing not in self.things[-1:]] or self._topic
        return others[0] if others else ""

    def _related_to(self, meant: str) -> None:
        relation = self._preposition or (self._verb.sense if self._verb is not None else "")
        self._put(self.things[-1], relation, meant)
        self._preposition, self._verb = "", None

    def _relations_of_passive(self, verb: Word) -> None:
        self.relations -= {Relation(subject, verb.sense, "") for subject in self.subjects}
        self._preposition = "by:" + verb.sense
        self._verb = None

    def _thing_of_preposition(self, thing: str, preposition: str, *, animate: bool) -> None:
        self._object_of = preposition
        if len(self.things) > 1:
            self.links.add(Relation(self.things[-2], preposition, thing))
        if preposition == "of" and self.subjects and self.subjects[-1] in _OF_THINGS:
            self.relations.add(Relation(self.subjects[-1], "of", thing))
            self.subjects = [thing]
        elif len(self.things) > 1 and (preposition == "of" or (preposition == "with" and animate)):
            # "A girl next to a boy with a hat": the boy has it; "a girl in a park with a hat": the park has not.
            self._put(self.things[-2], preposition, thing)
        elif self.subjects:
            for subject in self.subjects:
                self._put(subject, preposition, thing)
        else:
            self._fronted = [*self._fronted[-3:], (preposition, thing)]

    def _thing_of_verb(self, thing: str, verb: str) -> None:
        self._object_of = verb
        for subject in self.subjects:
            self._put(subject, verb, thing)
        if not self.subjects:
            self.relations.add(Relation("", verb, thing))

    def _subject(self, thing: str) -> None:
        if self.coordinated:
            self.subjects = [*self.subjects[-3:], thing]
        else:
            self._turn_to([thing])
        self._object_of = ""
        for preposition, fronted in self._fronted:
            self._put(thing, preposition, fronted)
        if not self.coordinated:
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


def _quality(word: Word) -> str:
    # What falls has not fallen.
    return word.sense + "-ing" if word.form == "ing" else word.sense
