"""Bad input: bytes, lines, configurations, answers of the API and journals that hypothesis makes, the same ones every time.

A loss is a traceback, a message that is not one line, a prompt without exactly one result, a good prompt between bad ones that does not
get its picture, or a damaged journal that `--fresh` does not get out of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from reliability.bad_answers import ANSWER_LISTS, BODIES, bad_answers, bad_body
from reliability.bad_lines import INPUTS, any_bytes, bad_lines
from reliability.bad_settings import FILES, bad_settings
from reliability.broken_journal import JOURNALS, KINDS, damaged, replaced
from reliability.mutations import tried
from reliability.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hypothesis.strategies import SearchStrategy

_BYTES = st.tuples(st.binary(max_size=400), st.booleans(), st.integers(0, 10**6))
# Name, examples of the long and of the short form, what they are made of, what has to be true.
_PARTS: tuple[tuple[str, int, int, SearchStrategy[Any], Callable[[Any], Iterable[str]]], ...] = (
    ("any bytes as input", 500, 10, _BYTES, any_bytes),
    ("bad lines between good ones", 500, 10, INPUTS, bad_lines),
    ("any configuration", 3_000, 60, FILES, bad_settings),
    ("any body of an answer", 3_000, 60, BODIES, bad_body),
    ("bad answers between good ones", 500, 10, ANSWER_LISTS, bad_answers),
    ("a damaged journal", 500, 20, JOURNALS, damaged),
)
REPLACED = "something else in place of the journal"


def outcomes(short: bool) -> list[Outcome]:
    """All of them."""
    found = [tried(name, few if short else many, made_of, holds) for name, many, few, made_of, holds in _PARTS]
    broken = tuple(f"{kind}: {each}" for kind in KINDS for each in replaced(kind))
    return [*found, Outcome(REPLACED, len(KINDS), broken)]
