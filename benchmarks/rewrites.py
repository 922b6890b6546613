"""Prompts made from prompts by a rewrite that asks for the same picture.

Every rewrite has a family, and is drawn by seed, family and prompt alone: the same prompts give the same pairs.
"""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

from draft import Draft, Edit, pick

from headrace.cache.canonical import NUMBERS
from headrace.cache.lexicon import lexicon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUESTS = (
    "generate an image of {}",
    "please draw {}",
    "create an image of {}",
    "please generate an image of {}",
    "draw me {}",
    "an image of {}",
    "a picture of {}",
    "can you make an image of {}",
    "show me {}",
    "i want a picture of {}",
    "{}, please",
)
_QUOTE = re.compile("[\"'\u201c\u2018]")
"""Nothing is rewritten in a prompt with quoted text: what stands in quotes stays as it is."""


def same(text: str, seed: int) -> Iterator[Edit]:
    """Rewrites that ask for the same picture, at most one or two of each family that fits the prompt."""
    draft = Draft(text)
    for family, make in _SAME.items():
        for made in make(draft, Random(f"{seed} {family} {text}")):  # noqa: S311 - repeatable, not secret
            if made != text and not _QUOTE.search(text):
                yield Edit(family, made)


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
    for place in pick(rng, long):
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
    for place in pick(rng, places):
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
    for place in pick(rng, places):
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
