"""Hypothesis strategies for what the world sends: good things of which something was changed, and things that were never good."""

from __future__ import annotations

import copy
import unicodedata
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

from reliability.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

T = TypeVar("T")
_LARGEST = 10**400
LONGEST = 2_000
_UNFIT = ("Cc", "Cs", "Zl", "Zp")
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")

TEXTS = st.one_of(
    st.text(st.characters(), max_size=20),  # halves of surrogate pairs and NUL included
    st.sampled_from(("", " ", "\x00", "\ud800", "../../x", "\x1b[2J", "\u202eevil", "x" * 100_000, "9" * 5_000, "NaN", "auto", "[[fault")),
)
NUMBERS: SearchStrategy[Any] = st.one_of(
    st.integers(-3, 12),
    st.integers(-_LARGEST, _LARGEST),
    st.floats(),
    st.sampled_from((2**31, 2**63, 2**64, -(2**63) - 1, 1e308, 5e-324, -0.0)),
)
VALUES: SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def changed_tree(draw: DrawFn, document: Any, values: SearchStrategy[Any] = VALUES) -> Any:
    """A JSON document in which one to three places hold something else, or nothing, or twice the same."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            return draw(values)
        holder, name = draw(st.sampled_from(places))
        change = draw(st.sampled_from(("replace", "remove", "rename", "repeat")))
        if change == "replace":
            holder[name] = draw(values)
        elif change == "remove":
            del holder[name]
        elif change == "repeat" and isinstance(holder, list):
            holder.insert(name, holder[name])
        elif isinstance(holder, dict):
            holder[draw(TEXTS)] = holder.pop(name)
    return document


def _places(node: Any) -> Iterable[tuple[Any, Any]]:
    names: Iterable[Any] = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for name in names:
        yield node, name
        yield from _places(node[name])


@st.composite
def changed_bytes(draw: DrawFn, data: bytes, tokens: Sequence[bytes] = ()) -> bytes:
    """Bytes of which one to four pieces were cut off, taken out, turned over, doubled or written over."""
    found = bytearray(data)
    pieces = st.one_of(st.binary(max_size=8), st.sampled_from(tokens or (b"\x00", b"\xff", b"\xed\xa0\x80")))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        change = draw(st.sampled_from(("cut", "flip", "remove", "insert", "write over", "double")))
        end = min(len(found), at + draw(st.integers(1, 40)))
        if change == "cut":
            del found[at:]
        elif change == "flip" and at < len(found):
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "remove":
            del found[at:end]
        elif change == "insert":
            found[at:at] = draw(pieces)
        elif change == "write over":
            found[at:end] = draw(pieces)
        else:
            found[at:at] = found[at:end]
    return bytes(found)


def one_line_of_text(text: str) -> bool:
    """Whether a terminal shows it as one line, as it stands: no controls, nothing that turns its direction round or cannot be encoded."""
    return bool(text) and not any(unicodedata.category(mark) in _UNFIT or unicodedata.bidirectional(mark) in _TURNING for mark in text)


def tried(name: str, examples: int, strategy: SearchStrategy[T], trial: Callable[[T], Iterable[str]], note: str = "") -> Outcome:
    """So many examples, the same ones every time; the smallest one that breaks something is told."""
    trials = 0

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(strategy)
    def one(example: T) -> None:
        nonlocal trials
        trials += 1
        broken = list(trial(example))
        if broken:
            raise AssertionError(broken)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisWarning)  # that an example is long
            one()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
        notes = " ".join(getattr(error, "__notes__", ()))
        return Outcome(name, trials, (f"{type(error).__name__}: {error} {notes}"[:LONGEST],), note)
    return Outcome(name, trials, (), note)
