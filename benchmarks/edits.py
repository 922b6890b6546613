"""Prompts made from prompts: by one small edit that asks for another picture, or by a rewrite that asks for the same one.

Every edit has a family, and is drawn by seed, family and prompt alone: the same prompts give the same pairs.
"""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from headrace.cache.canonical import ARTICLES, AUXILIARIES, NUMBERS
from headrace.cache.words import ADJECTIVES, lexicon, word_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return text.replace("\n", "|").split("|")


_PIECE = re.compile(r"\w+(?:'\w+)*|\s+|[^\w\s]")
COLOURS = _words("red blue green yellow orange purple pink brown black white gray golden silver beige teal turquoise")
SIZES = _words("big large small tiny huge tall short long wide narrow thick thin")
MATERIALS = _words("wooden metal plastic glass stone marble leather cotton brick paper ceramic rubber fabric steel")
SHAPES = _words("round square rectangular triangular oval cubic spherical conical cylindrical")
ADDED = [
    *_words(
        "old young wet dirty clean broken shiny happy sad angry empty sleeping smiling striped fluffy wooden rusty spotted ancient modern"
    ),
    *_words("decorated snowy"),
    *COLOURS,
    *SIZES,
    *MATERIALS,
]
_OPPOSITES = _words(
    """old/young open/closed clean/dirty wet/dry hot/cold full/empty bright/dark happy/sad big/small large/small tall/short long/short
wide/narrow thick/thin heavy/light sharp/dull sunny/rainy cloudy/sunny busy/empty modern/ancient new/old raw/cooked
smiling/frowning ripe/rotten indoor/outdoor parked/moving front/back upper/lower left/right top/bottom public/private
fancy/plain beautiful/ugly lit/unlit huge/tiny low/high female/male"""
)
OPPOSITE = dict(pair for one, other in (pair.split("/") for pair in _OPPOSITES) for pair in ((one, other), (other, one)))
PEOPLE = _words("man woman boy girl baby")
PEOPLE_MANY = _words("men women boys girls babies")
RELATIONS = _phrases(
    """in|on|under|above|behind|next to|in front of|across from|far from|to the left of|to the right of|around|against
through|toward"""
)
VERBS = _words(
    """holding carrying eating riding watching washing pushing pulling kicking throwing catching painting cutting wearing chasing
hugging feeding sitting standing lying running walking jumping sleeping flying swimming dancing climbing reading talking
drinking laughing crying"""
)
MEDIA = _phrases(
    """a photo of|a watercolor painting of|an oil painting of|a pencil sketch of|a cartoon of|a 3d render of
an anime drawing of|a sculpture of|a pixel art of|a charcoal drawing of|a stained glass window of
a black and white photo of"""
)
STYLES = _phrases(
    """in the style of van gogh|in the style of picasso|in cubist style|as a comic book|by greg rutkowski
by alphonse mucha|studio ghibli|impressionist style|low poly|film noir|trending on artstation|black and white
sepia|ukiyo-e|art deco"""
)
SCENES = _phrases(
    """at night|at sunset|in the rain|in the snow|in fog|at dawn|on a sunny day|in autumn|during a storm
under a starry sky|in a forest|on a beach|in a city street|on the moon|in a kitchen|seen from above|close-up
from behind"""
)
OBJECTS = _words(
    """dog cat horse bird car bicycle tree chair table book cup bottle hat umbrella ball flower lamp clock boat kite phone laptop pizza
cake apple banana sandwich backpack bench guitar sheep cow elephant bear zebra giraffe vase knife fork bowl spoon television
truck train bus airplane skateboard surfboard suitcase couch bed mirror window door fence rock fountain statue balloon candle
camera shoe teddy"""
)
SIGNS = _phrases("stop|open|closed|hello|welcome|happy birthday|for sale|exit|peace|no parking|fresh coffee|danger|love|sold out|this way")
REQUESTS = _phrases(
    """generate an image of {}|please draw {}|create an image of {}|please generate an image of {}|draw me {}
an image of {}|a picture of {}|can you make an image of {}|show me {}|i want a picture of {}|{}, please"""
)
_VOWELS = "aeiou"
_QUOTE = re.compile("[\"'\u201c\u2018]")
"""Nothing is rewritten in a prompt with quoted text: what stands in quotes stays as it is."""
_CLOSED = ARTICLES | AUXILIARIES


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
        return [place for place in self.words if self.kinds[place].kind in kinds and self.pieces[place].lower() not in _CLOSED]

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


