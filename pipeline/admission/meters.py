"""Images, tokens and requests of one pool together: reserved all or none, and learnt of one by one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.admission.books import Known
from headrace.admission.bucket import Charge
from headrace.admission.meter import LEAST, Meter
from headrace.told import CALLS, IMAGES, RESOURCES, TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace.admission.booking import Booking, Cost
    from headrace.admission.lesson import Lesson
    from headrace.admission.memory import MeterMemory
    from headrace.models import Limits
    from headrace.told import Level, Refusal

SPREAD = {TOKENS: 6.0}
"""Requests differ in tokens ten times and more; see :class:`headrace.admission.bucket.Bucket`."""


class Meters:
    """The meters of the limits that are named, and of those that the server turns out to have.

    Args:
        limits: as the settings have them.
        exceed: whether they are where learning starts, and not what is never exceeded.
        sources: where each came from, by resource.
    """

    def __init__(self, limits: Limits, *, exceed: bool, sources: Mapping[str, str]) -> None:
        self._exceed = exceed
        self._sources = sources
        self._last = dict.fromkeys(RESOURCES, 1.0)
        """What the last request took."""
        named = {name: limit for name in RESOURCES if (limit := getattr(limits, f"{name}_per_minute")) is not None}
        self.by_name = {name: self._new(name, limit) for name, limit in named.items()}
        self.nothing_known = not named and limits.max_concurrency is None
        if self.nothing_known:
            self.meter(IMAGES)

    def meter(self, resource: str) -> Meter:
        """The meter of that resource, made where there was none."""
        if resource not in self.by_name:
            self.by_name[resource] = self._new(resource, None)
        return self.by_name[resource]

    def too_large(self, cost: Cost) -> tuple[str, float] | None:
        """The first limit that a request of that cost is larger than."""
        for resource, meter in self.by_name.items():
            if meter.largest is not None and getattr(cost, resource) > meter.largest:
                return resource, meter.largest
        return None

    def ready_at(self, now: float) -> float:
        """Before when no request can start, whatever its cost; cheap to ask, and :meth:`earliest` may say later."""
        at = float("-inf")
        for meter in self.by_name.values():
            bucket = meter.bucket
            if bucket.ready > at and not bucket.credit.covers(1.0, now):
                at = bucket.ready
        return at

    def earliest(self, cost: Cost, now: float) -> float:
        """When a request of that cost may start; none of the limits may be below it."""
        at = now
        for name, meter in self.by_name.items():
            at = max(at, meter.bucket.earliest(getattr(cost, name), now))
        return at

    def leave_room(self, cost: Cost, behind: Cost, behind_at: float, now: float) -> bool:
        """Whether a request of the one cost, started now, does not delay one of the other that starts then."""
        return all(
            meter.bucket.leaves_room(getattr(cost, name), getattr(behind, name), behind_at, now) for name, meter in self.by_name.items()
        )

    def latest(self, now: float) -> float:
        """When a request may start at the latest if it is the next, of whatever cost that fits."""
        return max((meter.bucket.latest(now) for meter in self.by_name.values()), default=now)

    def binding(self, now: float) -> str:
        """The resource that a request like the last one waits for longest; calls at once where none is known."""

        def start(name: str) -> tuple[float, float]:
            bucket = self.by_name[name].bucket
            return bucket.earliest(self._last[name], now), bucket.ready

        return max(self.by_name, key=start, default=CALLS)

    def take(self, cost: Cost, now: float) -> dict[str, Charge]:
        """Book a request that starts now."""
        self._last = {name: getattr(cost, name) for name in RESOURCES}
        return {name: meter.take(getattr(cost, name), now) for name, meter in self.by_name.items()}

    def correct(self, booking: Booking, resource: str, amount: float) -> None:
        """Make a booking what it turned out to be."""
        if resource in booking.charges:
            self.by_name[resource].bucket.correct(booking.charges[resource], amount)

    def usage(self, now: float) -> float:
        """Part of the limit that the last minute used, of whichever is used most."""
        return max((meter.bucket.usage(now) for meter in self.by_name.values()), default=0.0)

    def refused(self, refusal: Refusal | None, booking: Booking, now: float, wait_s: float | None = None) -> bool:
        """A call was refused for its pace; returns whether a rate is known now.

        Where the answer does not say which limit it was, it was the one that is used most.
        """
        if refusal is not None and refusal.resource is not None:
            meter = self.meter(refusal.resource)
        else:
            meter = max(self.by_name.values(), key=lambda meter: meter.bucket.usage(now), default=None) or self.meter(IMAGES)
        meter.refused(refusal, _charge(booking, meter.resource), now, wait_s)
        return meter.limit is not None

    def heard(self, level: Level, booking: Booking, now: float) -> None:
        """The headers of an answer tell of one limit."""
        self.meter(level.resource).heard(level, _charge(booking, level.resource), now)

    @property
    def largest(self) -> tuple[float | None, ...]:
        """The largest requests that may be let in, resource by resource."""
        return tuple(meter.largest for meter in self.by_name.values())

    def known(self) -> Iterator[Known]:
        """What is known of each limit."""
        for name, meter in self.by_name.items():
            yield Known(resource=name, limit=meter.limit, source=meter.source, scale=meter.scale, offered=meter.offered)

    def used(self, resource: str, now: float) -> float:
        """What the last minute used."""
        return self.by_name[resource].bucket.used(now)

    def absorb(self, other: Meters, now: float) -> None:
        """The limits of another pool turned out to be these: what it used counts here, and the smaller limit holds."""
        for name, theirs in other.by_name.items():
            self.meter(name).absorb(theirs, now)

    def lessons(self) -> Iterator[Lesson]:
        """What other processes can go on with."""
        for meter in self.by_name.values():
            if (lesson := meter.lesson) is not None:
                yield lesson

    def take_up(self, lesson: Lesson, now: float) -> bool:
        """Another process has learnt that; returns whether it is of a limit that this one has as well."""
        known = self.by_name.get(lesson.resource)
        if lesson.resource not in RESOURCES or lesson.named != (None if known is None else known.named):
            return False
        if lesson.limit is None or lesson.limit < LEAST:
            return False
        self.meter(lesson.resource).take_up(lesson, now)
        return True

    def memory(self, now: float) -> tuple[MeterMemory, ...]:
        """What another run can start with."""
        return tuple(meter.memory(now) for meter in self.by_name.values())

    def recall(self, memories: tuple[MeterMemory, ...], age_s: float, now: float) -> None:
        """Start with what a run knew that ended ``age_s`` ago."""
        for memory in memories:
            if memory.resource in RESOURCES and (memory.resource in self.by_name or memory.limit is not None):
                self.meter(memory.resource).recall(memory, age_s, now)

    def _new(self, resource: str, limit: float | None) -> Meter:
        source = self._sources.get(resource, "settings")
        return Meter(resource, limit, firm=not self._exceed, source=source, spread=SPREAD.get(resource, 1.5))


def _charge(booking: Booking, resource: str) -> Charge:
    # A meter that was made after the call left has no charge of it.
    return booking.charges.get(resource) or Charge(booking.at, getattr(booking.cost, resource))
