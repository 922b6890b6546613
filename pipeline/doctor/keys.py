"""Whether each key can be read; it is known by its name, and the key itself is never shown."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from headrace.doctor.finding import Finding, State, complaint
from headrace.endpoints import alternative_url, form_of, primary_url
from headrace.errors import UsageError
from headrace.settings import KEY_VARIABLE, KeySettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.provider.forms import Form
    from headrace.secret import Secret
    from headrace.settings import Settings

_CHECK = "key"


@attrs.frozen(kw_only=True)
class Api:
    """An address, what it is asked for, and the keys that can be read."""

    url: str
    model: str
    secrets: Mapping[str, Secret]
    """By the key's name."""
    form: Form
    """How it is addressed."""


def apis(settings: Settings, environ: Mapping[str, str]) -> tuple[list[Api], list[Finding]]:
    """The APIs of a run with the keys that were found, and a line for each key that settings name."""
    findings: list[Finding] = []
    keys = settings.key or (KeySettings(name="default", env=KEY_VARIABLE),)
    found: list[Api] = []
    try:
        url = primary_url(settings, environ)
    except UsageError as error:
        findings.append(complaint("provider", error, "leave it out for the vendor's own API"))
    else:
        secrets = _secrets(keys, environ, findings, named=bool(settings.key))
        found.append(Api(url=url, model=settings.request.model, secrets=secrets, form=form_of(settings.provider, url)))
    if other := settings.fallback.alternative:
        try:
            url = alternative_url(other)
        except UsageError as error:
            findings.append(complaint("provider", error, "mend fallback.alternative.base_url"))
        else:
            secrets = _secrets(other.key, environ, findings, named=True)
            found.append(Api(url=url, model=other.model, secrets=secrets, form=form_of(other, url)))
        if not other.key:
            findings.append(
                Finding(_CHECK, State.FAILED, "fallback.alternative has no key of its own", "add a [[fallback.alternative.key]]")
            )
    _administrators(settings, environ, findings)
    return found, findings


def _secrets(keys: tuple[KeySettings, ...], environ: Mapping[str, str], findings: list[Finding], *, named: bool) -> dict[str, Secret]:
    secrets = {}
    for key in keys:
        try:
            secrets[key.name] = key.secret(environ)
        except UsageError as error:
            if named:
                findings.append(_unreadable(error, key.env))
            else:
                what = f"set {KEY_VARIABLE}, or name a key in a configuration file ('headrace init' writes it)"
                findings.append(Finding(_CHECK, State.FAILED, "there is no API key", what))
        else:
            findings.append(Finding(_CHECK, State.OK, f"{key.name}: found in {_place(key.env, key.file)}"))
    return secrets


def _administrators(settings: Settings, environ: Mapping[str, str], findings: list[Finding]) -> None:
    for pool in settings.pool:
        if pool.project is None:
            continue
        try:
            pool.admin_secret(environ)
        except UsageError as error:
            findings.append(_unreadable(error, pool.admin_env))
        else:
            findings.append(
                Finding(_CHECK, State.OK, f"administrator's key of pool {pool.name}: found in {_place(pool.admin_env, pool.admin_file)}")
            )


def _unreadable(error: UsageError, variable: str | None) -> Finding:
    found = complaint(_CHECK, error, "put the key there, in a file of mode 0600" if variable is None else f"export {variable}=...")
    return attrs.evolve(found, message=found.message.removeprefix("key "))


def _place(variable: str | None, file: str | None) -> str:
    if variable is not None:
        return f"${variable}"
    path = Path(file or "").expanduser()
    return f"{path}, mode {stat.S_IMODE(path.stat().st_mode):04o}"
