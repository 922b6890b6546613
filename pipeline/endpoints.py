"""Which APIs a run talks to: their addresses, whose limits they keep, and whether they are the vendor's own.

Where settings name an administrator's key the limits are asked for at the start; an API that does not tell them is no reason not to run.
"""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import trio

from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.errors import UsageError
from headrace.log import log
from headrace.models import catalogue
from headrace.owners import administered, real_owners, simulated_owners
from headrace.provider.admin import rate_limits
from headrace.provider.client import Client
from headrace.provider.forms import VENDOR_FORM, AzureForm
from headrace.records import Problem
from headrace.settings import URL_VARIABLE, VENDOR_HOST, VENDOR_URL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.models import Limits
    from headrace.owners import Owner
    from headrace.provider.forms import Form
    from headrace.secret import Secret
    from headrace.settings import AlternativeSettings, ProviderSettings, Settings

AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com")
SIMULATED_URL = "http://simulator.localhost/v1"
ADMIN_S = 15.0
"""The administration is waited for so long: a run can start without it."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """One API and who may call it."""

    url: str
    timeout_s: float
    model: str
    """Which model is asked for where a prompt says nothing else."""
    owners: tuple[Owner, ...]
    form: Form = VENDOR_FORM
    """How it is addressed."""

    @property
    def vendors_own(self) -> bool:
        """Whether it is the vendor's, who has shut retired models down; elsewhere they may live on."""
        return urlsplit(self.url).hostname == VENDOR_HOST

    def pools(self) -> list[Pool]:
        """The owners as admission takes them."""
        pools = []
        for owner in self.owners:
            keys = [Key(key.name, key.weight) for key in owner.keys]
            pool = Pool(owner.name, owner.limits, keys, models=owner.models, exceed=owner.exceed, sources=owner.sources)
            for resource, limit in owner.offered.items():
                pool.meters.meter(resource).learn(limit, "admin", trio.current_time())
            pools.append(pool)
        return pools

    def clients(self, app: Any) -> dict[str, Client]:
        """A client for each key, by its name; they call ``app`` in place of the network where there is one."""
        return {name: self._client(secret, self.timeout_s, app) for name, secret in self.secrets().items()}

    def secrets(self) -> dict[str, Secret]:
        """Every key, by its name."""
        return {key.name: key.secret for owner in self.owners for key in owner.keys}

    async def with_admin_limits(self, app: Any) -> Endpoint:
        """The same with what administrators' keys can read of its projects' limits."""
        if all(owner.administrator is None for owner in self.owners):
            return self
        owners = list(self.owners)

        async def ask(place: int) -> None:
            owners[place] = await self._asked(owners[place], app)

        async with trio.open_nursery() as asking:
            for place, owner in enumerate(owners):
                if owner.administrator is not None:
                    asking.start_soon(ask, place)
        return attrs.evolve(self, owners=tuple(owners))

    async def _asked(self, owner: Owner, app: Any) -> Owner:
        admin = owner.administrator
        assert admin is not None  # noqa: S101 - only those are asked for
        told: Limits | Problem | None = None
        with trio.move_on_after(ADMIN_S):
            async with aclosing(self._client(admin.secret, ADMIN_S, app)) as client:
                told = await rate_limits(client, admin.project, model_for(owner.models, self.model))
        if told is None or isinstance(told, Problem):
            why = f"no answer within {ADMIN_S:g} s" if told is None else told.message
            log.warning("admin_limits_unknown", pool=owner.name, project=admin.project, error=why, next="what the settings say holds")
            return owner
        return administered(owner, told)

    def _client(self, secret: Secret, timeout_s: float, app: Any) -> Client:
        return Client(base_url=self.url, secret=secret, timeout_s=timeout_s, app=app, form=self.form)


def model_for(patterns: Sequence[str], wanted: str) -> str:
    """A model that patterns are for: the one that is wanted where they are for it, or else the first that is known."""
    names = (wanted, *catalogue().models, *patterns)
    return next((name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)), wanted)


