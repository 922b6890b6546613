"""Everything that can be set, frozen; from code, from TOML, and what is absent there from the environment.

The tables of ``headrace.toml`` are the classes below, field by field. Unknown keys are refused with their path and the nearest valid name.
One file for all of them, though it is a long one: what can be set can be read here from its first table to its last.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping  # noqa: TC003 - fields are made by their types
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs
from attrs.validators import deep_iterable, instance_of

from headrace.errors import UsageError
from headrace.models import AUTO, Limits, catalogue
from headrace.secret import Secret
from headrace.structure import structure
from headrace.told import CALLS, RESOURCES
from headrace.validators import (
    all_visible,
    api_url,
    at_least,
    file_place,
    hook_url,
    nearest,
    one_of,
    redis_url,
    short_name,
    variable_name,
    visible,
)

VENDOR_HOST = "api.openai.com"
VENDOR_URL = f"https://{VENDOR_HOST}/v1"
KINDS = ("openai", "azure")
AZURE_VERSION = "2025-04-01-preview"
"""The first that makes pictures with GPT image models."""
KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
DEFAULT_FILE = "headrace.toml"
DEFAULT_OWNER = "default"
"""What the pool and the key in OPENAI_API_KEY are called where nothing names them."""
ENCODER = "all-MiniLM-L6-v2"
FORMATS = ("png", "jpeg", "webp")
RUNGS = ("reduced_quality", "cached_similar", "alternative_api")
LIMITS = {resource: f"{resource}_per_minute" for resource in RESOURCES} | {CALLS: "max_concurrency"}
"""By resource, what its limit is called here and in :class:`headrace.models.Limits`."""
POLICIES = ("off", "exact", "canonical", "verified", "cosine")


@attrs.frozen(kw_only=True)
class RequestSettings:
    """``[request]``: what a prompt asks for where its line says nothing."""

    model: str = attrs.field(factory=lambda: catalogue().default)
    """``headrace models`` lists them; a name that is not there is passed on as it is, with a warning."""
    size: str = "1024x1024"
    """Width by height in pixels, or ``auto``."""
    quality: str = "low"
    """``low``, ``medium`` or ``high``, and ``xhigh`` or ``max`` where the model has them."""
    n: int = attrs.field(default=1, validator=at_least(1, 10))
    """Pictures a prompt."""
    output_format: str = attrs.field(default="png", validator=one_of(*FORMATS))
    """Of the picture files."""
    output_compression: int | None = attrs.field(default=None, validator=at_least(0, 100))
    """Quality of JPEG and WebP in per cent."""
    background: str | None = attrs.field(default=None, validator=one_of("transparent", "opaque", AUTO))
    """Transparent needs PNG or WebP, and a model that can."""
    moderation: str | None = attrs.field(default=None, validator=one_of(AUTO, "low"))
    """How strict the API is about what is asked for."""


@attrs.frozen(kw_only=True)
class ProviderSettings:
    """``[provider]``: whose API it is."""

    base_url: str | None = attrs.field(default=None, validator=api_url)
    """The vendor's where it is absent here and in OPENAI_BASE_URL. For Azure the resource's endpoint: ``https://NAME.openai.azure.com``."""
    kind: str | None = attrs.field(default=None, validator=one_of(*KINDS))
    """``openai`` for the vendor's API and those that are compatible with it; absent it goes by the host of the URL."""
    api_version: str = attrs.field(default=AZURE_VERSION, validator=visible)
    """Which version of Azure's API is asked."""
    deployments: Mapping[str, str] = attrs.field(factory=dict, validator=all_visible)
    """Model -> the name of its deployment at Azure; a model that is not here is deployed under its own name."""
    timeout_s: float = attrs.field(default=300.0, validator=at_least(0.001, 86_400))
    """For one whole call, in seconds: a picture takes 10 to 120."""
    estimator: str = attrs.field(default="vendor", validator=one_of("vendor", "article"))
    """How output tokens are estimated before the call: the vendor's table and formula, or the article's rule."""


