"""What a process and the shared books of a pool tell each other, as ``exchange.lua`` takes it and answers it. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headrace.admission.bucket import Terms

SCRIPT = files("headrace.quota").joinpath("exchange.lua").read_text("utf-8")
HORIZON_S = 2.0
"""Nothing is booked further ahead: a booking is quota that nobody else can use."""
AGAIN_S = 0.25
"""After so long it is asked again whether there are fewer calls at once: nobody knows when one ends."""
FEW = 300.0
"""Of so small a limit the pace leaves less than three calls a minute to spare, and processes are late each in its own way."""
GUARD_S = 0.5
PAUSED, CALLS, TURN = 0, -1, -2
"""What binds where it is no resource; the last: another process is the first, for a limit that this one does not know."""
_US = 1_000_000


@attrs.frozen(kw_only=True)
class Answer:
    """What the books say."""

    granted: bool
    wait_s: float
    """Until the slot that is booked, or until it is worth asking again."""
    slot_us: int
    """When the slot is, on the store's clock."""
    opened: int
    """Which books these are: others where the store has lost them."""
    workers: int
    """Processes that have this pool."""
    binding: int
    """What keeps the call until then: the number of a resource from 1, or :data:`PAUSED`, :data:`CALLS`, :data:`TURN`."""
    calls: int
    """What all processes have out."""
    pause_s: float
    """For so long nobody starts, because the server wants that."""
    stamp: int
    """Of the last that was learnt."""
    news: Mapping[str, str]
    """What others have learnt since the stamp that was told, see ``learning.py``."""
    totals: tuple[int, ...]
    """What all processes used of each resource in the last minute."""
    late_s: float = 0.0
    """How much longer than usual it was on its way."""

    @classmethod
    def of(cls, answer: Sequence[Any], late_s: float = 0.0) -> Answer:
        """From what the script returns."""
        *first, news = answer[:10]
        granted, wait_us, slot_us, opened, workers, binding, calls, pause_us, stamp = map(int, first)
        return cls(
            granted=bool(granted),
            wait_s=wait_us / _US,
            slot_us=slot_us,
            opened=opened,
            workers=workers,
            binding=binding,
            calls=calls,
            pause_s=pause_us / _US,
            stamp=stamp,
            news=json.loads(bytes(news).decode("utf-8", "replace")),
            totals=tuple(map(int, answer[10:])),
            late_s=late_s,
        )


def prefix_of(namespace: str, url: str, pool: str) -> str:
    """What all processes call a pool of the API at that URL."""
    return f"{namespace}:{hashlib.sha256(url.encode()).hexdigest()[:12]}:{pool}"


def keys_of(prefix: str, resources: Iterable[str]) -> list[str]:
    """The keys of one pool: all in one slot of a cluster, by the part in braces."""
    return [f"{{{prefix}}}:{name}" for name in ("books", "calls", "workers", "known", *resources)]


def ask(costs: Mapping[str, int], terms: Mapping[str, Terms], lease: str, most: int | None, out: int) -> dict[str, Any]:
    """A request for a slot: what it takes of each resource, the calls that there may be at once, and how many of those it has out."""
    needs = [[costs[resource], *_need(each)] for resource, each in terms.items()]
    calls = {"lease": lease, "most": -1 if most is None else most, "out": out}
    return {"needs": needs, **calls, "horizon": us(HORIZON_S), "again": us(AGAIN_S)}


def encoded(told: Mapping[str, Any]) -> str:
    """What is told, as the script reads it: what is empty is left out."""
    return json.dumps({name: value for name, value in told.items() if value not in (None, [], {})})


def us(seconds: float) -> int:
    """Microseconds."""
    return round(seconds * _US)


def _need(terms: Terms) -> tuple[float, int, float, int]:
    limit = terms.limit if math.isfinite(terms.limit) else -1
    window_s = terms.window_s + (GUARD_S if terms.limit <= FEW else 0.0)
    return terms.unit_s * _US, us(terms.tolerance_s), limit, us(window_s)
