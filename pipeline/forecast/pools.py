"""Whose limits a run with these settings would keep. Unlike the run this needs no key: nobody is asked for anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from headrace.endpoints import endpoints_of
from headrace.learnt import Learnt, learnt_file
from headrace.offload import inline
from headrace.settings import KEY_VARIABLE, URL_VARIABLE, AlternativeSettings, KeySettings, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.admission.pool import Pool
    from headrace.endpoints import Endpoint

_NO_KEY = "none"
"""Stands for every key."""
Owned = TypeVar("Owned", Settings, AlternativeSettings)


@attrs.frozen
class Api:
    """An API and its pools, with what earlier runs learnt of their limits."""

    endpoint: Endpoint
    pools: tuple[Pool, ...]


def apis_of(settings: Settings, environ: Mapping[str, str]) -> tuple[Api, Api | None]:
    """The API that every prompt is sent to first, and the one that a fallback asks; called under trio.

    Raises:
        UsageError: an address or a model cannot be used.
    """
    keyless = _keyless(settings)
    if (other := settings.fallback.alternative) is not None:
        keyless = attrs.evolve(keyless, fallback=attrs.evolve(settings.fallback, alternative=_keyless(other)))
    known = {KEY_VARIABLE: _NO_KEY} | {name: environ[name] for name in (URL_VARIABLE,) if name in environ}
    first, second = endpoints_of(keyless, known)
    learnt = Learnt(learnt_file(settings), inline)
    return _api(first, learnt), None if second is None else _api(second, learnt)


def _api(endpoint: Endpoint, learnt: Learnt) -> Api:
    pools = endpoint.pools()
    learnt.recall(endpoint.url, pools)
    return Api(endpoint, tuple(pools))


def _keyless(settings: Owned) -> Owned:
    pools = tuple(attrs.evolve(pool, project=None, admin_env=None, admin_file=None) for pool in settings.pool)
    keys = tuple(attrs.evolve(key, env=KEY_VARIABLE, file=None) for key in settings.key)
    if not keys:
        # A pool may be given a key later; the only one, or none, has that of the environment.
        keys = tuple(KeySettings(name=f"{pool.name}.", pool=pool.name, env=KEY_VARIABLE) for pool in pools)
    if not keys and isinstance(settings, AlternativeSettings):
        keys = (KeySettings(name="alternative", env=KEY_VARIABLE),)
    return attrs.evolve(settings, pool=pools, key=keys)