def endpoints_of(settings: Settings, environ: Mapping[str, str]) -> tuple[Endpoint, Endpoint | None]:
    """The API that every prompt is sent to first, and the one that a fallback asks.

    Raises:
        UsageError: an address, a model or a key cannot be used.
    """
    other = settings.fallback.alternative
    return primary_endpoint(settings, environ), None if other is None else alternative_endpoint(settings, other, environ)


def owners_of(*endpoints: Endpoint | None) -> tuple[Owner, ...]:
    """All of them; an endpoint that there is not has none."""
    return tuple(owner for endpoint in endpoints if endpoint is not None for owner in endpoint.owners)


def primary_endpoint(settings: Settings, environ: Mapping[str, str]) -> Endpoint:
    """The API that every prompt is sent to first.

    Raises:
        UsageError: its address, its model or one of its keys cannot be used.
    """
    timeout_s = settings.provider.timeout_s
    if settings.run.simulate:
        owners = simulated_owners(settings.pool, settings.key)
        return Endpoint(url=SIMULATED_URL, timeout_s=timeout_s, model=settings.request.model, owners=owners)
    url = primary_url(settings, environ)
    _refuse_retired(settings.request.model, url)
    owners = real_owners(settings.pool, settings.key, environ)
    return Endpoint(url=url, timeout_s=timeout_s, model=settings.request.model, owners=owners, form=form_of(settings.provider, url))


def primary_url(settings: Settings, environ: Mapping[str, str]) -> str:
    """Where the API is that every prompt is sent to first, without a slash at its end.

    Raises:
        UsageError: its address cannot be used.
    """
    url = settings.provider.base_url or environ.get(URL_VARIABLE) or VENDOR_URL
    try:
        attrs.evolve(settings.provider, base_url=url)  # checked like one from a file
    except ValueError as error:
        raise UsageError(f"{URL_VARIABLE}: {error}") from None
    return _checked(settings.provider, url)


def alternative_endpoint(settings: Settings, alternative: AlternativeSettings, environ: Mapping[str, str]) -> Endpoint:
    """The API that a fallback asks.

    Raises:
        UsageError: its model or one of its keys cannot be used, or it has no key of its own.
    """
    if settings.run.simulate:
        owners = simulated_owners(alternative.pool, alternative.key, "alternative")
        return Endpoint(url=SIMULATED_URL, timeout_s=alternative.timeout_s, model=alternative.model, owners=owners)
    if not alternative.key:
        raise UsageError("fallback.alternative has no key of its own; add a [[fallback.alternative.key]]")
    url = alternative_url(alternative)
    _refuse_retired(alternative.model, url)
    owners = real_owners(alternative.pool, alternative.key, environ)
    form = form_of(alternative, url)
    return Endpoint(url=url, timeout_s=alternative.timeout_s, model=alternative.model, owners=owners, form=form)


def alternative_url(alternative: AlternativeSettings) -> str:
    """Where the API is that a fallback asks, without a slash at its end.

    Raises:
        UsageError: it cannot be used.
    """
    return _checked(alternative, alternative.base_url)


def form_of(settings: ProviderSettings | AlternativeSettings, url: str) -> Form:
    """How the API at that URL is addressed: as the settings say, or else by its host."""
    if not _is_azure(settings, url):
        return VENDOR_FORM
    return AzureForm(api_version=settings.api_version, deployments=settings.deployments)


def _is_azure(settings: ProviderSettings | AlternativeSettings, url: str) -> bool:
    if settings.kind is not None:
        return settings.kind == "azure"
    # Azure has the vendor's own form as well, below /openai/v1.
    return (urlsplit(url).hostname or "").endswith(AZURE_HOSTS) and not url.endswith("/openai/v1")


def _checked(settings: ProviderSettings | AlternativeSettings, url: str) -> str:
    url = url.rstrip("/")
    if _is_azure(settings, url):
        url = url.removesuffix("/openai")
        if "/deployments" in url or url.endswith("/v1"):
            raise UsageError("base_url of Azure is the resource's endpoint alone, such as https://NAME.openai.azure.com")
    return url


def _refuse_retired(model: str, url: str) -> None:
    if urlsplit(url).hostname == VENDOR_HOST:
        catalogue().model(model).refuse_retired(datetime.now(UTC).date())
