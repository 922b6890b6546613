"""What ``headrace limits`` shows; its options are in ``main.py``, and ``probe.py`` asks.

What it reports is plain data, so that the table and the JSON object say the same.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from headrace.admission.books import Known
from headrace.cli.options import settings_of
from headrace.cli.probe import Member, agreed, answers_of, cheapest
from headrace.endpoints import endpoints_of, owners_of
from headrace.errors import lone
from headrace.learnt import Learnt, learnt_file
from headrace.offload import Threads
from headrace.owners import simulated_app
from headrace.records import Kind
from headrace.told import CALLS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.endpoints import Endpoint
    from headrace.learnt import Entry
    from headrace.settings import Settings

_TELLING = ("ok", Kind.RATE_LIMITED, Kind.SLOW_DOWN)
"""Outcomes of a call that say something about limits."""


def report_of(config: Path | None, *, tier: str | None, simulate: bool, probe: bool) -> dict[str, Any]:
    """What is known of every pool, and with ``probe`` what each answered; on a terminal its owner is asked before.

    Raises:
        UsageError: the configuration, a key, a model or an address cannot be used.
    """
    settings = settings_of(
        config,
        request={},
        profile=None,
        tier=tier,
        cache=None,
        out_dir=None,
        simulate=simulate,
        ordered=False,
        max_cost_usd=None,
        max_in_flight=None,
        in_doubt=None,
    )
    endpoints = [endpoint for endpoint in endpoints_of(settings, os.environ) if endpoint is not None]
    if probe:
        probe = agreed([cheapest(settings, endpoint, owner) for endpoint in endpoints for owner in endpoint.owners])
    try:
        return trio.run(_report, settings, endpoints, probe)
    except BaseExceptionGroup as group:
        raise lone(group) from None


def told_nothing(report: Mapping[str, Any]) -> bool:
    """Whether some pool was asked and its answer says nothing about limits."""
    return any(answer["outcome"] not in _TELLING for answer in report["probe"])


async def _report(settings: Settings, endpoints: Sequence[Endpoint], probe: bool) -> dict[str, Any]:
    learnt = Learnt(learnt_file(settings), Threads(1))
    app = simulated_app(owners_of(*endpoints)) if settings.run.simulate else None
    members: list[Member] = []
    answers: list[dict[str, Any]] = []
    try:
        for each in endpoints:
            endpoint = await each.with_admin_limits(app)
            pools = endpoint.pools()
            learnt.recall(endpoint.url, pools)
            its = [Member(endpoint, owner, pool) for owner, pool in zip(endpoint.owners, pools, strict=True)]
            answers += await answers_of(settings, endpoint, its, app) if probe else []
            members += its
    finally:
        learnt.close()
    now = trio.current_time()
    return {
        "pools": [_shown(member, learnt.known.get((member.endpoint.url, member.owner.name)), now) for member in members],
        "probe": answers,
    }


def _shown(member: Member, entry: Entry | None, now: float) -> dict[str, Any]:
    owner, books = member.owner, member.pool.statistics(now)
    known = list(books.known)
    if all(each.resource != CALLS for each in known):
        known.append(Known(resource=CALLS, limit=None, source="unknown"))
    return {
        "name": owner.name,
        "api": member.endpoint.url,
        "keys": [key.name for key in owner.keys],
        "models": list(owner.models),
        "exceed": owner.exceed,
        "project": None if owner.administrator is None else owner.administrator.project,
        "limits": [attrs.asdict(each) for each in known],
        "owners": list(books.owners or (entry.memory.owners if entry else ())),
        "refusals": list(books.refusals or (entry.memory.refusals if entry else ())),
        "learnt_s_ago": None if entry is None else round(entry.age_s(time.time()), 1),
        "state": books.state,
    }
