"""What a simulated API is like: its organisations with their limits, its speed, its faults and its pictures."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import attrs
from attrs import validators

if TYPE_CHECKING:
    from collections.abc import Mapping

Discipline = Literal["continuous", "sliding", "fixed"]
Pictures = Literal["drawn", "template"]


def _not_negative(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and value < 0:
        raise ValueError(f"{attribute.name} is {value}; it is at least 0")


def _positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and value <= 0:
        raise ValueError(f"{attribute.name} is {value}; it is more than 0")


@attrs.frozen(kw_only=True)
class SimulatedPool:
    """One organisation: the keys that share its limits, and the limits; None is no such limit.

    Raises:
        ValueError: a limit is negative, or the discipline is unknown.
    """

    name: str = "studio"
    keys: tuple[str, ...] = ("sk-sim-a",)
    """The keys that are let in; ``()`` lets any key in that no other pool has."""
    images_per_minute: float | None = attrs.field(default=300.0, validator=_not_negative)
    tokens_per_minute: float | None = attrs.field(default=None, validator=_not_negative)
    requests_per_minute: float | None = attrs.field(default=None, validator=_not_negative)
    max_concurrency: int | None = attrs.field(default=5, validator=_positive)
    """Calls at once."""
    discipline: Discipline = attrs.field(default="continuous", validator=validators.in_(("continuous", "sliding", "fixed")))
    """How a minute is counted: a bucket that refills all the time, the last 60 s to the instant, or whole minutes."""
    burst_s: float = attrs.field(default=60.0, validator=_positive)
    """Capacity of the continuous bucket, in seconds of its rate."""


UNLIMITED = SimulatedPool(name="unlimited", keys=(), images_per_minute=None, max_concurrency=None)


@attrs.frozen(kw_only=True)
class SimulatorSettings:
    """Everything a :class:`~headrace.simulator.world.World` is made from.

    Raises:
        ValueError: a key or a name is used twice, or the faults are more likely than certain.
    """

    pools: tuple[SimulatedPool, ...] = ()
    """``()`` is one pool without limits that lets any key in."""
    charge_rejected: bool = True
    """Whether a call over a limit counts towards the image and request limits, as the vendor says."""
    limit_headers: bool = False
    """Whether answers carry ``x-ratelimit-*``; the vendor's image answers do not."""
    time_scale: float = attrs.field(default=1.0, validator=_not_negative)
    """Every latency is multiplied by this."""
    latency_s: float | None = attrs.field(default=None, validator=_not_negative)
    """Median seconds of a generation; None goes by model and quality, 0 does not wait at all."""
    sigma: float = attrs.field(default=0.35, validator=_not_negative)
    """Spread of the latency: the standard deviation of its logarithm."""
    faults: Mapping[str, float] = attrs.field(factory=dict)
    """Probability of each fault a call; the names are in :data:`headrace.simulator.faults.FAULTS`."""
    pictures: Pictures = attrs.field(default="drawn", validator=validators.in_(("drawn", "template")))
    """``drawn`` shows the prompt and takes a worker thread; ``template`` only carries it and takes no time."""
    picture_bytes: int | None = attrs.field(default=None, validator=_not_negative)
    """Bytes that each picture file is padded up to."""
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        """Check what one field alone cannot show."""
        for what, found in (
            ("name", Counter(pool.name for pool in self.pools)),
            ("key", Counter(key for pool in self.pools for key in pool.keys)),
        ):
            if found and found.most_common(1)[0][1] > 1:
                raise ValueError(f"two pools have the same {what}")
        chances = self.faults.values()
        if not (all(chance >= 0 for chance in chances) and math.fsum(chances) <= 1):  # written so that NaN fails
            raise ValueError("the probabilities of the faults are to be at least 0, and at most 1 together")
