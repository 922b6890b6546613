"""Which APIs a run talks to: their addresses, whose limits they keep, and whether they are the vendor's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from headrace.errors import UsageError
from headrace.models import catalogue
from headrace.owners import real_owners, simulated_owners
from headrace.settings import URL_VARIABLE, VENDOR_HOST, VENDOR_URL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.owners import Owner
    from headrace.settings import AlternativeSettings, Settings

SIMULATED_URL = "http://simulator.localhost/v1"


@attrs.frozen(kw_only=True)
class Endpoint:
    """One API and who may call it."""

    url: str
    timeout_s: float
    owners: tuple[Owner, ...]

    @property
    def vendors_own(self) -> bool:
        """Whether it is the vendor's, who has shut retired models down; elsewhere they may live on."""
        return urlsplit(self.url).hostname == VENDOR_HOST


def primary_endpoint(settings: Settings, environ: Mapping[str, str]) -> Endpoint:
    """The API that every prompt is sent to first.

    Raises:
        UsageError: its address, its model or one of its keys cannot be used.
    """
    timeout_s = settings.provider.timeout_s
    if settings.run.simulate:
        return Endpoint(url=SIMULATED_URL, timeout_s=timeout_s, owners=simulated_owners(settings.pool, settings.key))
    url = settings.provider.base_url or environ.get(URL_VARIABLE) or VENDOR_URL
    try:
        attrs.evolve(settings.provider, base_url=url)  # checked like one from a file
    except ValueError as error:
        raise UsageError(f"{URL_VARIABLE}: {error}") from None
    _refuse_retired(settings.request.model, url)
    return Endpoint(url=url.rstrip("/"), timeout_s=timeout_s, owners=real_owners(settings.pool, settings.key, environ))


def alternative_endpoint(settings: Settings, alternative: AlternativeSettings, environ: Mapping[str, str]) -> Endpoint:
    """The API that a fallback asks.

    Raises:
        UsageError: its model or one of its keys cannot be used, or it has no key of its own.
    """
    if settings.run.simulate:
        owners = simulated_owners(alternative.pool, alternative.key, "alternative")
        return Endpoint(url=SIMULATED_URL, timeout_s=alternative.timeout_s, owners=owners)
    if not alternative.key:
        raise UsageError("fallback.alternative has no key of its own; add a [[fallback.alternative.key]]")
    _refuse_retired(alternative.model, alternative.base_url)
    owners = real_owners(alternative.pool, alternative.key, environ)
    return Endpoint(url=alternative.base_url.rstrip("/"), timeout_s=alternative.timeout_s, owners=owners)


def _refuse_retired(model: str, url: str) -> None:
    if urlsplit(url).hostname == VENDOR_HOST:
        catalogue().model(model).refuse_retired(datetime.now(UTC).date())
