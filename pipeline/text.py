"""Foreign text made fit for one line of a terminal or a log."""

from __future__ import annotations

import re

LONGEST = 500

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")
_KEY_LIKE = re.compile(r"\b(?:sk|sess)-[A-Za-z0-9_*.-]{4,}")


def clean(text: str, longest: int = LONGEST) -> str:
    """No controls, no change of direction, nothing that looks like a key, at most ``longest`` characters."""
    text = _KEY_LIKE.sub("***", _CONTROLS.sub(" ", text)).strip()
    return text if len(text) <= longest else text[: longest - 3] + "..."
