"""One call from its arrival to its answer: key, parameters, faults, limits, latency, pictures, bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from headrace.simulator import pictures
from headrace.simulator.answers import picture_reply
from headrace.simulator.faults import FAULTS, Fault, Stage, pick
from headrace.simulator.latency import latency_s
from headrace.simulator.limits import limit_headers, refusal_reply
from headrace.simulator.replies import Delivery, Reply, error_reply
from headrace.simulator.validate import Call, parse
from headrace.tokens import prompt_tokens

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from headrace.records import Request
    from headrace.simulator.pool import Pool
    from headrace.simulator.settings import SimulatorSettings
    from headrace.simulator.world import World

# Drawing holds the interpreter most of the time: more threads would not draw faster.
_DRAWERS = trio.CapacityLimiter(2)
_GOOD = Fault(stage=Stage.PICTURES, paid=True)


def key_problem(key: str | None) -> Reply:
    """The 401 for a key that is let in nowhere; it never quotes the whole key."""
    if not key:
        return error_reply(401, "You didn't provide an API key.", code="invalid_api_key")
    # Of a short key the two ends would be most.
    shown = f"{key[:4]}{'*' * 8}{key[-4:]}" if len(key) >= 20 else "*" * 8  # noqa: PLR2004
    return error_reply(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")


async def generate(world: World, pool: Pool, raw: bytes, gone: Callable[[], Awaitable[None]]) -> Reply:
    """Answer one call of that pool; ``gone`` returns when the caller has hung up."""
    call = parse(raw)
    if isinstance(call, Reply):
        world.counts["bad_request"] += 1
        return call
    prompt = call.request.prompt
    rng = world.dice(prompt)
    name = pool.benched or pick(prompt, world.calls(prompt), world.settings.faults, rng)
    if name is not None and name not in FAULTS:
        world.counts["bad_request"] += 1
        return error_reply(400, f"There is no fault {name!r}.", code="invalid_value", param="prompt")
    fault = FAULTS[name] if name else _GOOD
    if fault.stage is Stage.BEFORE and fault.reply:
        world.called(prompt)
        world.counts[str(name)] += 1
        return fault.reply()
    now = trio.current_time()
    refusal = pool.admit(call.request.n, prompt_tokens(prompt) + call.output_tokens, now)
    extra = limit_headers(pool, now) if world.settings.limit_headers else ()
    if refusal:
        world.counts["rate_limited" if refusal.dimension else "slow_down"] += 1
        reply = refusal_reply(refusal, model=call.model.name, settings=pool.settings, style=world.settings.refusals)
        return attrs.evolve(reply, headers=(*reply.headers, *extra))
    world.called(prompt)
    try:
        reply = await _work(world, call, name, rng, gone)
    finally:
        pool.leave()
    return attrs.evolve(reply, headers=(*reply.headers, *extra)) if extra else reply


async def _work(world: World, call: Call, name: str | None, rng: random.Random, gone: Callable[[], Awaitable[None]]) -> Reply:
    fault = FAULTS[name] if name else _GOOD
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
    return fault.spoil(picture_reply(call, prompt_tokens(call.request.prompt), made))


async def _pictures(settings: SimulatorSettings, request: Request, fault: Fault) -> list[tuple[bytes, ...]]:
    asked = fault.ask(request)
    at_least = settings.picture_bytes or 0
    if settings.pictures == "template":
        return pictures.template_base64(asked, at_least)
    return await trio.to_thread.run_sync(pictures.drawn_base64, asked, at_least, limiter=_DRAWERS)
