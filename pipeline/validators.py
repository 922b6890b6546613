"""Validators of attrs fields: each complaint is one line that says what the value has to be."""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    import attrs

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def closest(name: str, names: Iterable[str]) -> str | None:
    """The nearest of ``names``, where one is near."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), None)


def nearest(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the nearest of ``names``, or nothing."""
    found = closest(name, names)
    return "" if found is None else f" (did you mean {found!r}?)"


def one_of(*names: str) -> Any:
    """An attrs validator: the value is one of ``names`` or None."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and value not in names:
            raise ValueError(f"{field.name} is {value!r}; it can be {', '.join(names)}{nearest(str(value), names)}")

    return check


def at_least(low: float, high: float | None = None) -> Any:
    """An attrs validator: the value is None or not below ``low`` and not above ``high``."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        # Written so that NaN fails.
        if value is not None and not (low <= value < math.inf and (high is None or value <= high)):
            bounds = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
            raise ValueError(f"{field.name} is {value!r}; it has to be {bounds}")

    return check


def short_name(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: a name that is fit to be shown."""
    # The value is not repeated: it may be a key that was pasted into the wrong place.
    if value is not None and (not _NAME.match(value) or _looks_like_a_key(value)):
        raise ValueError(f"{field.name} has to be a short name of letters, digits, '.', '_' and '-', and not a key")


def variable_name(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: the name of an environment variable."""
    if value is not None and (not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) or _looks_like_a_key(value)):
        raise ValueError(f"{field.name} has to name an environment variable that holds the key, not the key itself")


def visible(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: a name that is fit to be a part of a URL."""
    if not re.fullmatch(r"[!-~]{1,256}", value) or _looks_like_a_key(value):
        raise ValueError(f"{field.name} has to be of visible ASCII characters, and not a key")


def all_visible(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: a mapping to such names."""
    for each in value.values():
        visible(_, field, each)


def api_url(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: a URL that a key may be sent to."""
    if value is None:
        return
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{field.name} has to be an http(s) URL such as https://api.openai.com/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"{field.name} must not hold a user, a password, a query or a fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(f"{field.name} is {value!r}; a key travels by https only, except to this machine itself")


def hook_url(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: a URL that alerts may be posted to; it is not repeated, for whoever knows it can post there as well."""
    if value is None:
        return
    try:
        parts = urlsplit(value)
        near = parts.scheme == "http" and _is_loopback(parts.hostname or "")
        usable = parts.hostname and parts.port != 0 and (parts.scheme == "https" or near)
    except ValueError:
        usable = False
    if not usable or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{field.name} has to be an https URL, or an http one of this machine itself such as http://127.0.0.1:8080/alerts")


def redis_url(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: the URL of a Redis; it is not repeated, for it may hold a password."""
    if value is None:
        return
    try:
        parts = urlsplit(value)
        number = parts.path.strip("/")
        usable = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0 and (not number or number.isdecimal())
    except ValueError:
        usable = False
    if not usable or not value.isascii() or not value.isprintable() or " " in value or parts.query or parts.fragment:
        raise ValueError(f"{field.name} has to be a URL such as redis://127.0.0.1:6379/0, or rediss:// for TLS")


def holds_credentials(url: str) -> bool:
    """Whether a user, a password or a query, which may hold a signature, is in a URL; one may be chained to another: ``simplecache::s3://bucket``.

    A password may have slashes.
    """
    return re.search(r"://([^/]*|[^@]*:[^@]*)@|://.*\?", url) is not None


def file_place(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator: a folder or a URL where files can be put; it is not repeated, for it may hold a password."""
    if value is None:
        return
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{field.name} has to be a folder, or a URL such as s3://bucket/prefix")
    if holds_credentials(value):
        raise ValueError(f"{field.name} must not hold a user or a password, nor a query; give them by the environment")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _looks_like_a_key(text: str) -> bool:
    return text.startswith(("sk-", "Bearer "))
