"""Who owns which limit, and which keys draw on it: settings and environment into pools and keys that can be used."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import attrs

from headrace.errors import UsageError
from headrace.log import log
from headrace.secret import Secret
from headrace.settings import DEFAULT_OWNER, KEY_VARIABLE, LIMITS, KeySettings, PoolSettings
from headrace.told import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.models import Limits
    from headrace.simulator import SimulatedPool

NO_KEY = (
    f"there is no API key: set {KEY_VARIABLE}, or name one in a configuration file ('headrace init' writes it), "
    "or add --simulate to try without"
)
# Three owners of very different size, so that what the pipeline does with them can be seen.
SIMULATED_POOLS = (
    PoolSettings(name="small", images_per_minute=300, max_concurrency=5),
    PoolSettings(name="medium", images_per_minute=600, max_concurrency=10),
    PoolSettings(name="large", images_per_minute=1_200, max_concurrency=20),
)
DEFAULT_TIER = 1
PRIMARY = "primary"
MOST_A_POOL, MOST_IN_ALL = 1_024, 4_096
"""Calls at once that are reckoned with in one pool, and prompts in flight."""
SIMULATED_TIME_SCALE = 0.1
"""The simulator's pictures take a tenth of a real one's time; its limits are a real minute's."""


@attrs.frozen(kw_only=True)
class KeyOwner:
    """A key that can be used."""

    name: str
    weight: float
    secret: Secret


@attrs.frozen(kw_only=True)
class Administrator:
    """Who may ask the API for the limits of a project."""

    project: str
    secret: Secret


@attrs.frozen(kw_only=True)
class Owner:
    """A pool and its keys."""

    name: str
    limits: Limits
    keys: tuple[KeyOwner, ...]
    models: tuple[str, ...] = ()
    """Patterns of the models that it is for; none is all."""
    exceed: bool = False
    """Whether the limits are where learning starts."""
    sources: Mapping[str, str] = attrs.field(factory=dict)
    """Where each limit came from, by resource."""
    offered: Mapping[str, float] = attrs.field(factory=dict)
    """By resource, limits that the administration names and that are above what the settings allow."""
    administrator: Administrator | None = None


def real_owners(pools: Sequence[PoolSettings], keys: Sequence[KeySettings], environ: Mapping[str, str]) -> tuple[Owner, ...]:
    """The owners that settings name; without a key the one in OPENAI_API_KEY, in the only pool or at the lowest tier.

    Raises:
        UsageError: there is no key, or one cannot be read; it names what to do.
    """
    if not keys:
        if not environ.get(KEY_VARIABLE, "").strip():
            raise UsageError(NO_KEY)
        if len(pools) > 1:
            raise UsageError("the configuration has several [[pool]] and no [[key]]; say which key draws on which pool")
        if not pools:
            pools = (PoolSettings(name=DEFAULT_OWNER, tier=DEFAULT_TIER),)
            log.warning("tier_assumed", tier=DEFAULT_TIER, because="neither --tier nor a [[pool]] says what the key may do")
        keys = (KeySettings(name=DEFAULT_OWNER, pool=pools[0].name, env=KEY_VARIABLE),)
    owners = _grouped(pools, keys, {key.name: key.secret(environ) for key in keys})
    admins = {
        pool.name: Administrator(project=pool.project, secret=pool.admin_secret(environ)) for pool in pools if pool.project is not None
    }
    return tuple(attrs.evolve(owner, administrator=admins.get(owner.name)) for owner in owners)


def administered(owner: Owner, told: Limits) -> Owner:
    """The owner with the limits that the API's administration names.

    Of two numbers the smaller holds: a named limit is never exceeded. Where it may be, it is a guess, and the administration knows.
    """
    limits, sources, offered = owner.limits, dict(owner.sources), {}
    for resource in RESOURCES:
        name = LIMITS[resource]
        ours, theirs = getattr(limits, name), getattr(told, name)
        if theirs is None:
            continue
        if ours is None or theirs < ours or owner.exceed:
            limits = attrs.evolve(limits, **{name: theirs})
            sources[resource] = "admin"
        elif theirs > ours:
            offered[resource] = theirs
    return attrs.evolve(owner, limits=limits, sources=sources, offered=offered)


def simulated_owners(pools: Sequence[PoolSettings], keys: Sequence[KeySettings], api: str = PRIMARY) -> tuple[Owner, ...]:
    """The same owners with made-up keys, for the simulator; three of different size where settings name none.

    ``api`` keeps the keys and the pools of two APIs apart.
    """
    if not pools and not keys:
        pools = SIMULATED_POOLS if api == PRIMARY else [attrs.evolve(pool, name=f"{api}-{pool.name}") for pool in SIMULATED_POOLS]
    owned = {key.pool for key in keys}
    taken = {key.name for key in keys}
    for pool in pools:
        if pool.name not in owned:
            name = f"{pool.name}-simulated" if pool.name in taken else pool.name
            keys = (*keys, KeySettings(name=name, pool=pool.name, env=KEY_VARIABLE))
    return _grouped(pools, keys, {key.name: Secret(f"sk-sim-{api}-{key.name}") for key in keys})


def _grouped(pools: Sequence[PoolSettings], keys: Sequence[KeySettings], secrets: Mapping[str, Secret]) -> tuple[Owner, ...]:
    own = [PoolSettings(name=key.name) for key in keys if key.pool is None]
    owners = []
    for pool in itertools.chain(pools, own):
        members = tuple(
            KeyOwner(name=key.name, weight=key.weight, secret=secrets[key.name])
            for key in keys
            if key.pool == pool.name or (key.pool is None and key.name == pool.name)
        )
        if members:
            owners.append(
                Owner(
                    name=pool.name,
                    limits=pool.limits(),
                    keys=members,
                    models=pool.models,
                    exceed=pool.exceed,
                    sources=pool.sources(),
                )
            )
        else:
            log.warning("pool_without_keys", pool=pool.name)
    return tuple(owners)


def room(limits: Sequence[Limits]) -> int:
    """Prompts in flight that keep every permit busy and a few waiting.

    Where only a rate is known that is a whole minute of it (Little's law for pictures that take up to 60 s).
    """
    rates = [(each.max_concurrency, each.images_per_minute, each.requests_per_minute) for each in limits]
    busy = sum(min([MOST_A_POOL, *(bound for bound in bounds if bound is not None)]) for bounds in rates)
    return max(8, min(MOST_IN_ALL, math.ceil(1.5 * busy) + 2))


def simulated_app(owners: Sequence[Owner]) -> Any:
    """The embedded simulator with the limits and the keys of these owners."""
    from headrace.simulator import SimulatorSettings, World, make_app  # noqa: PLC0415 - only a simulation pays for it

    return make_app(World(SimulatorSettings(pools=simulated_pools(owners), time_scale=SIMULATED_TIME_SCALE)))


def simulated_pools(owners: Sequence[Owner]) -> tuple[SimulatedPool, ...]:
    """The owners as the simulator takes them."""
    from headrace.simulator import SimulatedPool  # noqa: PLC0415 - see above

    return tuple(
        SimulatedPool(
            name=owner.name,
            keys=tuple(key.secret.reveal() for key in owner.keys),
            images_per_minute=owner.limits.images_per_minute,
            tokens_per_minute=owner.limits.tokens_per_minute,
            requests_per_minute=owner.limits.requests_per_minute,
            max_concurrency=owner.limits.max_concurrency,
        )
        for owner in owners
    )
