"""One call from its arrival to its answer: key, parameters, faults, limits, latency, pictures, bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from headrace.simulator import azure, pictures
from headrace.simulator.answers import picture_reply
from headrace.simulator.faults import FAULTS, Fault, Stage, pick
from headrace.simulator.latency import latency_s
from headrace.simulator.limits import limit_headers, refusal_reply
from headrace.simulator.replies import Delivery, Reply, error_reply

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from headrace.records import Request
    from headrace.simulator.pool import Pool
    from headrace.simulator.settings import SimulatorSettings
    from headrace.simulator.validate import Call
    from headrace.simulator.world import World

_DRAWERS: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("drawers")
_GOOD = Fault(stage=Stage.PICTURES, paid=True)


def key_problem(key: str | None) -> Reply:
    """The 401 for a key that is let in nowhere; it never quotes the whole key."""
    if not key:
        return error_reply(401, "You didn't provide an API key.", code="invalid_api_key")
    # Of a short key the two ends would be most.
    shown = f"{key[:4]}{'*' * 8}{key[-4:]}" if len(key) >= 20 else "*" * 8  # noqa: PLR2004
    return error_reply(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")


async def generate(world: World, pool: Pool, call: Call, gone: Callable[[], Awaitable[None]], version: str | None = None) -> Reply:
    """Answer one call of that pool; ``gone`` returns when the caller has hung up, ``version`` is that of Azure's API where it is one."""
    prompt = call.request.prompt
    rng = world.dice(prompt)
    name = pool.benched or pick(prompt, world.calls(prompt), world.settings.faults, rng)
    if name is not None and name not in FAULTS:
        world.counts["bad_request"] += 1
        return error_reply(400, f"There is no fault {name!r}.", code="invalid_value", param="prompt")
    fault = _fault(name, version)
    if fault.stage is Stage.BEFORE and fault.reply:
        world.called(prompt)
        world.counts[str(name)] += 1
        return fault.reply()
    now = trio.current_time()
    refusal = pool.admit(call.request.n, call.input_tokens + call.output_tokens, now)
    extra = limit_headers(pool, now) if world.settings.limit_headers else ()
    if refusal:
        world.counts["rate_limited" if refusal.dimension else "slow_down"] += 1
        style = world.settings.refusals
        if version is None:
            reply = refusal_reply(refusal, model=call.model.name, settings=pool.settings, style=style)
        else:
            reply = azure.refused(refusal, version=version, style=style)
        return attrs.evolve(reply, headers=(*reply.headers, *extra))
    world.called(prompt)
    try:
        reply = await _work(world, call, name, fault, rng, gone)
    finally:
        pool.leave()
    return attrs.evolve(reply, headers=(*reply.headers, *extra)) if extra else reply


def _fault(name: str | None, version: str | None) -> Fault:
    if name is None:
        return _GOOD
    fault = FAULTS[name]
    return attrs.evolve(fault, reply=azure.ERRORS[name]) if version is not None and name in azure.ERRORS else fault


async def _work(world: World, call: Call, name: str | None, fault: Fault, rng: random.Random, gone: Callable[[], Awaitable[None]]) -> Reply:
    outcome = name or "ok"
    if fault.stage is Stage.NEVER:
        world.counts[outcome] += 1
        await gone()
        return Reply(status=500, headers=(), chunks=(), delivery=Delivery.RESET)
    seconds = latency_s(world.settings, call.model.name, call.quality, rng)
    if seconds:
        await trio.sleep(seconds)
    if fault.reply:
        world.counts[outcome] += 1
        return fault.reply()
    made = await _pictures(world.settings, attrs.evolve(call.request, size=call.size, quality=call.quality), fault)
    world.counts[outcome] += 1
    if fault.paid:
        world.bill[call.request.prompt] += 1
    return fault.spoil(picture_reply(call, made))


async def _pictures(settings: SimulatorSettings, request: Request, fault: Fault) -> list[tuple[bytes, ...]]:
    asked = fault.ask(request)
    at_least = settings.picture_bytes or 0
    if settings.pictures == "template":
        return pictures.template_base64(asked, at_least)
    return await trio.to_thread.run_sync(pictures.drawn_base64, asked, at_least, limiter=_drawers())


def _drawers() -> trio.CapacityLimiter:
    # Runs in different threads must not share one. Drawing holds the interpreter most of the time: more threads would not draw faster.
    try:
        return _DRAWERS.get()
    except LookupError:
        _DRAWERS.set(limiter := trio.CapacityLimiter(2))
        return limiter
