"""How many tokens a prompt and its input pictures will be billed for, counted without a vocabulary.

The vendor bills image prompts by its o200k tokeniser plus a fixed overhead a request ("a siamese cat" is 4 tokens and was billed 10).
The vocabulary is a download of megabytes; admission needs an estimate that is right on average and is settled from ``usage`` afterwards.
``benchmarks/tokens.py`` compares this counter with the real vocabulary.
"""

from __future__ import annotations

import math
import re

OVERHEAD_TOKENS = 6
_TILE, _BASE_TOKENS, _TILE_TOKENS = 512, 65, 129
_PATCH, _FEWEST_PATCHES, _MOST_PATCHES = 32, 64, 1_536

_PIECE = re.compile(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]+|\n+")
# Blocks from Greek to Georgian and from CJK to Hangul have about one token a character at most; what lies outside
# (Ethiopic, emoji, accented Latin) is split into bytes more often.
_TOKEN_A_CHARACTER = re.compile(r"[\u0370-\u11ff\u3000-\ud7ff\uf900-\ufaff\uff00-\uffef]")
_FOREIGN_LETTER = re.compile(r"[^\W\d_a-zA-Z]")


def prompt_tokens(text: str) -> int:
    """Tokens that a prompt will be billed for: within 10 % on English prompts, upward of the truth on other scripts."""
    # Vocabularies know English words whole; a prompt with foreign letters has its Latin words split as well.
    known, a_letter = (1, 1 / 2.5) if _FOREIGN_LETTER.search(text) else (5, 0.14)
    tokens = 0.0
    for piece in _PIECE.findall(text):
        if not piece.isascii():
            tokens += sum(_foreign_character(character) for character in piece)
        elif piece.isalpha():
            tokens += 1 + max(0, len(piece) - known) * a_letter
        elif piece.isdigit():
            tokens += -(-len(piece) // 3)
        else:
            tokens += max(1, len(piece) / 2)
    return round(tokens) + OVERHEAD_TOKENS


def patch_tokens(width: int, height: int) -> int:
    """Tokens of an input picture, for gpt-image-2 and later: patches of 32 pixels, from 64 to 1,536 of them.

    A recorded picture of 128x128 took 64, one of 1024x1024 1,024; between them the patches are taken to be counted as they are.
    """
    return min(_MOST_PATCHES, max(_FEWEST_PATCHES, math.ceil(width / _PATCH) * math.ceil(height / _PATCH)))


def tile_tokens(width: int, height: int) -> int:
    """Tokens of an input picture, for the models before: tiles of 512 pixels, of a picture that is shrunk to 512 at its shorter edge.

    A recorded picture of 128x128 took 194.
    """
    shrink = min(1.0, _TILE / min(width, height))
    return _BASE_TOKENS + _TILE_TOKENS * math.prod(math.ceil(round(edge * shrink) / _TILE) for edge in (width, height))


def _foreign_character(character: str) -> float:
    if character.isascii() or _TOKEN_A_CHARACTER.match(character):
        return 1.0
    return len(character.encode("utf-8", "surrogatepass")) * (1.1 if character.isalpha() else 0.75)
