"""headrace turns a stream of image prompts into pictures through rate-limited image APIs, as fast as the limits allow.

What can be imported from here is public; nothing else is. Names are loaded on first use: ``headrace --help`` must not wait for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace import aio
    from headrace import arrow as arrow
    from headrace import ray as ray
    from headrace.cache.encoder import Encoder
    from headrace.embed import generate, open  # noqa: A004 - the contract's name
    from headrace.errors import HeadraceError, OutputError, StoppedError, UsageError
    from headrace.outcome import Results
    from headrace.race import Race
    from headrace.records import Kind, Match, Picture, Problem, Result, Status, Strategy, Usage
    from headrace.settings import (
        AlertSettings,
        AlternativeSettings,
        CacheSettings,
        FallbackSettings,
        KeySettings,
        PoolSettings,
        ProviderSettings,
        QuotaSettings,
        RequestSettings,
        RunSettings,
        Settings,
    )

__all__ = [
    "AlertSettings",
    "AlternativeSettings",
    "CacheSettings",
    "Encoder",
    "FallbackSettings",
    "HeadraceError",
    "KeySettings",
    "Kind",
    "Match",
    "OutputError",
    "Picture",
    "PoolSettings",
    "Problem",
    "ProviderSettings",
    "QuotaSettings",
    "Race",
    "RequestSettings",
    "Result",
    "Results",
    "RunSettings",
    "Settings",
    "Status",
    "StoppedError",
    "Strategy",
    "Usage",
    "UsageError",
    "aio",
    "generate",
    "open",
]

_MODULES = ("aio", "arrow", "ray")
"""Public modules; the last two are not in ``__all__``, because they need the extras of their names."""
_HOMES = {
    "embed": ("generate", "open"),
    "errors": ("HeadraceError", "OutputError", "StoppedError", "UsageError"),
    "records": ("Kind", "Match", "Picture", "Problem", "Result", "Status", "Strategy", "Usage"),
    "race": ("Race",),
    "cache.encoder": ("Encoder",),
    "outcome": ("Results",),
    "settings": (
        "AlertSettings",
        "AlternativeSettings",
        "CacheSettings",
        "FallbackSettings",
        "KeySettings",
        "PoolSettings",
        "ProviderSettings",
        "QuotaSettings",
        "RequestSettings",
        "RunSettings",
        "Settings",
    ),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"headrace.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"headrace.{home}"), name)
    raise AttributeError(f"module 'headrace' has no attribute {name!r}")
