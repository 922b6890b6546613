"""What a pool knows at the end of a run and another run can start with. Times are ages in seconds: no clock outlives its process."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class MeterMemory:
    """One resource."""

    resource: str
    named: float | None
    """What the settings said then: where they say something else now, what was learnt is void."""
    limit: float | None
    source: str
    level: float | None
    """What was tried last, a minute."""
    recent: tuple[tuple[float, float], ...] = ()
    """The last minute's charges: seconds ago, and how much."""
    offered: float | None = None
    """A larger limit that the server spoke of and that the settings did not allow."""


@attrs.frozen(kw_only=True)
class PoolMemory:
    """One pool."""

    name: str
    meters: tuple[MeterMemory, ...] = ()
    calls: int | None = None
    """Calls at once that were found."""
    owners: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
