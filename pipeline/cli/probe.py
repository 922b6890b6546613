"""``headrace limits --probe``: the cheapest call there is with each pool, for what its answer says of limits."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio
import typer

from headrace.admission.booking import Cost
from headrace.admission.gate import Gate
from headrace.endpoints import model_for
from headrace.estimate import estimate
from headrace.models import catalogue
from headrace.provider.body import Saved, save
from headrace.provider.client import OK
from headrace.provider.failures import problem_of
from headrace.provider.memory import ByteBudget
from headrace.provider.payload import MAX_BODY
from headrace.provider.told import told_of
from headrace.records import Kind, Problem, Prompt, Request
from headrace.told import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.admission.permit import Permit
    from headrace.admission.pool import Pool
    from headrace.endpoints import Endpoint
    from headrace.owners import Owner
    from headrace.provider.client import Client
    from headrace.records import Estimated
    from headrace.settings import Settings
    from headrace.told import Told

_PROMPT = "a grey dot"
_SHAPES = ("1024x1024", "1024x1536", "1536x1024", "3072x1024")
"""The smallest picture of each of these is looked at: the wider one is, the fewer tokens it takes."""


@attrs.frozen
class Member:
    """One pool of one API."""

    endpoint: Endpoint
    owner: Owner
    pool: Pool


def cheapest(settings: Settings, endpoint: Endpoint, owner: Owner) -> Estimated:
    """The cheapest picture that a model which the owner is for can make."""
    model = catalogue().model(model_for(owner.models, endpoint.model))
    size, quality = settings.request.size, settings.request.quality
    if model.known:
        quality = model.qualities[0]
        sizes = [model.smallest_size(shape) for shape in _SHAPES]
        size = min(sizes, key=lambda size: model.picture_tokens(size, quality))
    request = Request(prompt=_PROMPT, model=model.name, size=size, quality=quality)
    return estimate(Prompt(seq=0, id="probe", request=request), request, settings.provider.estimator)


def agreed(asked: Sequence[Estimated]) -> bool:
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


async def answers_of(settings: Settings, endpoint: Endpoint, members: Sequence[Member], app: Any) -> list[dict[str, Any]]:
    """What each pool of an API answers, asked all at once."""
    answers: list[dict[str, Any]] = [{} for _ in members]
    async with AsyncExitStack() as stack:
        clients = endpoint.clients(app)
        for client in clients.values():
            stack.push_async_callback(client.aclose)

        async def ask(place: int) -> None:
            member = members[place]
            answers[place] = await _answer(member, cheapest(settings, endpoint, member.owner), clients)

        async with trio.open_nursery() as asking:
            for place in range(len(members)):
                asking.start_soon(ask, place)
    return answers


async def _answer(member: Member, probe: Estimated, clients: Mapping[str, Client]) -> dict[str, Any]:
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
