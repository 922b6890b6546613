"""What differs between two prompts, for a person to read: ``red -> blue; + hat; - dog; order``."""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher

from headrace.cache.canonical import canonical
from headrace.text import clean

LONGEST = 160
_WORDS = 300
"""Words of each that are compared: matching takes the square of them in time."""


def difference(asked: str, known: str) -> str:
    """What ``known`` says in another way than ``asked``: words replaced, added or left out, and whether some only moved."""
    one, other = canonical(asked).split()[:_WORDS], canonical(known).split()[:_WORDS]
    if one == other:
        return ""
    steps = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    kept = Counter(word for action, start, end, _, _ in steps if action == "equal" for word in one[start:end])
    left = (Counter(one) & Counter(other)) - kept
    added = Counter(left)
    parts = []
    order = False
    for action, start, end, its_start, its_end in steps:
        if action == "equal":
            continue
        gone, new = _unmoved(one[start:end], left), _unmoved(other[its_start:its_end], added)
        order = order or len(gone) < end - start or len(new) < its_end - its_start
        if gone and new:
            parts.append(f"{' '.join(gone)} -> {' '.join(new)}")
        elif gone or new:
            parts.append(f"- {' '.join(gone)}" if gone else f"+ {' '.join(new)}")
    return clean("; ".join([*parts, "order"] if order else parts), LONGEST)


def _unmoved(words: list[str], moved: Counter[str]) -> list[str]:
    # Words that stand nowhere else in the other prompt; those that do are counted off.
    rest = []
    for word in words:
        if moved[word] > 0:
            moved[word] -= 1
        else:
            rest.append(word)
    return rest