def different(text: str, seed: int) -> Iterator[Edit]:
    """Edits that ask for another picture, at most one or two of each family that fits the prompt."""
    draft = Draft(text)
    for family, make in _DIFFERENT.items():
        for made in make(draft, Random(f"{seed} {family} {text}")):  # noqa: S311 - repeatable, not secret
            if made.lower() != " ".join(text.lower().split()):
                yield Edit(family, made)


def same(text: str, seed: int) -> Iterator[Edit]:
    """Rewrites that ask for the same picture, at most one or two of each family that fits the prompt."""
    draft = Draft(text)
    for family, make in _SAME.items():
        for made in make(draft, Random(f"{seed} {family} {text}")):  # noqa: S311 - repeatable, not secret
            if made != text and not _QUOTE.search(text):
                yield Edit(family, made)


def _pick(rng: Random, places: Sequence[int]) -> list[int]:
    return [rng.choice(places)] if places else []


def _other(rng: Random, words: Sequence[str], word: str) -> str:
    sense = word_of(word.lower()).sense
    return rng.choice([each for each in words if each != word.lower() and word_of(each).sense != sense])


def _replaced(kind: str, words: Sequence[str]) -> Callable[[Draft, Random], Iterator[str]]:
    def make(draft: Draft, rng: Random) -> Iterator[str]:
        for place in _pick(rng, draft.of(kind)):
            yield draft.put((place, _other(rng, words, draft.pieces[place])))

    return make


def _adjective(draft: Draft, rng: Random) -> Iterator[str]:
    for place in _pick(rng, [place for place in draft.words if draft.pieces[place].lower() in OPPOSITE]):
        yield draft.put((place, OPPOSITE[draft.pieces[place].lower()]))
    for place in _pick(rng, draft.of("adjective")):
        yield draft.put((place, _other(rng, ADDED, draft.pieces[place])))


def _count(draft: Draft, rng: Random) -> Iterator[str]:
    for place in _pick(rng, [place for place in draft.of("number") if draft.pieces[place].isalpha()]):
        yield draft.put((place, _other(rng, _words("two three four five six seven"), draft.pieces[place])))
    articles = [place for place in draft.words if draft.pieces[place].lower() in {"a", "an", "one"} and draft.after(place) in draft.nouns()]
    for place in _pick(rng, articles):
        noun = draft.after(place)
        assert noun is not None  # noqa: S101 - asked for above
        yield draft.put((place, rng.choice(_words("two three four several many"))), (noun, plural(draft.pieces[noun])))


def _plural(draft: Draft, rng: Random) -> Iterator[str]:
    articles = [place for place in draft.words if draft.pieces[place].lower() in {"a", "an", "the"} and draft.after(place) in draft.nouns()]
    for place in _pick(rng, articles):
        noun = draft.after(place)
        assert noun is not None  # noqa: S101 - asked for above
        if draft.kinds[noun].form != "plural":
            yield draft.put((place, rng.choice(["some", "the"])), (noun, plural(draft.pieces[noun])))
    many = [place for place in draft.nouns() if draft.kinds[place].form == "plural"]
    for place in _pick(
        rng,
        [place for place in many if place - 2 not in draft.kinds or draft.kinds[place - 2].kind in {"preposition", "conjunction", "verb"}],
    ):
        yield draft.put((place, "a " + draft.kinds[place].lemma))


def plural(noun: str) -> str:
    """A noun's plural."""
    if noun.endswith(("man", "woman")):
        return noun[:-2] + "en"
    if noun in {"child", "person"}:
        return {"child": "children", "person": "people"}[noun]
    if noun.endswith("y") and noun[-2:-1] not in _VOWELS:
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _negation(draft: Draft, rng: Random) -> Iterator[str]:
    lower = {place: draft.pieces[place].lower() for place in draft.words}
    for place in _pick(rng, [place for place in draft.words if lower[place] in {"with", "without"}]):
        yield draft.put((place, "without" if lower[place] == "with" else "with"))
    for place in _pick(rng, [place for place in draft.words if lower[place] in {"is", "are"}]):
        yield draft.put((place, lower[place] + " not"))
    for place in _pick(rng, draft.nouns()):
        yield draft.put().rstrip(" .") + f", but no {plural(draft.kinds[place].lemma)}"
    for place in _pick(rng, [place for place in draft.words if lower[place] in {"a", "an"} and place > 0]):
        yield draft.put((place, "no"))


