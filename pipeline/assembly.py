"""The composition root: settings become a running line; the only place that knows every stage."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import trio

from headrace.admission import ledger
from headrace.admission.gate import Gate
from headrace.api import Api
from headrace.budget import Budget
from headrace.caching import open_cache
from headrace.disk import Disk
from headrace.endpoints import endpoints_of, owners_of
from headrace.errors import OutputError, UsageError
from headrace.files import private_folder, refuse_foreign
from headrace.flow import flow
from headrace.items import iterate
from headrace.journal.journal import open_journal
from headrace.journal.line import journal_line
from headrace.learnt import Learnt, learnt_file
from headrace.observe.binding import Pulled, idle, watch
from headrace.offload import Threads
from headrace.outcome import Results
from headrace.owners import room, simulated_app
from headrace.prompts import PromptReader
from headrace.provider.memory import ByteBudget
from headrace.rungs import AlternativeApi, CachedSimilar, ReducedQuality, Rung
from headrace.stages.admission import Admission
from headrace.stages.dedupe import Dedupe
from headrace.stages.estimate import Estimate
from headrace.stages.fallback import Fallback
from headrace.stages.fetch import Fetch
from headrace.stages.intake import Intake
from headrace.stages.order import Order
from headrace.stages.recall import Recall
from headrace.stages.semantic import Semantic
from headrace.stages.settle import Settle
from headrace.stages.sink import Sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from headrace.admission.books import PoolStatistics
    from headrace.budget import Purse
    from headrace.cache.encoder import Encoder
    from headrace.cache.in_flight import Leads
    from headrace.caching import Cache
    from headrace.endpoints import Endpoint
    from headrace.flow import Flow, Running
    from headrace.journal.journal import Journal
    from headrace.journal.line import JournalLine
    from headrace.journal.outputs import OutputFile
    from headrace.offload import Offload
    from headrace.records import Problem, Prompt, Result
    from headrace.settings import Settings

BODIES = 256 * 2**20
"""Bytes of answers held at once."""
DISK_THREADS = 4


@attrs.define(eq=False, kw_only=True)
class Race:
    """APIs with their limits, the cache and the budget: what lines share that run beside each other or in turn."""

    settings: Settings
    url: str
    """Of the primary API: answers of different ones are kept apart."""
    primary: Api
    alternative: Api | None
    cache: Cache | None
    journal: Journal | None
    disk: Disk
    refuse_retired: bool
    max_in_flight: int
    budget: Budget
    stopped: Problem | None = None
    """Why the run had to end early, once it had to."""
    _lines: dict[Running[Result], Pulled] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.primary.gate.idle = self._idle
        if self.alternative is not None:
            # Whether there is something for it to do is not for its pools to wish for.
            self.alternative.gate.idle = lambda: ledger.NOTHING

    @asynccontextmanager
    async def results(
        self,
        items: AsyncIterable[object] | Iterable[object],
        *,
        format: str = "auto",  # noqa: A002 - the contract's name
        write: Callable[[Sequence[Result]], Awaitable[None]] | None = None,
        output: OutputFile | None = None,
    ) -> AsyncIterator[Results]:
        """Run one line over ``items``: texts, mappings of the input contract, or :class:`headrace.lines.Line`.

        ``write`` gets the results before the caller does; those whose line ``output`` has already are marked as written.

        Raises:
            UsageError: ``items`` is one prompt in place of many.
            StoppedError: when the results end because no key can work any more or the budget is spent.
        """
        if isinstance(items, str | bytes | Mapping):
            raise UsageError("this is one prompt; give an iterable of prompts, such as a list of one")
        async with AsyncExitStack() as stack:
            given = items if isinstance(items, AsyncIterable) else await stack.enter_async_context(aclosing(iterate(items)))
            slots = trio.Semaphore(self.max_in_flight, max_value=self.max_in_flight)
            pulled = Pulled(given, slots)
            intake, sink = Intake(pulled, PromptReader(self.settings.request, format), slots), Sink(slots, write)
            leads = None if self.cache is None else stack.enter_context(self.cache.in_flight.line())
            purse = stack.enter_context(self.budget.line())
            journal = None
            if self.journal is not None:
                number = None if output is None else output.number
                journal = await stack.enter_async_context(journal_line(self.journal, self.url, number))
            running = await stack.enter_async_context(self._line(intake, leads, purse, journal).then(sink).open())
            self._lines[running] = pulled
            stack.callback(self._lines.pop, running)
            results = Results(running, intake, sink, lambda: self.stopped)
            yield results
            if results.complete and self.journal is not None:
                self.journal.complete()

    def _line(self, intake: Intake, leads: Leads | None, purse: Purse, journal: JournalLine | None) -> Flow[Result]:
        prompts: Flow[Prompt | Result] = flow(intake)
        if journal is not None:
            prompts = prompts.then(Recall(journal))
        answers = None
        if self.cache is not None and leads is not None:
            answers = self.cache.answers
            prompts = prompts.then(Dedupe(answers, leads, self.url, self.settings.cache.namespace))
            if self.cache.semantic:
                prompts = prompts.then(Semantic(answers, leads, self.cache.meaning))
        settled = (
            prompts.then(Estimate(estimator=self.settings.provider.estimator, refuse_retired=self.refuse_retired))
            .then(Admission(self.primary, purse))
            .then(Fetch(self.primary, purse))
            .then(Fallback(self._ladder(purse)))
            .then(Settle(answers, leads, purse, self._stop, journal))
        )
        return settled.then(Order()) if self.settings.run.ordered else settled

    def statistics(self) -> tuple[PoolStatistics, ...]:
        """The books of every pool, the alternative's last."""
        other = () if self.alternative is None else self.alternative.gate.statistics()
        return (*self.primary.gate.statistics(), *other)

    def _idle(self) -> str:
        """What keeps requests from coming where nobody waits for a limit."""
        going = [pulled for running, pulled in self._lines.items() if not (pulled.ended or running.drained)]
        return idle(going, self._calls, self.max_in_flight)

    def _calls(self) -> int:
        apis = [self.primary] if self.alternative is None else [self.primary, self.alternative]
        return sum(pool.calls.out for api in apis for pool in api.gate.pools)

    def _stop(self, problem: Problem) -> None:
        if self.stopped is None:
            self.stopped = problem
        for line in self._lines:
            line.drain()

    def _ladder(self, purse: Purse) -> list[Rung]:
        estimator = self.settings.provider.estimator
        rungs: list[Rung] = []
        for name in self.settings.fallback.ladder:
            if name == "reduced_quality":
                rungs.append(ReducedQuality(self.primary, estimator, purse))
            elif name == "cached_similar":
                if self.cache is not None and self.cache.meaning is not None:
                    rungs.append(CachedSimilar(self.cache.meaning, self.cache.answers, self.settings.cache.similar_threshold))
            elif self.alternative is not None and self.settings.fallback.alternative is not None:
                rungs.append(AlternativeApi(self.alternative, self.settings.fallback.alternative, estimator, purse))
        return rungs


