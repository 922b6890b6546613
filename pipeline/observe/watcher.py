"""What a run tells whoever watches it: each call and each result as they come, and at any moment how things stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.admission.books import PoolStatistics
    from headrace.records import Call, Result


class Watcher(Protocol):
    """Told of everything as it happens; it must not raise, block or wait."""

    def called(self, call: Call) -> None:
        """A call is over."""
        ...

    def ended(self, result: Result) -> None:
        """A prompt has its result."""
        ...


class Watchers(list[Watcher]):
    """All who watch a run, told as if they were one."""

    def called(self, call: Call) -> None:
        """A call is over."""
        for watcher in self:
            watcher.called(call)

    def ended(self, result: Result) -> None:
        """A prompt has its result."""
        for watcher in self:
            watcher.ended(result)


@attrs.frozen(kw_only=True)
class Snapshot:
    """How a run stands at one moment."""

    pools: tuple[PoolStatistics, ...]
    """The books of every pool, the alternative API's last."""
    depths: Mapping[str, int]
    """Records in each stage that works on many at once, in the order of the line, all lines added up: where it is deep the pressure is."""
    in_flight: int
    """Prompts that were read and whose result has not been handed over."""
    max_in_flight: int
    spent_usd: float
    """What the job has cost so far, earlier runs of it included, as far as the budget knows."""
    max_cost_usd: float | None
    """The budget; None where there is none."""
