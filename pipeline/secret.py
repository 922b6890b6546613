"""A key that cannot be printed by accident."""

from __future__ import annotations

from typing import NoReturn

from headrace.text import hide


class Secret:
    """An API key: every rendering of it is ``***``; only :meth:`reveal` gives the text.

    It is not comparable, not hashable and not picklable, so that it does not travel into journals, reports or other processes. As long as
    it lives :func:`headrace.text.clean` takes its text out of whatever is shown: a server may repeat it.
    """

    __slots__ = ("__weakref__", "_text")
    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __init__(self, text: str) -> None:
        self._text = text
        hide(self)

    def reveal(self) -> str:
        """The key itself: for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, _: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
