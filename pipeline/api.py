"""One image API: its pools, its keys, and the loop that gets a request answered by it.

A request waits for a permit, makes one call, and depending on what comes back is done, takes admission again, or is given up. Retries
loop here, in the request's own task: a cycle of bounded channels would deadlock. No permit is held while it waits.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.admission.booking import Cost
from headrace.admission.permit import Admitted
from headrace.admission.retry import Action, RetryPolicy, action
from headrace.chaos import point
from headrace.files import place
from headrace.journal.journal import Wait
from headrace.log import heard, ids, log
from headrace.models import catalogue
from headrace.provider.body import Saved, save
from headrace.provider.failures import problem_of
from headrace.provider.told import told_of
from headrace.records import Answer, Call, Failure, Kind, Problem, Strategy, Trail
from headrace.told import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from random import Random

    from headrace.admission.gate import Gate
    from headrace.admission.permit import Permit
    from headrace.budget import Purse
    from headrace.disk import Disk
    from headrace.journal.journal import Intent, Journal
    from headrace.provider.client import Client
    from headrace.provider.failures import Reply
    from headrace.provider.memory import ByteBudget
    from headrace.records import Estimated, Request

OK = 200
SMALL_BODY = 2**17
"""Bytes of an answer that is decoded and filed where it is: that takes less than a millisecond, and a thread that fights for the
interpreter with the event loop costs four times as much (``benchmarks/throughput.py``)."""
LATE_S = 4.0
LATE_TIMES = 3
"""A call that waited longer for its intent to be on the disk takes admission again, so many times: a disk may always be that slow."""


@attrs.frozen(kw_only=True)
class Api:
    """Admission and calls of one API."""

    gate: Gate
    clients: Mapping[str, Client]
    """By the name of their key."""
    root: Path
    """Where picture files go."""
    memory: ByteBudget
    disk: Disk
    random: Random
    journal: Journal | None = None
    """Where a call is written down before it is made."""
    called: Callable[[Call], None] | None = None
    """Told of every call that is over."""
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)

    async def admit(self, estimated: Estimated, trail: Trail | None = None) -> Admitted | Failure:
        """Wait for leave to send a request for the first time."""
        trail = trail or Trail()
        started = trio.current_time()
        permit = await self._acquire(estimated)
        waited = trio.current_time() - started
        if isinstance(permit, Problem):
            trail = attrs.evolve(trail, waited_s=trail.waited_s + waited)
            return Failure(prompt=estimated.prompt, estimated=estimated, problem=permit, trail=trail)
        return Admitted(estimated=estimated, permit=permit, waited_s=trail.waited_s + waited)

    async def answer(self, admitted: Admitted, strategy: Strategy, purse: Purse, before: Trail | None = None) -> Answer | Failure:
        """Call until there are pictures or the request is given up; every permit is ended on the way.

        ``purse`` is asked before an attempt that follows one that was billed, or may have been; ``before`` is what the prompt went
        through in requests that were given up already.
        """
        before = before or Trail()
        estimated, permit, waited_s = admitted.estimated, admitted.permit, admitted.waited_s
        attempts, spoilt_usd, doubtful_usd = before.attempts, before.spoilt_usd, before.doubtful_usd
        late = 0
        while True:
            started = trio.current_time()
            outcome = await self._attempt(permit, estimated, strategy, late_s=LATE_S if late < LATE_TIMES else math.inf)
            late += isinstance(outcome, Problem) and outcome.kind is Kind.HELD_UP
            ended = trio.current_time()
            counted = not isinstance(outcome, Problem) or action(outcome.kind) in (Action.RETRY, Action.GIVE_UP)
            attempts += counted
            if isinstance(outcome, Problem):
                spoilt_usd += (estimated.cost_usd or 0.0) * outcome.billed
                doubtful_usd += (estimated.cost_usd or 0.0) * (outcome.uncertain and not outcome.billed)
            trail = Trail(permit.key, attempts, waited_s, ended - started, spoilt_usd, doubtful_usd)
            if not isinstance(outcome, Problem):
                return _answer(estimated, strategy, trail, outcome)
            delay = self._delay(outcome, attempts - before.attempts, permit)
            if delay is not None and (outcome.billed or outcome.uncertain):
                short = purse.reserve(estimated.prompt.seq, trail.wasted_usd + (estimated.cost_usd or 0.0))
                outcome = outcome if short is None else Problem(kind=Kind.OVER_BUDGET, message=short, retryable=True)
            if delay is None or outcome.kind is Kind.OVER_BUDGET:
                return Failure(prompt=estimated.prompt, estimated=estimated, problem=outcome, trail=trail)
            following = await self._again(estimated, delay, outcome)
            waited_s += trio.current_time() - ended
            if isinstance(following, Problem):
                trail = attrs.evolve(trail, waited_s=waited_s)
                return Failure(prompt=estimated.prompt, estimated=estimated, problem=following, trail=trail)
            permit = following

    async def _acquire(self, estimated: Estimated) -> Permit | Problem:
        if heard(logging.DEBUG):
            log.debug("waits", **ids(estimated.prompt), model=estimated.request.model)
        permit = await self.gate.acquire(_cost(estimated))
        if isinstance(permit, Problem):
            log.info("turned_away", **ids(estimated.prompt), kind=permit.kind.value)
        return permit

    async def _again(self, estimated: Estimated, delay_s: float, problem: Problem) -> Permit | Problem:
        if heard(logging.DEBUG):
            log.debug("retry", **ids(estimated.prompt), delay_s=round(delay_s, 3), because=problem.kind.value)
        await trio.sleep(delay_s)
        return await self._acquire(estimated)

    async def _attempt(self, permit: Permit, estimated: Estimated, strategy: Strategy, *, late_s: float) -> Saved | Problem:
        try:
            intent = await self._intent(permit, estimated, strategy, late_s)
        except BaseException:
            permit.released()
            raise
        if isinstance(intent, Problem):
            permit.released()
            return intent
        started = trio.current_time()
        request_id = None if intent is None else intent.request_id
        if heard(logging.DEBUG):
            waited = {"waited_s": round(permit.waited_s, 3), "waited_for": permit.waited_for}
            log.debug("call_sent", **ids(estimated.prompt), pool=permit.pool.name, key=permit.key, request_id=request_id, **waited)
        try:
            with self.memory.lease() as lease:
                outcome: Saved | Problem
                told = NOTHING
                reply = await self.clients[permit.key].post(estimated.request, lease, request_id)
                point("answered")
                if isinstance(reply, Problem):
                    outcome = reply
                else:
                    told = told_of(reply)
                    edit = bool(estimated.request.images)
                    outcome = await self._save(reply, estimated.request) if reply.status == OK else problem_of(reply, edit=edit)
        except BaseException:
            # The call may have been counted and paid: its charge stays, and in the journal it is in doubt.
            interrupted = Problem(kind=Kind.INTERRUPTED, message="cancelled during the call")
            permit.failed(interrupted)
            self._tell(permit, estimated, started, request_id, interrupted)
            raise
        self._tell(permit, estimated, started, request_id, outcome)
        if isinstance(outcome, Problem):
            permit.failed(outcome, told)
            if self.journal is not None and intent is not None:
                self.journal.failed(intent, outcome)
        else:
            permit.succeeded(outcome.usage, told)
        return outcome

    async def _intent(self, permit: Permit, estimated: Estimated, strategy: Strategy, late_s: float) -> Intent | Problem | None:
        item = estimated.prompt.item
        if self.journal is None or item is None:
            return None
        asked_at = trio.current_time()
        wait = Wait(permit.pool.name, permit.waited_s, permit.waited_for)
        intent = await self.journal.intend(item, permit.key, estimated.cost_usd, wait, strategy)
        if intent.again:
            log.warning("asked_again", **ids(estimated.prompt), calls=intent.again, because="a run that was killed may have paid for it")
        if trio.current_time() - asked_at <= late_s:
            return intent
        # The limit was booked for a moment that is long over: sent now, it would come on top of what is let in now.
        problem = Problem(kind=Kind.HELD_UP, message=f"the journal took more than {LATE_S:g} s")
        self.journal.failed(intent, problem)
        log.warning("held_up", **ids(estimated.prompt), because=problem.message)
        return problem

    def _tell(self, permit: Permit, estimated: Estimated, started: float, request_id: str | None, outcome: Saved | Problem) -> None:
        if self.called is not None:
            problem, usage = (outcome, None) if isinstance(outcome, Problem) else (None, outcome.usage)
            call = Call(
                prompt=estimated.prompt,
                request=estimated.request,
                pool=permit.pool.name,
                key=permit.key,
                waited_s=permit.waited_s,
                waited_for=permit.waited_for,
                started=started,
                ended=trio.current_time(),
                request_id=request_id,
                usage=usage,
                problem=problem,
            )
            self.called(call)

    async def _save(self, reply: Reply, request: Request) -> Saved | Problem:
        saved = await self.disk.write(save, reply, request, self.root, here=len(reply.body) <= SMALL_BODY)
        if self.journal is not None or isinstance(saved, Problem):
            return saved  # the journal places many at once
        place(saved.parts, durable=False)
        return attrs.evolve(saved, parts=())

    def _delay(self, problem: Problem, attempts: int, permit: Permit) -> float | None:
        wanted = action(problem.kind)
        if wanted is Action.GIVE_UP:
            return None
        if wanted is not Action.RETRY:
            return 0.0  # the gate knows when, and where
        delay = self.retry.delay(attempts, problem.retry_after_s, self.random)
        return None if delay is None else max(delay, permit.pool.retries.reserve(trio.current_time()))


def _cost(estimated: Estimated) -> Cost:
    return Cost(images=estimated.request.n, tokens=estimated.tokens, model=estimated.request.model)


def _answer(estimated: Estimated, strategy: Strategy, trail: Trail, saved: Saved) -> Answer:
    model, usage = catalogue().model(estimated.request.model), saved.usage
    cost = estimated.cost_usd if usage is None else model.cost_usd(usage.input_tokens, usage.output_tokens, saved.image_tokens)
    return Answer(
        prompt=estimated.prompt,
        request=estimated.request,
        strategy=strategy,
        pictures=saved.pictures,
        usage=usage,
        cost_usd=cost,
        trail=trail,
        parts=saved.parts,
    )