def _verb(draft: Draft, rng: Random) -> Iterator[str]:
    for place in _pick(rng, [place for place in draft.of("verb", "posture") if draft.kinds[place].form == "ing"]):
        yield draft.put((place, _other(rng, VERBS, draft.pieces[place])))
    for place in _pick(rng, [place for place in draft.of("verb", "posture") if draft.kinds[place].form == "s"]):
        yield draft.put((place, rng.choice(_words("eats rides watches holds pushes chases throws washes jumps runs sleeps stands sits"))))


def _person(draft: Draft, rng: Random) -> Iterator[str]:
    for place in _pick(rng, draft.of("person")):
        many = draft.kinds[place].form == "plural"
        yield draft.put((place, _other(rng, PEOPLE_MANY if many else PEOPLE, draft.pieces[place])))
    swaps = {"he": "she", "she": "he", "his": "her", "her": "his", "him": "her"}
    for place in _pick(rng, [place for place in draft.words if draft.pieces[place].lower() in swaps]):
        yield draft.put((place, swaps[draft.pieces[place].lower()]))


def _object(draft: Draft, rng: Random) -> Iterator[str]:
    for place in _pick(rng, draft.nouns()):
        new = _other(rng, OBJECTS, draft.pieces[place])
        yield draft.put((place, plural(new) if draft.kinds[place].form == "plural" else new))


def _object_added(draft: Draft, rng: Random) -> Iterator[str]:
    text = draft.put().rstrip(" .,")
    yield text + rng.choice(
        [" and a {}", " with a {}", " next to a {}", ", a {}", " in front of a {}", " and two {}s", " while holding a {}"]
    ).format(rng.choice(OBJECTS))
    for place in _pick(rng, draft.nouns()[:-1]):
        yield draft.put(
            (place, draft.pieces[place] + rng.choice([" and a {}", " with a {}", " on a {}", " holding a {}"]).format(rng.choice(OBJECTS)))
        )
    for place in _pick(rng, draft.nouns()):
        yield draft.put((place, f"{rng.choice(OBJECTS)} {draft.pieces[place]}"))


def _object_removed(draft: Draft, rng: Random) -> Iterator[str]:
    starts = [place for place in draft.of("preposition", "conjunction") if place > 4]  # noqa: PLR2004 - not in the first words
    for place in _pick(rng, starts):
        if not draft.beside(place, "verb", "posture", "preposition", "conjunction", "pronoun"):
            yield "".join(draft.pieces[:place]).strip(" ,.")


def _attribute_added(draft: Draft, rng: Random) -> Iterator[str]:
    for place in rng.sample(draft.nouns(), min(2, len(draft.nouns()))):
        yield draft.put((place, f"{rng.choice(ADDED)} {draft.pieces[place]}"))


def _attribute_removed(draft: Draft, rng: Random) -> Iterator[str]:
    for place in _pick(rng, [place for place in draft.of(*ADJECTIVES) if draft.after(place) is not None]):
        yield draft.put((place, ""))


def _relation(draft: Draft, rng: Random) -> Iterator[str]:
    for place in _pick(rng, [place for place in draft.of("preposition") if draft.pieces[place].lower() in RELATIONS]):
        sense = draft.kinds[place].sense
        yield draft.put((place, rng.choice([each for each in RELATIONS if each != sense and not (sense == "near" and each == "next to")])))
    text = draft.put()
    for said, instead in (
        ("left of", "right of"),
        ("above", "below"),
        ("behind", "in front of"),
        ("on top of", "under"),
        ("inside", "outside"),
    ):
        for one, other in ((said, instead), (instead, said)):
            if f" {one} " in text:
                yield text.replace(f" {one} ", f" {other} ", 1)


