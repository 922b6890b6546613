"""What ``headrace limits`` shows and asks; its options are in ``main.py``.

What it reports is plain data, so that the table and the JSON object say the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio
import typer

from headrace.admission.booking import Cost
from headrace.admission.books import Known
from headrace.admission.gate import Gate
from headrace.cli.options import settings_of
from headrace.endpoints import endpoints_of, model_for, owners_of
from headrace.errors import lone
from headrace.estimate import estimate
from headrace.learnt import Learnt, learnt_file
from headrace.models import catalogue
from headrace.offload import Threads
from headrace.owners import simulated_app
from headrace.provider.body import Saved, save
from headrace.provider.client import OK
from headrace.provider.failures import problem_of
from headrace.provider.memory import ByteBudget
from headrace.provider.payload import MAX_BODY
from headrace.provider.told import told_of
from headrace.records import Kind, Problem, Prompt, Request
from headrace.told import CALLS, NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.admission.permit import Permit
    from headrace.admission.pool import Pool
    from headrace.endpoints import Endpoint
    from headrace.learnt import Entry
    from headrace.owners import Owner
    from headrace.provider.client import Client
    from headrace.records import Estimated
    from headrace.settings import Settings
    from headrace.told import Told

_PROMPT = "a grey dot"
_SHAPES = ("1024x1024", "1024x1536", "1536x1024", "3072x1024")
"""The smallest picture of each of these is looked at: the wider one is, the fewer tokens it takes."""
_TELLING = ("ok", Kind.RATE_LIMITED, Kind.SLOW_DOWN)
"""Outcomes of a call that say something about limits."""


@attrs.frozen
class _Member:
    """One pool of one API."""

    endpoint: Endpoint
    owner: Owner
    pool: Pool


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
        probe = _agreed([_cheapest(settings, endpoint, owner) for endpoint in endpoints for owner in endpoint.owners])
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
    members: list[_Member] = []
    answers: list[dict[str, Any]] = []
    try:
        for each in endpoints:
            endpoint = await each.with_admin_limits(app)
            pools = endpoint.pools()
            learnt.recall(endpoint.url, pools)
            its = [_Member(endpoint, owner, pool) for owner, pool in zip(endpoint.owners, pools, strict=True)]
            answers += await _answers(settings, endpoint, its, app) if probe else []
            members += its
    finally:
        learnt.close()
    now = trio.current_time()
    return {
        "pools": [_shown(member, learnt.known.get((member.endpoint.url, member.owner.name)), now) for member in members],
        "probe": answers,
    }


def _shown(member: _Member, entry: Entry | None, now: float) -> dict[str, Any]:
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


# ---- asking ---------------------------------------------------------------------------------------------------------


def _cheapest(settings: Settings, endpoint: Endpoint, owner: Owner) -> Estimated:
    """The cheapest picture that a model which the owner is for can make."""
    model = catalogue().model(model_for(owner.models, endpoint.model))
    size, quality = settings.request.size, settings.request.quality
    if model.known:
        quality = model.qualities[0]
        sizes = [model.smallest_size(shape) for shape in _SHAPES]
        size = min(sizes, key=lambda size: model.picture_tokens(size, quality))
    request = Request(prompt=_PROMPT, model=model.name, size=size, quality=quality)
    return estimate(Prompt(seq=0, id="probe", request=request), request, settings.provider.estimator)


def _agreed(asked: Sequence[Estimated]) -> bool:
    """Say what will be asked and what it costs; whether it may be."""
    calls = Counter((each.request.model, each.request.size, each.request.quality, each.cost_usd) for each in asked)
    for (model, size, quality, cost_usd), count in calls.items():
        price = "at a price that is not known" if cost_usd is None else f"for about ${cost_usd:.4f} each"
        _say(f"--probe asks for {count:,} x one picture of {model}, {size} in quality {quality}, {price}")
    whole = sum(each.cost_usd or 0.0 for each in asked)
    _say(
        f"that is one call with each of {len(asked):,} pools, ${whole:.4f} in all as far as prices are known; the pictures are thrown away"
    )
    return not sys.stdin.isatty() or typer.confirm("headrace: ask?", err=True)


async def _answers(settings: Settings, endpoint: Endpoint, members: Sequence[_Member], app: Any) -> list[dict[str, Any]]:
    """What each pool of an API answers, asked all at once."""
    answers: list[dict[str, Any]] = [{} for _ in members]
    async with AsyncExitStack() as stack:
        clients = endpoint.clients(app)
        for client in clients.values():
            stack.push_async_callback(client.aclose)

        async def ask(place: int) -> None:
            member = members[place]
            answers[place] = await _answer(member, _cheapest(settings, endpoint, member.owner), clients)

        async with trio.open_nursery() as asking:
            for place in range(len(members)):
                asking.start_soon(ask, place)
    return answers


async def _answer(member: _Member, probe: Estimated, clients: Mapping[str, Client]) -> dict[str, Any]:
    """What one call says, made as soon as the pool's limits allow it; it is never made again."""
    pool, gate = member.pool, Gate([member.pool])
    cost, now = Cost(images=1, tokens=probe.tokens, model=probe.request.model), trio.current_time()
    if pool.fits(cost) and (wait_s := pool.earliest(cost, now) - now) > 1:
        _say(f"pool {pool.name}: what was sent before lets the call start in {wait_s:,.0f} s")
    async with trio.open_nursery() as waiting:
        waiting.start_soon(gate.run)
        permit = await gate.acquire(cost)
        waiting.cancel_scope.cancel()
    started = trio.current_time()
    if isinstance(permit, Problem):
        outcome: Saved | Problem = permit
        told = NOTHING
    else:
        outcome, told = await _called(permit, probe.request, clients[permit.key])
    problem = outcome if isinstance(outcome, Problem) else None
    return {
        "pool": member.owner.name,
        "key": None if isinstance(permit, Problem) else permit.key,
        "model": probe.request.model,
        "outcome": "ok" if problem is None else problem.kind.value,
        "status": OK if problem is None else problem.status,
        "message": None if problem is None else problem.message,
        "seconds": round(trio.current_time() - started, 3),
        "cost_usd": _cost_usd(probe, outcome),
        **attrs.asdict(told),
    }


async def _called(permit: Permit, request: Request, client: Client) -> tuple[Saved | Problem, Told]:
    outcome: Saved | Problem
    told = NOTHING
    with ByteBudget(MAX_BODY).lease() as lease, tempfile.TemporaryDirectory() as folder:
        try:
            reply = await client.post(request, lease)
            if isinstance(reply, Problem):
                outcome = reply
            else:
                told = told_of(reply)
                outcome = save(reply, request, Path(folder)) if reply.status == OK else problem_of(reply)
        except BaseException:
            permit.failed(Problem(kind=Kind.INTERRUPTED, message="cancelled during the call"))
            raise
    if isinstance(outcome, Problem):
        permit.failed(outcome, told)
    else:
        permit.succeeded(outcome.usage, told)
    return outcome, told


def _cost_usd(probe: Estimated, outcome: Saved | Problem) -> float | None:
    if isinstance(outcome, Problem):
        return probe.cost_usd if outcome.billed else 0.0
    if outcome.usage is None:
        return probe.cost_usd
    return catalogue().model(probe.request.model).cost_usd(outcome.usage.input_tokens, outcome.usage.output_tokens)


def _say(text: str) -> None:
    typer.echo(f"headrace: {text}", err=True)
