"""A prompt in pieces that can be exchanged: what edits and rewrites are made with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from headrace.cache.canonical import ARTICLES, AUXILIARIES
from headrace.cache.lexicon import word_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

CLOSED = ARTICLES | AUXILIARIES
_PIECE = re.compile(r"\w+(?:'\w+)*|\s+|[^\w\s]")
_VOWELS = "aeiou"


class Edit(NamedTuple):
    """A prompt made from another one."""

    family: str
    text: str


class Draft:
    """A prompt in pieces that can be exchanged.

    Args:
        text: the prompt.
    """

    def __init__(self, text: str) -> None:
        self.pieces = _PIECE.findall(text.strip())
        self.words = [place for place, piece in enumerate(self.pieces) if piece[0].isalnum()]
        self.kinds = {place: word_of(self.pieces[place].lower()) for place in self.words}

    def of(self, *kinds: str) -> list[int]:
        """Places of the words of these kinds."""
        return [place for place in self.words if self.kinds[place].kind in kinds and self.pieces[place].lower() not in CLOSED]

    def after(self, place: int) -> int | None:
        """The next word, where nothing but a space is between."""
        return place + 2 if place + 2 in self.kinds and self.pieces[place + 1].isspace() else None

    def beside(self, place: int, *kinds: str) -> bool:
        """Whether the word before or after is of these kinds."""
        return any(near in self.kinds and self.kinds[near].kind in kinds for near in (place - 2, place + 2))

    def nouns(self) -> list[int]:
        """Heads of noun phrases, by the look of it."""
        heads = []
        for place in self.of("noun", "person"):
            after = self.after(place)
            if after is None or self.kinds[after].kind not in {"noun", "person"}:
                heads.append(place)
        return heads

    def put(self, *changes: tuple[int, str]) -> str:
        """The text with other words at these places; articles agree with them."""
        pieces = list(self.pieces)
        for place, word in changes:
            pieces[place] = word.capitalize() if pieces[place][:1].isupper() and place == 0 else word
        for place in range(2, len(pieces)):
            article = pieces[place - 2]
            if article.lower() in {"a", "an"} and pieces[place - 1].isspace() and pieces[place][:1].isalpha():
                pieces[place - 2] = article[0] + ("n" if pieces[place][0].lower() in _VOWELS else "")
        return re.sub(r"\s+", " ", "".join(pieces)).strip()


def pick(rng: Random, places: Sequence[int]) -> list[int]:
    """One of the places, where there are any."""
    return [rng.choice(places)] if places else []


def plural(noun: str) -> str:
    """A noun's plural."""
    if noun.endswith(("man", "woman")):
        return noun[:-2] + "en"
    if noun in {"child", "person"}:
        return {"child": "children", "person": "people"}[noun]
    if noun.endswith("y") and noun[-2:-1] not in _VOWELS:
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")