def _swapped(*kinds: str) -> Callable[[Draft, Random], Iterator[str]]:
    def make(draft: Draft, rng: Random) -> Iterator[str]:
        places = draft.nouns() if "noun" in kinds else draft.of(*kinds)
        for _ in range(2):
            if len(places) > 1:
                one, other = sorted(rng.sample(places, 2))
                between = {draft.pieces[place].lower() for place in draft.words if one < place < other}
                if draft.kinds[one].sense != draft.kinds[other].sense and between - _CLOSED - {"and", "or"}:
                    yield draft.put((one, draft.pieces[other].lower()), (other, draft.pieces[one].lower()))

    return make


def _attribute_moved(draft: Draft, rng: Random) -> Iterator[str]:
    attributes = [place for place in draft.of(*ADJECTIVES, "number") if draft.after(place) is not None]
    for place in _pick(rng, attributes):
        targets = [noun for noun in draft.nouns() if abs(noun - place) > 3 and not (noun > 1 and noun - 2 in attributes)]  # noqa: PLR2004
        for noun in _pick(rng, targets):
            yield draft.put((place, ""), (noun, f"{draft.pieces[place].lower()} {draft.pieces[noun]}"))


def _phrases_swapped(draft: Draft, rng: Random) -> Iterator[str]:
    # Everything before and everything after one relation change places: who does it to whom.
    if 0 in draft.of("preposition") or "," in draft.pieces:
        return
    middles = [place for place in draft.of("preposition", "verb") if 2 < place < len(draft.pieces) - 3]  # noqa: PLR2004
    middles = [
        place
        for place in middles
        if draft.kinds[place].sense in {"on", "in", "under", "above", "behind"} or draft.kinds[place].form in {"ing", "s"}
    ]
    lone = [place for place in middles if not draft.beside(place, "preposition", "verb", "posture", "adverb", "conjunction")]
    for place in _pick(rng, lone):
        before, after = "".join(draft.pieces[:place]).strip(), "".join(draft.pieces[place + 1 :]).strip(" .")
        yield f"{after} {draft.pieces[place]} {before[:1].lower()}{before[1:]}"


def _style(draft: Draft, rng: Random) -> Iterator[str]:
    text = draft.put().rstrip(" .")
    yield f"{rng.choice(MEDIA)} {text[:1].lower()}{text[1:]}"
    yield f"{text}, {rng.choice(STYLES)}"


def _style_replaced(draft: Draft, rng: Random) -> Iterator[str]:
    for place in _pick(rng, draft.of("medium")):
        yield draft.put((place, _other(rng, _words("painting photo sketch cartoon sculpture poster watercolor"), draft.pieces[place])))


def _scene(draft: Draft, rng: Random) -> Iterator[str]:
    yield f"{draft.put().rstrip(' .')} {rng.choice(SCENES)}"


def _quoted(draft: Draft, rng: Random) -> Iterator[str]:
    text = draft.put()
    if (quoted := re.search(r'"([^"]{2,60})"', text)) is not None:
        yield text.replace(quoted[1], rng.choice(SIGNS))
    else:
        yield f'{text.rstrip(" .")} with a sign that says "{rng.choice(SIGNS)}"'


_DIFFERENT: dict[str, Callable[[Draft, Random], Iterator[str]]] = {
    "colour": _replaced("colour", COLOURS),
    "size": _replaced("size", SIZES),
    "material": _replaced("material", MATERIALS),
    "shape": _replaced("shape", SHAPES),
    "attribute replaced": _adjective,
    "attribute added": _attribute_added,
    "attribute removed": _attribute_removed,
    "attribute moved": _attribute_moved,
    "attributes swapped": _swapped(*ADJECTIVES),
    "count": _count,
    "counts swapped": _swapped("number"),
    "singular/plural": _plural,
    "negation": _negation,
    "relation": _relation,
    "relations swapped": _swapped("preposition"),
    "order": _phrases_swapped,
    "objects swapped": _swapped("noun"),
    "object replaced": _object,
    "object added": _object_added,
    "object removed": _object_removed,
    "action": _verb,
    "actions swapped": _swapped("verb", "posture"),
    "person": _person,
    "style": _style,
    "medium": _style_replaced,
    "scene": _scene,
    "quoted text": _quoted,
}


