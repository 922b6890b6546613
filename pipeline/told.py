"""What an answer says about the limits that it came under: numbers out of a refusal's text and out of headers.

A floor of its own, because ``provider`` reads it from the wire and ``admission`` learns from it.
"""

from __future__ import annotations

import attrs

IMAGES, TOKENS, REQUESTS = RESOURCES = ("images", "tokens", "requests")
CALLS = "calls"
"""Calls at once: a resource that is held and not used up."""


@attrs.frozen(kw_only=True)
class Refusal:
    """The limit that a call was refused for."""

    resource: str | None
    """``images``, ``tokens``, ``requests`` or ``calls``; None where the answer does not say."""
    limit: float | None = None
    """A minute, or calls at once; None where the answer does not say."""
    used: float | None = None
    requested: float | None = None
    owner: str | None = None
    """Whose limit it is in the words of the refusal: an organisation, or a project of one."""


@attrs.frozen(kw_only=True)
class Level:
    """One limit as the headers of an answer tell it, as of when the server took the call in."""

    resource: str
    limit: float
    """A minute."""
    remaining: float
    reset_s: float | None = None
    """Seconds until the whole limit is free again; never the time until one request fits."""


@attrs.frozen(kw_only=True)
class Told:
    """Everything that one answer says about limits."""

    organisation: str | None = None
    project: str | None = None
    family: str | None = None
    """The models that share the limit, as a refusal names them (``gpt-image``)."""
    refusal: Refusal | None = None
    levels: tuple[Level, ...] = ()


NOTHING = Told()