def _patterns(_: Any, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for pattern in value:
        if not pattern.strip() or not pattern.isprintable():
            raise ValueError(f"{field.name} holds {pattern!r}; it holds models' names, or patterns of them such as 'gpt-image-2.5-*'")


@attrs.frozen(kw_only=True)
class PoolSettings:
    """``[[pool]]``: an organisation or a project, which owns limits. One that is named is never exceeded, one left out is learnt."""

    name: str = attrs.field(validator=short_name)
    """Shown in logs and reports."""
    models: tuple[str, ...] = attrs.field(default=(), validator=_patterns)
    """Patterns of the models that it is for, where models have limits of their own as Azure's deployments do. Absent: all."""
    tier: int | str | None = None
    """The vendor's table of limits, ``1`` to ``5``; limits that are named here win over it."""
    images_per_minute: float | None = attrs.field(default=None, validator=at_least(1))
    """Pictures, not calls: a prompt with ``n = 4`` takes four."""
    tokens_per_minute: float | None = attrs.field(default=None, validator=at_least(1))
    """Input and output together."""
    requests_per_minute: float | None = attrs.field(default=None, validator=at_least(1))
    """Calls, however many pictures each asks for; what Azure limits."""
    max_concurrency: int | None = attrs.field(default=None, validator=at_least(1))
    """Calls at once."""
    exceed: bool = False
    """True: the limits above are where learning starts, and may be exceeded."""
    project: str | None = attrs.field(default=None, validator=short_name)
    """The API is asked for the limits of this project, with the administrator's key of ``admin_env`` or ``admin_file``."""
    admin_env: str | None = attrs.field(default=None, validator=variable_name)
    """The variable that holds the administrator's key."""
    admin_file: str | None = None
    """The file that holds it, of mode 0600."""

    def __attrs_post_init__(self) -> None:
        keys = (self.admin_env is not None) + (self.admin_file is not None)
        if keys != (self.project is not None):
            raise ValueError(
                "project goes with an administrator's key: admin_env (a variable's name) or admin_file (a path), and neither without it"
            )

    def limits(self) -> Limits:
        """The tier's limits with the named ones over them.

        Raises:
            UsageError: there is no such tier.
        """
        base = Limits() if self.tier is None else catalogue().tier(self.tier)
        return attrs.evolve(base, **self._named())

    def sources(self) -> dict[str, str]:
        """Where each of the limits came from, by resource: ``settings`` or ``tier ...``."""
        named, limits = self._named(), self.limits()
        return {
            resource: "settings" if name in named else f"tier {self.tier}"
            for resource, name in LIMITS.items()
            if getattr(limits, name) is not None
        }

    def admin_secret(self, environ: Mapping[str, str]) -> Secret:
        """The administrator's key of a pool that has one.

        Raises:
            UsageError: as in :meth:`KeySettings.secret`.
        """
        return _secret(f"the administrator's key of pool {self.name}", self.admin_env, self.admin_file, environ)

    def _named(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in LIMITS.values()}
        return {name: value for name, value in named.items() if value is not None}


@attrs.frozen(kw_only=True)
class KeySettings:
    """``[[key]]``: where a key is found, and under which name it is shown."""

    name: str = attrs.field(validator=short_name)
    """What outputs and logs show in place of the key."""
    pool: str | None = attrs.field(default=None, validator=short_name)
    """Whose limits it draws on. Absent: a pool of its own, whose limits are learnt."""
    env: str | None = attrs.field(default=None, validator=variable_name)
    """The variable that holds the key."""
    file: str | None = None
    """The file that holds it, of mode 0600."""
    weight: float = attrs.field(default=1.0, validator=at_least(0.001, 1000))
    """Its part of the pool's calls, relative to the weights of the pool's other keys."""

    def __attrs_post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError("a key needs either env (a variable's name) or file (a path)")

    def secret(self, environ: Mapping[str, str]) -> Secret:
        """The key itself.

        Raises:
            UsageError: the variable is not set, or the file cannot be read, is empty or open to others.
        """
        return _secret(f"key {self.name}", self.env, self.file, environ)


def _secret(whose: str, env: str | None, file: str | None, environ: Mapping[str, str]) -> Secret:
    if env is not None:
        text = environ.get(env, "")
        problem = f"the environment variable {env} is not set"
    else:
        text, problem = _key_file(file or "")
    text = text.strip()
    if not text:
        raise UsageError(f"{whose}: {problem}")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"{whose}: what was found is no key: it holds spaces or unprintable characters")
    return Secret(text)


