"""Two prompts with the words marked in which they differ."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

_WORD = re.compile(r"\w+|[^\w\s]+|\s+")
_PIECES = 600
"""Words, signs and spaces that are compared: matching takes the square of them in time."""


def marked(one: str, other: str) -> tuple[list[str], list[str]]:
    """Both texts in pieces, of which every second one is not in the other text: the first is common, the next is not, and so on.

    Case does not count. What lies behind the first 600 pieces is common where it is the same to the letter.
    """
    first, second = _WORD.findall(one), _WORD.findall(other)
    head, tail = first[:_PIECES], second[:_PIECES]
    matcher = SequenceMatcher(None, [piece.casefold() for piece in head], [piece.casefold() for piece in tail], autojunk=False)
    blocks = matcher.get_matching_blocks()
    sides = (
        _alternating(head, [(block.a, block.size) for block in blocks]),
        _alternating(tail, [(block.b, block.size) for block in blocks]),
    )
    rest = "".join(first[_PIECES:]), "".join(second[_PIECES:])
    for side, left in zip(sides, rest, strict=True):
        if left:
            _append(side, left, common=rest[0] == rest[1])
    return sides


def _alternating(pieces: list[str], common: list[tuple[int, int]]) -> list[str]:
    texts = [""]
    at = 0
    for start, size in common:
        text = "".join(pieces[start : start + size])
        if start > at and size and not text.strip():
            continue  # a space alone between two differences is part of them
        if start > at:
            apart = "".join(pieces[at:start])
            words = apart.strip()
            # Spaces around what is marked are nobody's.
            head, _, tail = apart.partition(words) if words else ("", "", "")
            for piece, is_common in ((head, True), (words or apart, False), (tail, True)):
                if piece:
                    _append(texts, piece, common=is_common)
        if size:
            _append(texts, text, common=True)
        at = start + size
    return texts


def _append(texts: list[str], text: str, *, common: bool) -> None:
    """Common texts have even places."""
    if (len(texts) % 2 == 1) == common:
        texts[-1] += text
    else:
        texts.append(text)
