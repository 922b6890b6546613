"""The content of a prompt as a sequence of words: two prompts with the same sequence ask for the same picture, without any model.

What is taken out is what no picture shows: the request itself ("please generate an image of"), case, punctuation, articles, auxiliaries,
and a plural s where a number next to it says how many. Everything else stays, in its order: prepositions, pronouns, negations and media
("a photo of") as much as nouns, symbols and switches as they are, and quoted text to the letter.

One file, though it is a long one: its rules are one grammar, and are read together.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LETTER = r"[^\s\d\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x9f\u2010-\u2015\u2018-\u201f\u2026\u3001\u3002]"
_NUMBER = r"\d+(?:[.,:/]\d+)*"
_TOKEN = re.compile(
    rf"""
    "[^"]*" | (?<!\S) "(?=\w) [^"]* \Z                  # quoted text, maybe never closed
    | (?<!\w)'[^'"]*'(?!\w)
    | {_NUMBER} | (?<![^\s]) [.]\d+
    | {_LETTER}+ (?:'{_LETTER}+)*
    | : (?:{_NUMBER} | {_LETTER}+)                      # a weight: (red:1.3)
    | (?<!\S) --? (?:{_NUMBER} | {_LETTER}+)            # a switch: --ar 16:9
    | \S
    """,
    re.VERBOSE,
)
_DOUBLED = re.compile(r'""(?=\w)|(?<=\w)""')
_STRAIGHT = str.maketrans(
    {
        "\u2018": "'",
        "\u201a": "'",
        "\u2019": "'",
        "\u201b": "'",
        "`": "'",
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f", '"'),
    }
)
PUNCTUATION = frozenset(".,;:!?-'\u2010\u2011\u2012\u2013\u2014\u2015\u2026\u3001\u3002")
ARTICLES = frozenset({"a", "an", "the"})
AUXILIARIES = frozenset({"is", "are", "was", "were", "be", "been", "being", "am"})
_LETTERS = {"a": '"A"', "am": '"AM"'}
"""How the letter, and the time of day, are told from the article and the verb."""
_SAYING = frozenset({"says", "saying", "reads", "titled", "labeled", "labelled", "spelling"})
"""After one of these a text may follow without quotes: its capitals matter."""
_ENDING = frozenset(".,;:!?)")
_BEFORE_CAPITAL = PUNCTUATION | {"of", "draw", "me", "generate", "create", "make", "show", "render", "produce", "please"}
_INVARIANT = frozenset({"sheep", "fish", "deer", "moose", "bison", "salmon", "squid", "aircraft", "spacecraft", "series", "species"})
_DROPPED = PUNCTUATION | ARTICLES | AUXILIARIES
_RELATIVES = frozenset({"that", "which", "who", "there"})
_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty"
)
NUMBERS = {word: str(value) for value, word in enumerate(_COUNTED.split())} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "dozen": "12",
}
QUANTIFIERS = frozenset({"several", "many", "multiple", "few", "both", "various", "numerous"})
_COUNTING_AFTER = _words(
    "and or of with in on at by to from for into near behind above below under over between around beside draw make show generate create "
    "me has have holding riding eating wearing carrying watching showing depicting containing these those his her their its my only"
).union(ARTICLES, AUXILIARIES, PUNCTUATION)
"""What may stand before a number that counts, and not before one that names ("route 66")."""
_MOST_COUNTED = 100
_BETWEEN = _words(
    "red blue green yellow orange purple pink brown black white gray golden silver big large small little tiny huge tall short long "
    "old young new round square wooden metal plastic glass beautiful cute happy"
)
"""What may stand between a number and its noun."""
_EXPANDED = {
    short: tuple(full.split("_"))
    for short, full in _pairs(
        "isn't:is_not aren't:are_not wasn't:was_not weren't:were_not don't:do_not doesn't:does_not didn't:did_not can't:can_not "
        "cannot:can_not won't:will_not it's:it_is he's:he_is she's:she_is that's:that_is who's:who_is there's:there_is "
        "they're:they_are you're:you_are we're:we_are i'm:i_am i'd:i_would &:and"
    ).items()
}
_SPELT = _pairs(
    "grey:gray centre:center theatre:theater jewellery:jewelry aeroplane:airplane pyjamas:pajamas tyre:tire tyres:tires "
    "moustache:mustache doughnut:donut doughnuts:donuts fibre:fiber aluminium:aluminum metre:meter travelling:traveling "
    "catalogue:catalog storey:story sceptre:scepter sombre:somber mediaeval:medieval"
) | {
    british + end: british.replace("our", "or") + end
    for british in ("colour", "armour", "harbour", "neighbour", "favour", "flavour", "vapour", "odour", "behaviour", "honour")
    for end in ("", "s", "ed", "ful", "ing", "less", "hood")
}
_POLITE = tuple(
    tuple(phrase.split())
    for phrase in (
        "please",
        "kindly",
        "can you",
        "could you",
        "would you",
        "i want you to",
        "i would like you to",
        "i want",
        "i need",
        "i would like",
    )
)
_COMMANDS = frozenset({"draw", "make", "render", "produce", "show", "give", "create", "generate"})
_DRAWING = frozenset({"draw", "render", "generate", "create"})
"""Whatever is drawn is a picture; what is made, shown or given may be a face, a leg or a hug."""
_POLITE_FIRST = frozenset({"please", "kindly", "can", "could", "would", "i"})
_PICTURES = frozenset({"image", "picture"})
_OF = frozenset({"of", "showing", "depicting"})
_IRREGULAR = _pairs(
    "men:man women:woman children:child people:person mice:mouse geese:goose feet:foot teeth:tooth oxen:ox wolves:wolf leaves:leaf "
    "knives:knife loaves:loaf shelves:shelf calves:calf halves:half lives:life wives:wife scarves:scarf elves:elf thieves:thief "
    "dwarves:dwarf hooves:hoof quizzes:quiz"
) | {one + "es": one for one in ("potato", "tomato", "hero", "mango", "volcano", "echo", "buffalo", "mosquito", "tornado", "domino")}
_SINGULAR_S = _words(
    "lens gas bus glass dress christmas atlas canvas iris always series species news pants jeans shorts trousers scissors goggles chess "
    "this its his"
)
_SINGULAR_IE = _words("movie cookie zombie selfie pie tie hippie brownie calorie smoothie necktie rookie genie bowtie magpie birdie")


def tokens(text: str) -> list[str]:
    """Words, numbers, symbols, punctuation and quoted texts (in double quotes, verbatim); all else is lower case and spelt one way."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = _DOUBLED.sub('"', text.translate(_STRAIGHT))
    found: list[str] = []
    says = False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if len(token) > 1 and (token[0] == '"' or (token[0] == token[-1] == "'")):
            found.append(f'"{" ".join(token.strip(token[0]).split())}"')
            continue
        folded = token.casefold()
        if not folded.isascii():
            folded = unicodedata.normalize("NFKC", folded)
        if folded in _LETTERS and _is_letter(text, match, found):
            found.append(_LETTERS[folded])
        elif (expanded := _EXPANDED.get(folded)) is not None:
            found += expanded
        elif says and token != folded:
            found.append(token)
        else:
            # A lone double quote stands for inches.
            found.append(NUMBERS.get(folded) or _SPELT.get(folded, folded) if folded != '"' else "\u2032")
        says = (says or token in _SAYING) and token not in PUNCTUATION
    return found


def _is_letter(text: str, match: re.Match[str], before: Sequence[str]) -> bool:
    # Whether it is no article ("vitamin A", "A-frame", "A4"), or no verb ("9 am").
    said, start, end = match[0], match.start(), match.end()
    if len(said) > 1:
        return bool(before) and before[-1].isdecimal()
    follows = text[end:].lstrip()[:1] if end < len(text) and text[end].isspace() else ""
    if not follows or follows in _ENDING or (start and not text[start - 1].isspace() and text[start - 1] not in "\"'([{,"):
        return True
    return said == "A" and bool(before) and before[-1] not in _BEFORE_CAPITAL and follows.islower()


def singular(word: str) -> str:
    """A noun without its plural ending."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2 or not word.endswith("s") or word in _SINGULAR_S or word.endswith(("ss", "us", "is", "'s")):  # noqa: PLR2004
        return word
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 or word[:-1] in _SINGULAR_IE else word[:-3] + "y"  # noqa: PLR2004
    if word.endswith("es") and (word[:-2] in _SINGULAR_S or word.endswith(("sses", "xes", "ches", "shes", "zzes", "uses"))):
        return word[:-1] if word.endswith(("houses", "aches")) else word[:-2]
    return word[:-1]


def content(text: str) -> list[str]:
    """:func:`tokens` without those that only say that a picture is wanted."""
    read = tokens(text)
    kept, places, articles = _keep(read)
    said = _request(kept, articles)
    rest = read[places[said - 1] + 1 :] if said else read
    return rest[:-1] if rest and rest[-1] == "please" else rest


def canonical(text: str) -> str:
    """The words that matter, in their order; of a text that holds none, the text itself."""
    kept, _, articles = _keep(tokens(text))
    words = kept[_request(kept, articles) :]
    while words and words[-1] == "please":
        words.pop()
    return " ".join(words) or " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _keep(read: Sequence[str]) -> tuple[list[str], list[int], set[int]]:
    # The words that are kept, the places where they were read, and before which of them an article stood.
    kept: list[str] = []
    places: list[int] = []
    articles: set[int] = set()
    counting = False
    invariant = False
    last = len(read) - 1
    for place, word in enumerate(read):
        if word in _DROPPED and not (invariant and word in {"are", "were"}):
            if word in ARTICLES:
                articles.add(len(kept))
            counting = counting and word not in PUNCTUATION
            continue
        if word in _RELATIVES and place < last and read[place + 1] in AUXILIARIES:
            continue
        places.append(place)
        invariant = word in _INVARIANT and not counting
        if counting and word not in _BETWEEN:
            kept.append(singular(word))
            counting = False
        else:
            kept.append(word)
        counting = counting or word in QUANTIFIERS or (word.isdecimal() and word != "1" and _counts(read, place))
    return kept, places, articles


def _counts(read: Sequence[str], place: int) -> bool:
    return int(read[place][:4]) <= _MOST_COUNTED and (not place or read[place - 1] in _COUNTING_AFTER)


def _request(words: Sequence[str], articles: set[int]) -> int:
    # How many words at the beginning only say that a picture is wanted; ``articles`` stood before the words of these places.
    place = 0
    polite = False
    while place < len(words):
        word = words[place]
        if word in _POLITE_FIRST:
            said = next((phrase for phrase in _POLITE if tuple(words[place : place + len(phrase)]) == phrase), None)
            if said is None or not _wanted(said, words[place + len(said) :], wanted=place + len(said) in articles):
                break
            polite = True
            place += len(said)
        elif word in _PICTURES and place + 1 < len(words) and words[place + 1] in _OF:
            place += 2
        elif word in _COMMANDS and _commands(words, place, articles, polite=polite):
            place += 2 if words[place + 1] == "me" else 1
        else:
            break
    return place


def _wanted(said: Sequence[str], rest: Sequence[str], *, wanted: bool) -> bool:
    # "Can you draw a cat" and "I want a cat" are requests; "I want candy" and "would you like tea" are what a picture says.
    if said[-1] == "please":
        return True
    return bool(rest) and (rest[0] in _COMMANDS if said[-1] in {"you", "to", "kindly"} else wanted or rest[0] in _PICTURES)


def _commands(words: Sequence[str], place: int, articles: set[int], *, polite: bool) -> bool:
    if place + 1 >= len(words):
        return False
    follows = words[place + 1]
    return (
        polite or follows == "me" or follows in _PICTURES or (words[place] in _DRAWING and (place + 1 in articles or follows.isdecimal()))
    )