def _key_file(name: str) -> tuple[str, str]:
    path = Path(name)
    try:
        path = path.expanduser()
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return "", f"{path} can be read by others; chmod 600 {path}"
        return path.read_text("utf-8"), f"{path} is empty"
    except (OSError, ValueError, RuntimeError) as error:
        return "", f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"


@attrs.frozen(kw_only=True)
class AlternativeSettings:
    """``[fallback.alternative]``: another API, with its own limits and keys."""

    base_url: str = attrs.field(validator=api_url)
    """Its address."""
    model: str
    """What it is asked for."""
    kind: str | None = attrs.field(default=None, validator=one_of(*KINDS))
    """As in ``[provider]``."""
    api_version: str = attrs.field(default=AZURE_VERSION, validator=visible)
    """As in ``[provider]``."""
    deployments: Mapping[str, str] = attrs.field(factory=dict, validator=all_visible)
    """As in ``[provider]``."""
    size: str | None = None
    """Absent: the prompt's, or the nearest that the model can make."""
    quality: str | None = None
    """Absent: the prompt's, or the nearest that the model has."""
    timeout_s: float = attrs.field(default=300.0, validator=at_least(0.001, 86_400))
    """For one whole call, in seconds."""
    pool: tuple[PoolSettings, ...] = ()
    key: tuple[KeySettings, ...] = ()

    def __attrs_post_init__(self) -> None:
        _check_owners(self.pool, self.key)