def _case(draft: Draft, rng: Random) -> Iterator[str]:
    text = draft.put()
    yield rng.choice([text.upper(), text.lower(), text.title(), text.capitalize()])


def _requested(draft: Draft, rng: Random) -> Iterator[str]:
    text = draft.put().rstrip(".")
    yield rng.choice(REQUESTS).format(text[:1].lower() + text[1:])


def _articles(draft: Draft, _: Random) -> Iterator[str]:
    pieces = [piece for piece in draft.pieces if piece.lower() not in {"a", "an", "the"}]
    yield " ".join("".join(pieces).split())


def _punctuation(draft: Draft, rng: Random) -> Iterator[str]:
    text = draft.put()
    if rng.random() < 0.5 and "," in text:  # noqa: PLR2004
        yield text.replace(",", "")
    else:
        yield text.rstrip(".") + rng.choice([".", "!", " .", "..."]) if not text.endswith(".") else text.rstrip(".")


def _spaces(draft: Draft, rng: Random) -> Iterator[str]:
    yield "".join(piece if not piece.isspace() else rng.choice([" ", "  "]) for piece in draft.pieces) + rng.choice(["", " "])


def _digits(draft: Draft, _: Random) -> Iterator[str]:
    numbers = [place for place in draft.of("number") if draft.after(place) in draft.nouns()]
    changed = [(place, NUMBERS[draft.pieces[place].lower()]) for place in numbers if draft.pieces[place].lower() in NUMBERS]
    words = {digits: word for word, digits in NUMBERS.items()}
    changed += [(place, words[draft.pieces[place]]) for place in numbers if draft.pieces[place] in words]
    if changed:
        yield draft.put(*changed)


def _spelling(draft: Draft, _: Random) -> Iterator[str]:
    text = draft.put()
    for one, other in (
        ("color", "colour"),
        ("gray", "grey"),
        ("center", "centre"),
        ("donut", "doughnut"),
        ("theater", "theatre"),
        ("jewelry", "jewellery"),
    ):
        if re.search(rf"\b{one}(?!e)", text):
            yield re.sub(rf"\b{one}", other, text)
        elif re.search(rf"\b{other}", text):
            yield re.sub(rf"\b{other}", one, text)


def _typo(draft: Draft, rng: Random) -> Iterator[str]:
    long = [place for place in draft.words if len(draft.pieces[place]) > 4]  # noqa: PLR2004
    for place in _pick(rng, long):
        word = draft.pieces[place]
        at = rng.randrange(1, len(word) - 1)
        yield draft.put(
            (
                place,
                rng.choice(
                    [word[:at] + word[at + 1 :], word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at] + word[at:]]
                ),
            )
        )


def _synonym(draft: Draft, rng: Random) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for word, sense in lexicon().senses.items():
        groups.setdefault(sense, [sense]).append(word)
    places = [place for place in draft.words if draft.pieces[place].lower() in groups.get(draft.kinds[place].sense, ())]
    for place in _pick(rng, places):
        others = [word for word in groups[draft.kinds[place].sense] if word != draft.pieces[place].lower()]
        kind = draft.kinds[place].kind
        if kind in {"noun", "person", "size", "adjective"} and others:
            yield draft.put((place, rng.choice(others)))
        elif draft.kinds[place].sense == "near" and draft.pieces[place].lower() in {"near", "beside"}:
            yield draft.put((place, rng.choice(["next to", "beside", "close to", "near", "adjacent to"])))


def _placed(draft: Draft, rng: Random) -> Iterator[str]:
    # "a cat on a mat": "there is a cat on a mat", "a cat is positioned on a mat", "on a mat is a cat".
    text = draft.put().rstrip(" .")
    low = text[:1].lower() + text[1:]
    relations = draft.of("preposition")
    verbs = draft.of("verb", "posture")
    if re.match(r"(?i)(an?|two|three|four|some|several) ", text):
        yield f"there {'is' if low.startswith('a') else 'are'} {low}"
    if len(relations) == 1 and not verbs and draft.kinds[relations[0]].sense in {"in", "on", "near", "under", "behind"} and "," not in text:
        place = relations[0]
        before = "".join(draft.pieces[:place]).strip()
        after = "".join(draft.pieces[place:]).strip(" .")
        if before and " and " not in before + after:
            yield rng.choice(
                ["{1}, {0}", "{1}, there is {0}", "{0} is positioned {1}", "{0} situated {1}", "{1} is {0}", "{0} is {1}"]
            ).format(before[:1].lower() + before[1:], after)


