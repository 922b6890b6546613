"""Whether each API answers and takes each key: one GET of its list of models, which makes no picture and costs nothing."""

from __future__ import annotations

import json
from contextlib import aclosing, suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.doctor.finding import Finding, State
from headrace.errors import UsageError
from headrace.provider.client import OK, Client
from headrace.provider.failures import error_inside, problem_of
from headrace.provider.forms import VENDOR_FORM
from headrace.records import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from headrace.doctor.keys import Api
    from headrace.secret import Secret

PATIENCE_S = 5.0
"""For one answer."""
_AT_ONCE = 32
_ENOUGH_S = 15.0
"""From then on no more keys are asked."""
_CHECK = "provider"
_NAMED = 5
_ABSENT = (Kind.NETWORK, Kind.TIMEOUT)
_OF_KEYS = (Kind.AUTH, Kind.FORBIDDEN, Kind.BILLING)
"""Trouble that another key of the same API need not have."""


@attrs.frozen(kw_only=True)
class _Answer:
    key: str
    problem: Problem | None
    models: frozenset[str] = frozenset()
    """Empty where the answer names none."""
    off_s: float | None = None
    """By how much the API's clock is ahead of ours."""


async def provider(api: Api, wall: Callable[[], datetime]) -> tuple[list[Finding], float | None]:
    """A line for the API and one for each thing that is wrong with keys, and by how much its clock is ahead of ours."""
    if not api.secrets:
        return [Finding(_CHECK, State.SKIPPED, f"{api.url}: there is no key to ask it with")], None
    answers: list[_Answer] = []

    async def ask(name: str, secret: Secret) -> None:
        answers.append(await _ask(api, name, secret, wall))

    left, size, until = list(api.secrets.items()), 1, trio.current_time() + _ENOUGH_S
    # An API that does not answer one key has no answer for the next either, and may let each wait.
    while left and not _is_absent(answers) and trio.current_time() < until:
        async with trio.open_nursery() as asking:
            for name, secret in left[:size]:
                asking.start_soon(ask, name, secret)
        left, size = left[size:], _AT_ONCE
    return list(_findings(api, answers)), next((answer.off_s for answer in answers if answer.off_s is not None), None)


def _is_absent(answers: list[_Answer]) -> bool:
    return any(answer.problem is not None and answer.problem.kind in _ABSENT for answer in answers)


async def _ask(api: Api, name: str, secret: Secret, wall: Callable[[], datetime]) -> _Answer:
    try:
        client = Client(base_url=api.url, secret=secret, timeout_s=PATIENCE_S, form=api.form)
    except UsageError as error:
        return _Answer(key=name, problem=Problem(kind=Kind.NETWORK, message=str(error), retryable=False))
    async with aclosing(client):
        reply = await client.ask("/models")
    if isinstance(reply, Problem):
        return _Answer(key=name, problem=reply)
    off_s = None
    with suppress(TypeError, ValueError, OverflowError):
        off_s = (parsedate_to_datetime(reply.headers.get("date", "")) - wall()).total_seconds()
    document = None
    with suppress(ValueError, RecursionError):
        document = json.loads(reply.body)
    if reply.status != OK or error_inside(document) is not None:
        return _Answer(key=name, problem=problem_of(reply), off_s=off_s)
    listed = document.get("data") if isinstance(document, dict) else None
    entries = [entry.get("id") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return _Answer(key=name, problem=None, models=frozenset(entry for entry in entries if isinstance(entry, str)), off_s=off_s)


def _findings(api: Api, answers: list[_Answer]) -> Iterator[Finding]:
    good = [answer for answer in answers if answer.problem is None]
    if good:
        whole = "its key" if len(answers) == 1 else f"{len(good):,} of {len(answers):,} keys"
        yield Finding(_CHECK, State.OK, f"{api.url} answers and takes {whole}")
    said: dict[Finding, list[str]] = {}
    for answer in answers:
        if answer.problem is not None:
            names = said.setdefault(_trouble(api.url, answer.problem), [])
            names += [answer.key] if answer.problem.kind in _OF_KEYS else []
    for finding, names in said.items():
        yield attrs.evolve(finding, message=f"{_listed(names)}{finding.message}")
    if good and (left := len(api.secrets) - len(answers)):
        yield Finding(_CHECK, State.SKIPPED, f"{left:,} more keys were not asked: an answer took too long or never came")
    listed = frozenset().union(*(answer.models for answer in good))
    # Azure lists what can be deployed, and not what is.
    if listed and api.model not in listed and api.form == VENDOR_FORM:
        message = f"{api.url} lists no model {api.model} for these keys"
        yield Finding("model", State.WARNING, message, "see that the organisation may use it, or choose another with --model")


def _listed(names: list[str]) -> str:
    shown = sorted(names)[:_NAMED]
    shown += [f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else []
    return f"{', '.join(shown)}: " if shown else ""


def _trouble(url: str, problem: Problem) -> Finding:
    status = "" if problem.status is None else f" ({problem.status})"
    failed, warning = State.FAILED, State.WARNING
    state, what, following = {
        Kind.AUTH: (failed, "refuses the key", "put a key there that is valid: see the vendor's page of keys"),
        Kind.FORBIDDEN: (warning, "does not let the key list models", "it may make pictures all the same: 'headrace limits --probe' tries"),
        Kind.NOT_FOUND: (
            warning,
            "has no list of models, so the key is not checked",
            "see that base_url is right: most end with /v1, Azure's with its host",
        ),
        Kind.RATE_LIMITED: (warning, "answers that there are too many calls", "wait a minute"),
        Kind.BILLING: (failed, "says that there is no money", "see to the organisation's billing"),
        Kind.NETWORK: (failed, "cannot be reached", "see to the network, to base_url, and to HTTPS_PROXY where there is a proxy"),
        Kind.TIMEOUT: (failed, "does not answer", "see to the network, or try again later"),
    }.get(problem.kind, (warning, "answers something else than a list of models", "try again later; see that base_url is right"))
    return Finding(_CHECK, state, f"{url} {what}{status}: {problem.message}", following)