def _known_rungs(_: Any, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for rung in value:
        if rung not in RUNGS:
            raise ValueError(f"{field.name} holds {rung!r}; it can hold {', '.join(RUNGS)}{nearest(rung, RUNGS)}")


@attrs.frozen(kw_only=True)
class FallbackSettings:
    """``[fallback]``: what is tried, in this order, when a prompt's own request got no picture."""

    ladder: tuple[str, ...] = attrs.field(default=RUNGS, validator=_known_rungs)
    """A lower quality, a similar picture from the cache that is labelled as such, another API."""
    alternative: AlternativeSettings | None = None


def _absolute(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111 - a home that is not there is no error here


@attrs.frozen(kw_only=True)
class CacheSettings:
    """``[cache]``: pictures that are there already."""

    policy: str = attrs.field(default="verified", validator=one_of(*POLICIES))
    """Which prompts share a picture: none, equal ones, those of equal content words, of one meaning by the verifier, or of near vectors."""
    dir: str = "~/.cache/headrace"
    """Its folder; what was learnt of limits is kept there too, whatever the policy."""
    false_hit_budget: float = attrs.field(default=0.005, validator=at_least(0.001, 0.01))
    """Share of prompts for another picture that may get a cached one; the largest of 0.001, 0.005 and 0.01 that is not above it is used."""
    cosine_threshold: float = attrs.field(default=0.92, validator=at_least(0, 1))
    """Used by the policy ``cosine`` alone."""
    similar_threshold: float = attrs.field(default=0.80, validator=at_least(0, 1))
    """Cosine that is similar enough for the rung ``cached_similar``, which needs the policy ``verified`` or ``cosine``."""
    encoder: str = ENCODER
    """A model that sentence-transformers knows by its name or finds under a path."""
    verifier: str | None = None
    """File of a verifier that was made for another encoder (``benchmarks/train_verifier.py``)."""
    ttl_days: float = attrs.field(default=30.0, validator=at_least(0))
    """How many days after it was made a picture is still used."""
    max_bytes: int = attrs.field(default=10_000_000_000, validator=at_least(0))
    """Of pictures; what was used least recently goes first."""
    max_entries: int = attrs.field(default=1_000_000, validator=at_least(0))
    """What was used least recently goes first."""
    namespace: str = "default"
    """Entries of different namespaces never meet."""
    shared: str | None = attrs.field(default=None, validator=file_place)
    """A folder or a URL of fsspec where the processes that share ``[quota] store`` put their pictures: none pays for what another has."""
    job: str | None = attrs.field(default=None, validator=short_name)
    """With it, a prompt with an id that the cache does not answer (``refresh``, ``bypass``) is paid for once in all runs of that name."""

    def __attrs_post_init__(self) -> None:
        if self.shared is not None and self.policy == "off":
            raise ValueError("shared needs a policy other than 'off'")
        if self.shared is None and self.job is not None:
            raise ValueError("job goes with shared")
        if self.shared is not None and _absolute(self.shared.removeprefix("file://")) == _absolute(self.dir):
            raise ValueError("shared and dir have the same folder; choose another: the cache removes what is too old")


@attrs.frozen(kw_only=True)
class RunSettings:
    """``[run]``: how a run goes."""

    out_dir: str = "headrace-out"
    """Pictures go into its folder ``images``, the journal beside it."""
    max_in_flight: int | None = attrs.field(default=None, validator=at_least(1, 100_000))
    """Prompts between being read and being emitted; absent: what the limits can keep busy."""
    ordered: bool = False
    """Whether results come in the order of the prompts; one that is slow holds up those behind it."""
    max_cost_usd: float | None = attrs.field(default=None, validator=at_least(0))
    """No call is made whose estimate would bring the cost of the job above this, earlier runs included; then the run ends."""
    max_wait_s: float = attrs.field(default=3600.0, validator=at_least(1))
    """A prompt that no pool can start within so many seconds fails with the reason; a queue that moves on is no such wait."""
    journal: bool = False
    """Whether the output folder has a journal, by which a run that was killed goes on; ``headrace run`` always keeps one."""
    in_doubt: str = attrs.field(default="retry", validator=one_of("retry", "hold"))
    """Calls whose answer a kill cut off may have been paid: they are made again (``retry``), or their prompts are left alone (``hold``)."""
    simulate: bool = False
    """Use the embedded simulator: nothing is sent anywhere and nothing costs anything."""
    metrics_port: int | None = attrs.field(default=None, validator=at_least(0, 65_535))
    """Port on 127.0.0.1 where Prometheus finds the run's metrics; 0 takes a free one, absent there are none."""


@attrs.frozen(kw_only=True)
class QuotaSettings:
    """``[quota]``: limits that this process shares with others."""

    store: str | None = attrs.field(default=None, validator=redis_url, repr=False)
    """A Redis that all of them use; absent: the limits are this process's alone."""
    password_env: str | None = attrs.field(default=None, validator=variable_name)
    """The variable that holds the store's password."""
    namespace: str = attrs.field(default="headrace", validator=short_name)
    """Processes of different namespaces share nothing."""
    workers: int | None = attrs.field(default=None, validator=at_least(1, 100_000))
    """While the store is lost, each process takes its part of the limits: as one of those that were there, and of at least so many."""

    def __attrs_post_init__(self) -> None:
        if self.store is None and self.password_env is not None:
            raise ValueError("password_env goes with store")

    def address(self, environ: Mapping[str, str]) -> tuple[Secret, Secret | None]:
        """The store's URL, and its password where there is one.

        Raises:
            UsageError: the variable that should hold the password is not set.
        """
        url = self.store or ""
        password = urlsplit(url).password
        if self.password_env is not None:
            return Secret(url), _secret("[quota] store", self.password_env, None, environ)
        return Secret(url), None if password is None else Secret(unquote(password))


ALERT_PRESETS: Mapping[str, Mapping[str, float]] = {
    "default": {"error_rate": 0.1, "mean_latency_s": 120.0, "rate_limited_ratio": 0.2},
    "article": {"error_rate": 0.1, "mean_latency_s": 5.0, "rate_limited_ratio": 0.2},
}


@attrs.frozen(kw_only=True)
class AlertSettings:
    """``[alerts]``: when a run says that it goes wrong, and to whom besides the log."""

    preset: str = attrs.field(default="default", validator=one_of(*ALERT_PRESETS))
    """The thresholds that are not named: our own, or the article's."""
    error_rate: float | None = attrs.field(default=None, validator=at_least(0.001, 1))
    """Share of prompts that fail."""
    mean_latency_s: float | None = attrs.field(default=None, validator=at_least(0.001))
    """Seconds that a call with pictures takes in the mean."""
    rate_limited_ratio: float | None = attrs.field(default=None, validator=at_least(0.001, 1))
    """Share of calls that are refused for their pace."""
    budget_share: float = attrs.field(default=0.8, validator=at_least(0.001, 1))
    """Share of ``max_cost_usd`` that is spent."""
    stalled_minutes: float = attrs.field(default=10.0, validator=at_least(0.01))
    """How long there is no result while there is something to do."""
    window_s: float = attrs.field(default=300.0, validator=at_least(1, 86_400))
    """Seconds over which the shares and the mean are taken."""
    command: tuple[str, ...] = attrs.field(default=(), repr=False)
    """Run without a shell, with the alert as a line of JSON on its standard input."""
    webhook: str | None = attrs.field(default=None, validator=hook_url, repr=False)
    """The alert is posted there as JSON. Many such URLs are secrets: it is shown nowhere."""

    def threshold(self, name: str) -> float:
        """``error_rate``, ``mean_latency_s`` or ``rate_limited_ratio``: as named, or else the preset's."""
        named: float | None = getattr(self, name)
        return ALERT_PRESETS[self.preset][name] if named is None else named


@attrs.frozen(kw_only=True)
class Settings:
    """All settings; ``Settings()`` is what an empty file gives."""

    request: RequestSettings = attrs.field(factory=RequestSettings, validator=instance_of(RequestSettings))
    provider: ProviderSettings = attrs.field(factory=ProviderSettings, validator=instance_of(ProviderSettings))
    pool: tuple[PoolSettings, ...] = attrs.field(default=(), validator=deep_iterable(instance_of(PoolSettings)))
    key: tuple[KeySettings, ...] = attrs.field(default=(), validator=deep_iterable(instance_of(KeySettings)))
    fallback: FallbackSettings = attrs.field(factory=FallbackSettings, validator=instance_of(FallbackSettings))
    cache: CacheSettings = attrs.field(factory=CacheSettings, validator=instance_of(CacheSettings))
    run: RunSettings = attrs.field(factory=RunSettings, validator=instance_of(RunSettings))
    quota: QuotaSettings = attrs.field(factory=QuotaSettings, validator=instance_of(QuotaSettings))
    alerts: AlertSettings = attrs.field(factory=AlertSettings, validator=instance_of(AlertSettings))

    def __attrs_post_init__(self) -> None:
        _check_owners(self.pool, self.key)
        if self.cache.shared is not None and self.quota.store is None:
            raise ValueError("cache.shared needs a Redis: name it as store in [quota]")
        if self.fallback.alternative is not None:
            _check_apart(self, self.fallback.alternative)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Settings:
        """Settings from a TOML file; without a path from ``./headrace.toml`` where there is one.

        Raises:
            UsageError: the file cannot be read, is no TOML, or says something that cannot be used.
        """
        if path is None and not Path(DEFAULT_FILE).is_file():
            return cls()
        path = Path(path or DEFAULT_FILE)
        try:
            data = tomllib.loads(path.read_text("utf-8-sig"))
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not TOML: {error}") from None
        try:
            return structure(data, cls)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Settings:
        """Settings from tables of the same shape as the TOML file.

        Raises:
            UsageError: as in :meth:`load`.
        """
        return structure(dict(data), cls)


def _check_apart(settings: Settings, other: AlternativeSettings) -> None:
    # Books, alerts and metrics know a pool by its name, whichever API it is of.
    pools = _pool_names(settings.pool, settings.key) or {DEFAULT_OWNER}
    keys = {key.name for key in settings.key} or {DEFAULT_OWNER}
    for kind, ours, theirs in (("pool", pools, _pool_names(other.pool, other.key)), ("key", keys, {key.name for key in other.key})):
        if both := ours & theirs:
            raise ValueError(f"fallback.alternative has a {kind} named {min(both)!r}, and so has the first API; give it another name")


def _pool_names(pools: tuple[PoolSettings, ...], keys: tuple[KeySettings, ...]) -> set[str]:
    return {pool.name for pool in pools} | {key.name for key in keys if key.pool is None}


def _check_owners(pools: tuple[PoolSettings, ...], keys: tuple[KeySettings, ...]) -> None:
    names = [pool.name for pool in pools]
    for kind, taken in (("pool", names), ("key", [key.name for key in keys])):
        twice = {name for name in taken if taken.count(name) > 1}
        if twice:
            raise ValueError(f"two [[{kind}]] have the name {min(twice)!r}")
    for pool in pools:
        pool.limits()
    for key in keys:
        if key.pool is None and key.name in names:
            raise ValueError(f"key {key.name} has no pool, and a [[pool]] has its name; say pool = {key.name!r} if it draws on that one")
        if key.pool is not None and key.pool not in names:
            raise ValueError(f"key {key.name}: there is no [[pool]] named {key.pool!r}{nearest(key.pool, names)}")
