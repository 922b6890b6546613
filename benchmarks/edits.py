"""Prompts made from prompts by one small edit that asks for another picture.

Every edit has a family, and is drawn by seed, family and prompt alone: the same prompts give the same pairs.
"""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

from draft import CLOSED, Draft, Edit, pick, plural

from headrace.cache.lexicon import ADJECTIVES, word_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


ROLES = frozenset(
    [
        "order",
        "objects swapped",
        "attributes swapped",
        "attribute moved",
        "relation",
        "relations swapped",
        "actions swapped",
        "counts swapped",
    ]
)
"""Families whose pairs have all or nearly all words in common: the hardest ones."""
_NEVER_MOVED = frozenset(
    {"it", "them", "him", "her", "me", "which", "that", "is", "are", "was", "has", "the left", "left", "right", "top", "front"}
)
"""With one of these at an end, half a sentence does not move: "it on the table has a plate"."""


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return text.replace("\n", "|").split("|")


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


def different(text: str, seed: int) -> Iterator[Edit]:
    """Edits that ask for another picture, at most one or two of each family that fits the prompt."""
    draft = Draft(text)
    for family, make in _DIFFERENT.items():
        for made in make(draft, Random(f"{seed} {family} {text}")):  # noqa: S311 - repeatable, not secret
            if made.lower() != " ".join(text.lower().split()):
                yield Edit(family, made)


def _other(rng: Random, words: Sequence[str], word: str) -> str:
    sense = word_of(word.lower()).sense
    return rng.choice([each for each in words if each != word.lower() and word_of(each).sense != sense])


def _replaced(kind: str, words: Sequence[str]) -> Callable[[Draft, Random], Iterator[str]]:
    def make(draft: Draft, rng: Random) -> Iterator[str]:
        for place in pick(rng, draft.of(kind)):
            yield draft.put((place, _other(rng, words, draft.pieces[place])))

    return make


def _adjective(draft: Draft, rng: Random) -> Iterator[str]:
    for place in pick(rng, [place for place in draft.words if draft.pieces[place].lower() in OPPOSITE]):
        yield draft.put((place, OPPOSITE[draft.pieces[place].lower()]))
    for place in pick(rng, draft.of("adjective")):
        yield draft.put((place, _other(rng, ADDED, draft.pieces[place])))


def _count(draft: Draft, rng: Random) -> Iterator[str]:
    for place in pick(rng, [place for place in draft.of("number") if draft.pieces[place].isalpha()]):
        yield draft.put((place, _other(rng, _words("two three four five six seven"), draft.pieces[place])))
    articles = [place for place in draft.words if draft.pieces[place].lower() in {"a", "an", "one"} and draft.after(place) in draft.nouns()]
    for place in pick(rng, articles):
        noun = draft.after(place)
        assert noun is not None  # noqa: S101 - asked for above
        yield draft.put((place, rng.choice(_words("two three four several many"))), (noun, plural(draft.pieces[noun])))


def _plural(draft: Draft, rng: Random) -> Iterator[str]:
    articles = [place for place in draft.words if draft.pieces[place].lower() in {"a", "an", "the"} and draft.after(place) in draft.nouns()]
    for place in pick(rng, articles):
        noun = draft.after(place)
        assert noun is not None  # noqa: S101 - asked for above
        if draft.kinds[noun].form != "plural":
            yield draft.put((place, rng.choice(["some", "the"])), (noun, plural(draft.pieces[noun])))
    many = [place for place in draft.nouns() if draft.kinds[place].form == "plural"]
    for place in pick(
        rng,
        [place for place in many if place - 2 not in draft.kinds or _before(draft, place) in {"preposition", "conjunction", "verb"}],
    ):
        yield draft.put((place, "a " + draft.kinds[place].lemma))


def _before(draft: Draft, place: int) -> str:
    # The kind of the word before; "of" may count ("a group of cars"), which no preposition does.
    return draft.kinds[place - 2].kind if draft.pieces[place - 2].lower() != "of" else ""


def _negation(draft: Draft, rng: Random) -> Iterator[str]:
    lower = {place: draft.pieces[place].lower() for place in draft.words}
    for place in pick(rng, [place for place in draft.words if lower[place] in {"with", "without"}]):
        yield draft.put((place, "without" if lower[place] == "with" else "with"))
    for place in pick(rng, [place for place in draft.words if lower[place] in {"is", "are"}]):
        yield draft.put((place, lower[place] + " not"))
    for place in pick(rng, draft.nouns()):
        yield draft.put().rstrip(" .") + f", but no {plural(draft.kinds[place].lemma)}"
    for place in pick(rng, [place for place in draft.words if lower[place] in {"a", "an"} and place > 0]):
        yield draft.put((place, "no"))


def _verb(draft: Draft, rng: Random) -> Iterator[str]:
    for place in pick(rng, [place for place in draft.of("verb", "posture") if draft.kinds[place].form == "ing"]):
        yield draft.put((place, _other(rng, VERBS, draft.pieces[place])))
    for place in pick(rng, [place for place in draft.of("verb", "posture") if draft.kinds[place].form == "s"]):
        yield draft.put((place, rng.choice(_words("eats rides watches holds pushes chases throws washes jumps runs sleeps stands sits"))))


