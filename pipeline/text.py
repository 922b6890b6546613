"""Foreign text made fit for one line of a terminal or a log, and without the keys of this process."""

from __future__ import annotations

import re
from typing import Protocol
from weakref import WeakValueDictionary

LONGEST = 500
SHORTEST_HIDDEN = 8
"""Characters from which a key is looked for: the stand-in of a local server may be ``any``, and words would go with it."""

# What moves a cursor, turns the direction round, is not to be seen, or is half of a character that no file can hold.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]+"
)
_KEY_LIKE = re.compile(r"\b(?:sk|sess)-[A-Za-z0-9_*.-]{4,}")


class Hidden(Protocol):
    """A text that must not be shown."""

    def reveal(self) -> str:
        """The text."""
        ...


_hidden: WeakValueDictionary[int, Hidden] = WeakValueDictionary()


def hide(secret: Hidden) -> None:
    """Keep this text out of everything that is cleaned, for as long as the secret lives."""
    _hidden[id(secret)] = secret


def masked(text: str) -> str:
    """No key: none that is in use, whatever it looks like, and nothing else that looks like one."""
    # A list of references, because another thread may add one meanwhile. Longest first: one key may be the start of another.
    keys = [secret.reveal() for reference in _hidden.valuerefs() if (secret := reference()) is not None]
    for key in sorted(keys, key=len, reverse=True):
        if len(key) >= SHORTEST_HIDDEN:
            text = text.replace(key, "***")
    return _KEY_LIKE.sub("***", text)


def clean(text: str, longest: int = LONGEST) -> str:
    """No controls, no change of direction, no key, at most ``longest`` characters."""
    text = masked(_CONTROLS.sub(" ", text)).strip()
    return text if len(text) <= longest else text[: longest - 3] + "..."