@asynccontextmanager
async def open_race(
    settings: Settings,
    *,
    environ: Mapping[str, str] = os.environ,
    offload: Offload | None = None,
    app: Any = None,
    encoder: Encoder | None = None,
    random: Random | None = None,
    fresh: bool = False,
) -> AsyncIterator[Race]:
    """Open what the lines of one run share.

    Args:
        settings: all of them.
        environ: where keys are looked up.
        offload: where blocking work goes; threads by default.
        app: an ASGI application to call instead of the network; the embedded simulator where settings ask for it.
        encoder: what the cache compares prompts with; by default what the settings name.
        random: what spreads retries; a seeded one makes a simulation repeatable.
        fresh: forget what the journal of the output folder has.

    Raises:
        UsageError: a key, a folder, a model or a limit cannot be used, or another process works in the output folder.
    """
    root = _folder(Path(settings.run.out_dir), journal=settings.run.journal)
    endpoint, other = endpoints_of(settings, environ)
    if app is None and settings.run.simulate:
        app = simulated_app(owners_of(endpoint, other))
    async with AsyncExitStack() as stack:
        disk = Disk(offload or Threads(DISK_THREADS))
        journal = None
        if settings.run.journal:
            hold = settings.run.in_doubt == "hold"
            journal = stack.enter_context(open_journal(root, disk, fresh=fresh, hold=hold, simulated=settings.run.simulate))
        cache = open_cache(settings, root, offload, encoder, stack, disk)
        endpoint, other = await endpoint.with_admin_limits(app), None if other is None else await other.with_admin_limits(app)
        learnt = Learnt(learnt_file(settings, app), offload or Threads(1))
        stack.callback(learnt.close)
        services = await stack.enter_async_context(trio.open_nursery())
        stack.callback(services.cancel_scope.cancel)
        memory = ByteBudget(BODIES)
        jitter = random or Random()  # noqa: S311 - no secret

        def api(endpoint: Endpoint) -> Api:
            pools, clients = endpoint.pools(), endpoint.clients(app)
            gate = Gate(pools, settings.run.max_wait_s)
            learnt.recall(endpoint.url, pools)
            for client in clients.values():
                stack.push_async_callback(client.aclose)
            services.start_soon(gate.run)
            disk.guard(gate)
            return Api(gate=gate, clients=clients, root=root, memory=memory, disk=disk, journal=journal, random=jitter)

        if journal is not None:
            services.start_soon(journal.writer.run)
        if cache is not None:
            services.start_soon(cache.answers.run)
            if cache.meaning is not None:
                services.start_soon(cache.meaning.run)
        services.start_soon(learnt.run)
        race = Race(
            settings=settings,
            url=endpoint.url,
            primary=api(endpoint),
            alternative=None if other is None else api(other),
            cache=cache,
            journal=journal,
            disk=disk,
            refuse_retired=endpoint.vendors_own,
            max_in_flight=settings.run.max_in_flight or room([owner.limits for owner in owners_of(endpoint, other)]),
            budget=Budget(settings.run.max_cost_usd, 0.0 if journal is None else journal.spent_usd),
        )
        services.start_soon(watch, race.primary.gate.statistics, race.max_in_flight)
        yield race
        if journal is not None:
            # Here there is time to wait for room on a full disk; behind the end there is none.
            await journal.writer.durable()


def _folder(path: Path, *, journal: bool) -> Path:
    try:
        private_folder(path)
        if journal:
            refuse_foreign(path)
    except (OSError, ValueError) as error:
        # ValueError: a name that no file can have.
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"the output folder {path} cannot be made: {why}") from None
    return path