def _person(draft: Draft, rng: Random) -> Iterator[str]:
    for place in pick(rng, draft.of("person")):
        many = draft.kinds[place].form == "plural"
        yield draft.put((place, _other(rng, PEOPLE_MANY if many else PEOPLE, draft.pieces[place])))
    swaps = {"he": "she", "she": "he", "his": "her", "her": "his", "him": "her"}
    for place in pick(rng, [place for place in draft.words if draft.pieces[place].lower() in swaps]):
        yield draft.put((place, swaps[draft.pieces[place].lower()]))


def _object(draft: Draft, rng: Random) -> Iterator[str]:
    for place in pick(rng, draft.nouns()):
        new = _other(rng, OBJECTS, draft.pieces[place])
        yield draft.put((place, plural(new) if draft.kinds[place].form == "plural" else new))


def _object_added(draft: Draft, rng: Random) -> Iterator[str]:
    text = draft.put().rstrip(" .,")
    yield text + rng.choice(
        [" and a {}", " with a {}", " next to a {}", ", a {}", " in front of a {}", " and two {}s", " while holding a {}"]
    ).format(rng.choice(OBJECTS))
    for place in pick(rng, draft.nouns()[:-1]):
        yield draft.put(
            (place, draft.pieces[place] + rng.choice([" and a {}", " with a {}", " on a {}", " holding a {}"]).format(rng.choice(OBJECTS)))
        )
    for place in pick(rng, draft.nouns()):
        yield draft.put((place, f"{rng.choice(OBJECTS)} {draft.pieces[place]}"))


def _object_removed(draft: Draft, rng: Random) -> Iterator[str]:
    starts = [place for place in draft.of("preposition", "conjunction") if place > 4]  # noqa: PLR2004 - not in the first words
    for place in pick(rng, starts):
        if not draft.beside(place, "verb", "posture", "preposition", "conjunction", "pronoun"):
            yield "".join(draft.pieces[:place]).strip(" ,.")


def _attribute_added(draft: Draft, rng: Random) -> Iterator[str]:
    for place in rng.sample(draft.nouns(), min(2, len(draft.nouns()))):
        yield draft.put((place, f"{rng.choice(ADDED)} {draft.pieces[place]}"))


def _attribute_removed(draft: Draft, rng: Random) -> Iterator[str]:
    for place in pick(rng, [place for place in draft.of(*ADJECTIVES) if draft.after(place) is not None]):
        yield draft.put((place, ""))


def _places_something(draft: Draft, place: int) -> bool:
    # "White in color" and "skis down in" are no places.
    after = draft.after(place)
    return after is not None and draft.pieces[after].lower() not in {"color", "colour", "which", "that", "it"}


def _relation(draft: Draft, rng: Random) -> Iterator[str]:
    places = [place for place in draft.of("preposition") if draft.pieces[place].lower() in RELATIONS]
    for place in pick(rng, [place for place in places if _places_something(draft, place)]):
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
                if draft.kinds[one].sense != draft.kinds[other].sense and between - CLOSED - {"and", "or"}:
                    yield draft.put((one, draft.pieces[other].lower()), (other, draft.pieces[one].lower()))

    return make


def _attribute_moved(draft: Draft, rng: Random) -> Iterator[str]:
    attributes = [place for place in draft.of(*ADJECTIVES, "number") if draft.after(place) is not None]
    for place in pick(rng, attributes):
        targets = [noun for noun in draft.nouns() if abs(noun - place) > 3 and not _described(draft, noun)]  # noqa: PLR2004
        for noun in pick(rng, targets):
            yield draft.put((place, ""), (noun, f"{draft.pieces[place].lower()} {draft.pieces[noun]}"))


def _described(draft: Draft, noun: int) -> bool:
    # Whether something stands between the noun and its article, so that one more word would have to be put in a place of its own.
    return noun - 2 in draft.kinds and draft.kinds[noun - 2].kind in {*ADJECTIVES, "noun", "person", "number", "quantifier", "adverb"}


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
    for place in pick(rng, lone):
        before, after = "".join(draft.pieces[:place]).strip(), "".join(draft.pieces[place + 1 :]).strip(" .")
        ends = {draft.pieces[place - 2].lower(), after.split()[0].lower(), after.split()[-1].lower()}
        if not ends & _NEVER_MOVED and draft.kinds[draft.words[-1]].kind in {"noun", "person"}:
            yield f"{after} {draft.pieces[place]} {before[:1].lower()}{before[1:]}"


def _style(draft: Draft, rng: Random) -> Iterator[str]:
    text = draft.put().rstrip(" .")
    yield f"{rng.choice(MEDIA)} {text[:1].lower()}{text[1:]}"
    yield f"{text}, {rng.choice(STYLES)}"


def _style_replaced(draft: Draft, rng: Random) -> Iterator[str]:
    for place in pick(rng, draft.of("medium")):
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