def _inverse(draft: Draft, _: Random) -> Iterator[str]:
    text = draft.put().rstrip(" .")
    for one, other in (
        ("to the left of", "to the right of"),
        ("above", "below"),
        ("behind", "in front of"),
        ("under", "above"),
        ("next to", "next to"),
        ("near", "near"),
    ):
        for said, instead in ((one, other), (other, one)):
            before, found, after = text.partition(f" {said} ")
            if found and len(draft.of("preposition")) <= 5 and not draft.of("verb", "posture") and " and " not in text:  # noqa: PLR2004
                if not any(f" {word} " in f" {before} {after} " for word in ("in", "on", "with", "of", "by")):
                    yield f"{after} {instead} {before[:1].lower()}{before[1:]}"
                break


def _coordinated(draft: Draft, _: Random) -> Iterator[str]:
    found = re.fullmatch(
        r"(?i)((?:a|an|one|two|three|four|five|the) [\w ]{2,40}) and ((?:a|an|one|two|three|four|five|the) [\w ]{2,40})",
        draft.put().rstrip(" ."),
    )
    if found is not None and not draft.of("preposition", "verb", "posture"):
        yield f"{found[2]} and {found[1].lower()}"


def _relative(draft: Draft, rng: Random) -> Iterator[str]:
    places = [
        place
        for place in draft.of("colour", "size", "material")
        if draft.after(place) in draft.nouns() and place > 1 and place - 2 in draft.kinds
    ]
    places = [place for place in places if draft.pieces[place - 2].lower() in {"a", "an", "the"}]
    for place in _pick(rng, places):
        noun = draft.after(place)
        assert noun is not None  # noqa: S101 - asked for above
        yield draft.put((place, ""), (noun, f"{draft.pieces[noun]} that is {draft.pieces[place]}"))


def _progressive(draft: Draft, _: Random) -> Iterator[str]:
    for place in draft.of("verb", "posture"):
        before = draft.kinds.get(place - 2)
        if draft.kinds[place].form == "ing" and before is not None and before.kind in {"noun", "person"}:
            many = before.form == "plural" or draft.pieces[place - 2].lower() == "people"
            yield draft.put((place, ("are " if many else "is ") + draft.pieces[place]))
            yield draft.put((place, "that are " + draft.pieces[place] if many else "that is " + draft.pieces[place]))
            break


_SAME: dict[str, Callable[[Draft, Random], Iterator[str]]] = {
    "case": _case,
    "request": _requested,
    "articles": _articles,
    "punctuation": _punctuation,
    "spaces": _spaces,
    "digits": _digits,
    "spelling": _spelling,
    "typo": _typo,
    "synonym": _synonym,
    "placed": _placed,
    "inverse": _inverse,
    "coordinated": _coordinated,
    "relative clause": _relative,
    "progressive": _progressive,
}
FORMATTING = frozenset({"case", "request", "articles", "punctuation", "spaces", "digits", "spelling"})
"""Families that change nothing but the form."""

