"""What a simulated API is like: its organisations with their limits, its speed, its faults and its pictures."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs
from attrs import validators

from headrace.simulator.windows import MINUTE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

Discipline = Literal["continuous", "sliding", "counter", "fixed"]
Refusals = Literal["full", "hint", "bare"]
Pictures = Literal["drawn", "template"]


def _not_negative(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 <= value < math.inf:  # written so that NaN fails, here and below
        raise ValueError(f"{attribute.name} is {value}; it is a number of at least 0")


def _positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{attribute.name} is {value}; it is a number of more than 0")


def _window(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value <= MINUTE_S:
        raise ValueError(f"{attribute.name} is {value}; it is more than 0 and at most {MINUTE_S:g}")


def _header(_: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and not re.fullmatch(r"[!-~]+", value):
        raise ValueError(f"{attribute.name} is {value!r}; it goes into a header, so it is of visible ASCII characters")


@attrs.frozen(kw_only=True)
class SimulatedPool:
    """One organisation: the keys that share its limits, and the limits; None is no such limit.

    Raises:
        ValueError: a limit is no number or negative, a window is longer than a minute, or the discipline is unknown.
    """

    name: str = "studio"
    keys: tuple[str, ...] = attrs.field(default=("sk-sim-a",), repr=False)
    """The keys that are let in; ``()`` lets any key in that no other pool has."""
    images_per_minute: float | None = attrs.field(default=300.0, validator=_not_negative)
    tokens_per_minute: float | None = attrs.field(default=None, validator=_not_negative)
    requests_per_minute: float | None = attrs.field(default=None, validator=_not_negative)
    max_concurrency: int | None = attrs.field(default=5, validator=_positive)
    """Calls at once."""
    discipline: Discipline = attrs.field(default="continuous", validator=validators.in_(get_args(Discipline)))
    """How a minute is counted: a bucket that refills all the time, the last 60 s to the instant, the last 60 s by the counts of two
    whole minutes, or whole windows of the clock.
    """
    burst_s: float = attrs.field(default=60.0, validator=_positive)
    """Capacity of the continuous bucket, in seconds of its rate."""
    window_s: float = attrs.field(default=MINUTE_S, validator=_window)
    """Length of a fixed window, in seconds; each lets its share of the limit through in whole things, at least one."""
    organisation: str | None = attrs.field(default=None, validator=_header)
    """What answers call the organisation; None makes a name from that of the pool."""
    project: str | None = attrs.field(default=None, validator=_header)
    """What answers call the project; None makes a name from that of the pool, which refusals then leave out."""

    @property
    def organisation_name(self) -> str:
        """What answers call the organisation."""
        return self.organisation or f"org-{self.name}"

    @property
    def project_name(self) -> str:
        """What answers call the project."""
        return self.project or f"proj_{self.name}"


UNLIMITED = SimulatedPool(name="unlimited", keys=(), images_per_minute=None, max_concurrency=None)


@attrs.frozen(kw_only=True)
class SimulatorSettings:
    """Everything a :class:`~headrace.simulator.world.World` is made from.

    Raises:
        ValueError: a key, a name or a project is used twice, a number is none, or the faults are more likely than certain.
    """

    pools: tuple[SimulatedPool, ...] = ()
    """``()`` is one pool without limits that lets any key in."""
    charge_rejected: bool = True
    """Whether a call over a limit counts towards the image and request limits, as the vendor says."""
    limit_headers: bool = False
    """Whether answers carry ``x-ratelimit-*``; the vendor's image answers do not."""
    refusals: Refusals = attrs.field(default="full", validator=validators.in_(get_args(Refusals)))
    """What a call over a limit is told: which limit and how long to wait, only how long to wait, or nothing: not even that it was
    the number of calls at once.
    """
    admin_keys: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The keys that may ask for the limits of a project, and may do nothing else."""
    deployments: Mapping[str, str] = attrs.field(factory=dict)
    """Azure's deployments: name -> the model that it serves. Every model is deployed under its own name as well."""
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
            ("project", Counter(pool.project_name for pool in self.pools)),
            ("key", Counter(key for pool in self.pools for key in pool.keys)),
        ):
            if found and found.most_common(1)[0][1] > 1:
                raise ValueError(f"two pools have the same {what}")
        if any(key in self.admin_keys for pool in self.pools for key in pool.keys):
            raise ValueError("a key is both a pool's and an admin's")
        chances = self.faults.values()
        if not (all(chance >= 0 for chance in chances) and math.fsum(chances) <= 1):  # written so that NaN fails
            raise ValueError("the probabilities of the faults are to be at least 0, and at most 1 together")
