"""A pool's books, as of one moment: what the summary, the live view and ``headrace limits`` show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.models import Limits


@attrs.frozen(kw_only=True)
class Known:
    """What is known of one limit."""

    resource: str
    limit: float | None
    """A minute; calls at once for ``calls``. None where nothing is known."""
    source: str
    """``settings``, ``tier ...``, ``admin``, ``header``, ``refusal`` (its text), ``guess`` (from what got through) or ``unknown``."""
    scale: float = 1.0
    """Part of the limit that is tried: below 1 after refusals that the limit does not explain."""
    offered: float | None = None
    """A larger limit that the server speaks of and that the settings do not allow."""
    used: float = 0.0
    """What the last minute used of it; for ``calls`` what is out now."""


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """A pool's books."""

    name: str
    limits: Limits
    """As the settings have them."""
    keys: tuple[str, ...]
    admitted: Mapping[str, float]
    """Images, tokens and requests that were charged."""
    in_flight: int
    busy_s: float
    """Seconds that calls took, added up over all that came back."""
    calls: int
    refused: int
    """Calls that the API refused for their pace (429)."""
    first_at: float | None
    """When the first and the last call were admitted, on the run's clock."""
    last_at: float | None
    state: str
    """``ready``, or what keeps it from working."""
    models: tuple[str, ...] = ()
    """Patterns of the models that it is for; none is all."""
    known: tuple[Known, ...] = ()
    bound: Mapping[str, float] = attrs.field(factory=dict)
    """Seconds by what kept the next call from starting, the largest first."""
    refusals: tuple[str, ...] = ()
    """What the API said when it refused calls last."""
    owners: tuple[str, ...] = ()
    """Whose limits they are, by the API's own word."""