_BY_HAND = """
order|the dog chases the cat across the yard|the cat chases the dog across the yard
order|a boy carries a girl on his back|a girl carries a boy on her back
order|the horse is pulled by the man|the man is pulled by the horse
order|a teacher listens while the student speaks|a student listens while the teacher speaks
order|the old man kisses the young woman|the young woman kisses the old man
order|a bird eats a snake|a snake eats a bird
order|the truck is following the motorcycle down the hill|the motorcycle is following the truck down the hill
order|a fireman rescues a cat from a tree while a boy watches|a boy rescues a cat from a tree while a fireman watches
order|there is more milk than coffee in the cup|there is more coffee than milk in the cup
order|the car is on the left of the bus and faces it|the bus is on the left of the car and faces it
order|a painting of a tree inside a house|a painting of a house inside a tree
order|a lamp stands on a table under a shelf|a table stands on a lamp under a shelf
order|a mouse hides behind a cheese|a cheese hides behind a mouse
order|the sailor waves at the captain from the pier|the captain waves at the sailor from the pier
order|the flowers are in the vase and the vase is on the book|the vase is in the flowers and the book is on the vase
order|the sun sets behind the mountain while the moon rises over the sea|the moon sets behind the mountain while the sun rises over the sea
order|the mug is full and the glass is empty|the glass is full and the mug is empty
order|the woman stands while the man sits on the bench|the man stands while the woman sits on the bench
order|the child throws the ball to the dog|the dog throws the ball to the child
order|the tall building casts a shadow on the small church|the small church casts a shadow on the tall building
order|smoke rises from the house next to the factory|smoke rises from the factory next to the house
binding|a girl in a red dress with a blue bag|a girl in a blue dress with a red bag
binding|a square window in a round door|a round window in a square door
binding|the left door is open and the right door is closed|the left door is closed and the right door is open
binding|a fluffy dog with a smooth ball|a smooth dog with a fluffy ball
binding|a young man beside an old car|an old man beside a young car
binding|a long table with short legs|a short table with long legs
binding|two apples and three pears|three apples and two pears
binding|a wooden spoon in a metal bowl|a metal spoon in a wooden bowl
binding|a bright star over a dark city|a dark star over a bright city
relation|a plane above the clouds|a plane below the clouds
relation|people walking towards the stadium|people walking away from the stadium
relation|a cat inside a box|a cat outside a box
relation|a man getting on the bus|a man getting off the bus
relation|a ladder leaning against a wall|a ladder lying by a wall
relation|a boat going under the bridge|a boat going past the bridge
attribute|a bald man reading|a bearded man reading
attribute|an unlit candle on a cake|a lit candle on a cake
attribute|a half eaten apple|an apple
attribute|a house with a flat roof|a house with a steep roof
object|a lion resting in the grass|a tiger resting in the grass
object|a cup of tea on a saucer|a cup of coffee on a saucer
object|a violin leaning on a chair|a cello leaning on a chair
object|an astronaut, sharp focus, 8k, by greg rutkowski and artgerm|a diver, sharp focus, 8k, by greg rutkowski and artgerm
object|a castle on a cliff, matte painting, artstation, octane render|a village on a cliff, matte painting, artstation, octane render
added|a dog on a beach|a dog on a beach with a frisbee
added|a cup on a table|a chipped cup on a table
added|a street with cars|a flooded street with cars
style|a lighthouse, by claude monet|a lighthouse, by edvard munch
style|a lighthouse at night, watercolor|a lighthouse at night, oil on canvas
count|a single rose in a bottle|a bunch of roses in a bottle
count|a few birds on a wire|many birds on a wire
negation|a street with people|a street without people
negation|a man wearing a hat|a man not wearing a hat
quoted|a neon sign that says "open late"|a neon sign that says "open soon"
scene|a bridge in the morning|a bridge in the evening
action|a cat is about to jump off a wall|a cat has jumped off a wall
=|a cat sitting on a mat|on a mat sits a cat
=|a small boat near a big rock|near a big rock there is a small boat
=|a man who is riding a horse on the beach|a man riding a horse on the beach
=|a horse is being ridden by a man|a man is riding a horse
=|the dog lies under the table|the dog is lying under the table
=|a vase of flowers next to a window|next to a window is a vase of flowers
=|a bowl to the left of a plate|a plate to the right of a bowl
=|a lamp behind a sofa|a sofa in front of a lamp
=|a woman with a red umbrella|a woman who has a red umbrella
=|two children are playing in the snow|there are two children playing in the snow
=|a clock tower that is very tall stands in the square|in the square stands a very tall clock tower
=|a person standing near a couch|a person stands beside a sofa
=|in the kitchen, a cook is cutting vegetables|a cook is cutting vegetables in the kitchen
=|a large elephant drinking water|a big elephant that is drinking water
=|a bench made of wood in a park|a wooden bench in a park
"""
HAND_WRITTEN = [
    ("in other words" if family == "=" else family, asked, known, family == "=")
    for family, asked, known in (line.split("|") for line in _BY_HAND.strip().splitlines())
]
"""Pairs that no generator has made: family, two prompts, whether they ask for the same picture."""
