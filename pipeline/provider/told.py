"""What an answer says about limits, read out of its headers and, where it is a refusal, out of its text.

Sources: the vendor's rate-limit guide of 2026-11 and recorded refusals of 2023 to 2026. Nothing here is believed as it stands: a limit is
a finite number above 0 or it was not said, and one that holds for a day, an hour or a second is not taken for one that holds for a minute.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import attrs

from headrace.provider.failures import error_object, problem_of
from headrace.records import Kind
from headrace.text import clean
from headrace.told import CALLS, IMAGES, REQUESTS, TOKENS, Level, Refusal, Told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace.provider.failures import Reply

TOO_MANY = 429
_READ = 2_000
"""Characters of a refusal that are looked at; recorded ones have a few hundred."""
_LONGEST_NAME = 100
_LONGEST_NUMBER = 40
_MINUTE_S = 60.0

_WORDS = re.IGNORECASE | re.ASCII  # without ASCII a dotless i is an i
_MINUTE = ("m", "min", "minute")
_BY_LETTER = {"i": IMAGES, "t": TOKENS, "r": REQUESTS, "c": REQUESTS}
"""By the first letter of the word or of the abbreviation; the c is of Azure's calls."""
_WHAT = r"(?:input[-_ ])?(images?)|(tokens?)|(requests?)"
_NUMBER = r"[0-9][0-9,]*(?:\.[0-9]+)?(?![0-9A-Za-z_])"
_RESOURCE = re.compile(rf"(?:project-)?(?:{_WHAT})", _WORDS)
_HEADER = re.compile(r"x-ratelimit-(limit|remaining|reset)(?:-(.+))?")
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]*)?)(h|ms|m|s|us|µs|ns)")
_UNITS_S = {"h": 3600.0, "m": _MINUTE_S, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

# As in "on input-images per min", "on tokens per min (TPM)", and the abbreviation alone.
_PACE = re.compile(rf"\b(?:{_WHAT})(?:\s+per\s+|\s*/\s*)(?P<period>[a-z]+)|\b([RTI])P(?P<span>[SMHD])\b", _WORDS)
# "20 images per 10 seconds", "1 image every 2 seconds": no limit a minute, whatever it is counted in.
_OTHER = re.compile(r"\b(?:per|every|each)\s+(?:[0-9.]+\s*)?(?:milliseconds?|seconds?|secs?|s|hours?|h|days?|d)\b", _WORDS)
_AZURE = re.compile(r"\b(call|token) rate limit\b", _WORDS)
# "Limit 5, Used 5, Requested 1", and of old "Limit: 90000.000000 / min. Current: 89000.000000 / min."
_LIMIT = re.compile(rf"\blimit(?::| is| of)?\s+({_NUMBER})(?:\s*/\s*1?\s*([a-z]+))?", _WORDS)
_USED = re.compile(rf"\b(?:used|current):?\s+({_NUMBER})", _WORDS)
_REQUESTED = re.compile(rf"\brequested:?\s+({_NUMBER})", _WORDS)
_AT_ONCE = re.compile(
    r"\b(?:concurren(?:t|cy|tly)|simultaneous(?:ly)?|in parallel|parallel (?:calls|requests)|at once|at the same time|in[- ]flight)\b",
    _WORDS,
)
_FAMILY = re.compile(r"\(for limit ([\w.:-]{1,100})\)", _WORDS)
_ORGANISATION = re.compile(r"\borganization (org-[\w-]{1,100})", _WORDS)
_PROJECT = re.compile(r"\bproject (proj_[\w-]{1,100})", _WORDS)


def told_of(reply: Reply) -> Told:
    """Everything that the answer says about limits; a 429 that is about pace has a refusal even where it says nothing."""
    error: Mapping[str, object] = {}
    message = ""
    refused = reply.status == TOO_MANY
    if refused:
        error = error_object(reply.body)
        given = error.get("message")
        message = given[:_READ] if isinstance(given, str) else reply.body[:_READ].decode("utf-8", "replace")
        refused = problem_of(reply).kind is not Kind.BILLING
    return Told(
        organisation=_named(reply.headers.get("openai-organization")) or _found(_ORGANISATION, message),
        project=_named(reply.headers.get("openai-project")) or _found(_PROJECT, message),
        family=_found(_FAMILY, message),
        refusal=attrs.evolve(_refusal(error, message), owner=_owner(message)) if refused else None,
        levels=tuple(_levels(reply.headers)),
    )


def _owner(message: str) -> str | None:
    # A refusal that names a project is for a limit of that project, however many the organisation has.
    return _found(_PROJECT, message) or _found(_ORGANISATION, message)


def _refusal(error: Mapping[str, object], message: str) -> Refusal:
    limit = _LIMIT.search(message)
    # What stands before the number is what it is of; behind it come waits and advice.
    pace = (limit and _last(_PACE, message[: limit.end()])) or _PACE.search(message)
    slower = error.get("code") == "slow_down"
    if (slower or pace is None) and _AT_ONCE.search(message):
        return _numbers(CALLS, message)
    periods = (limit and limit[2], pace and (pace["period"] or pace["span"]))
    a_minute = pace is not None and (pace["period"] or pace["span"] or "").lower() in _MINUTE
    if slower or (not a_minute and _OTHER.search(message)) or any(period and period.lower() not in _MINUTE for period in periods):
        # The pause is enough: a limit a day is none a minute, and how fast is too fast is not said.
        return Refusal(resource=None)
    kind = error.get("type")
    named = pace or _AZURE.search(message) or (_RESOURCE.fullmatch(kind) if isinstance(kind, str) else None)
    return _numbers(_resource(named), message)


def _numbers(resource: str | None, message: str) -> Refusal:
    limit, used, requested = (_number(_found(pattern, message)) for pattern in (_LIMIT, _USED, _REQUESTED))
    return Refusal(resource=resource, limit=limit or None, used=used, requested=requested)


def _resource(match: re.Match[str] | None) -> str | None:
    return None if match is None else next(_BY_LETTER[word[0].lower()] for word in match.groups() if word is not None)


def _levels(headers: Mapping[str, str]) -> Iterator[Level]:
    families: dict[str | None, dict[str, str]] = {}
    for name, value in headers.items():
        if (header := _HEADER.fullmatch(name)) is not None:
            families.setdefault(header[2], {})[header[1]] = value
    tightest: dict[str, Level] = {}
    for suffix, values in families.items():
        level = _level(suffix, values)
        if level is not None and (level.resource not in tightest or _room(level) < _room(tightest[level.resource])):
            tightest[level.resource] = level
    yield from tightest.values()


def _level(suffix: str | None, values: Mapping[str, str]) -> Level | None:
    resource = REQUESTS if suffix is None else _resource(_RESOURCE.fullmatch(suffix))
    limit, remaining = _number(values.get("limit")), _number(values.get("remaining"))
    if resource is None or not limit or remaining is None:
        return None
    remaining, reset_s = min(remaining, limit), _seconds(values.get("reset"))
    if reset_s is not None and _longer_than_a_minute(limit, limit - remaining, reset_s):
        return None
    return Level(resource=resource, limit=limit, remaining=remaining, reset_s=reset_s)


def _longer_than_a_minute(limit: float, used: float, reset_s: float) -> bool:
    # What was used comes back at the limit's own rate. Half of a minute's rate is nearer to that of a day; a whole bucket has no rate.
    if used == 0:
        return reset_s > _MINUTE_S
    return used / limit < 0.5 * reset_s / _MINUTE_S


def _room(level: Level) -> tuple[float, float]:
    return level.remaining / level.limit, level.limit


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text):  # noqa: B007 - the last one is what is wanted
        pass
    return match


def _found(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return None if match is None else match[1]


def _named(header: str | None) -> str | None:
    return clean(header, _LONGEST_NAME) or None if header else None


def _number(text: str | None) -> float | None:
    if text is None or len(text) > _LONGEST_NUMBER or re.fullmatch(_NUMBER, text) is None:
        return None
    return float(text.replace(",", ""))


def _seconds(text: str | None) -> float | None:
    """A duration as Go writes it, or plain seconds."""
    if text is None or len(text) > _LONGEST_NUMBER:
        return None
    spans = _SPAN.findall(text)
    if spans and "".join(amount + unit for amount, unit in spans) == text:
        return math.fsum(float(amount) * _UNITS_S[unit] for amount, unit in spans)
    return _number(text)
