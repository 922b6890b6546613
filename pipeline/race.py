"""What the lines of one run share, and how a line is put together; the only place that knows every stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.admission import ledger
from headrace.errors import UsageError
from headrace.flow import flow
from headrace.items import iterate
from headrace.journal.line import journal_line
from headrace.observe.counters import Counters
from headrace.observe.pulled import Pulled, idle
from headrace.observe.watcher import Snapshot
from headrace.outcome import Results
from headrace.prompts import PromptReader
from headrace.rungs import AlternativeApi, CachedSimilar, ReducedQuality, Rung
from headrace.stages.admission import Admission
from headrace.stages.claim import Claim
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
    from headrace.api import Api
    from headrace.budget import Budget, Purse
    from headrace.cache.in_flight import Leads
    from headrace.caching import Cache
    from headrace.disk import Disk
    from headrace.flow import Flow, Running
    from headrace.journal.journal import Journal
    from headrace.journal.line import JournalLine
    from headrace.journal.outputs import OutputFile
    from headrace.observe.watcher import Watchers
    from headrace.records import Problem, Prompt, Result
    from headrace.settings import Settings
    from headrace.shared_cache.cache import SharedCache, SharedLine


@attrs.define(eq=False, kw_only=True)
class Race:
    """APIs with their limits, the cache and the budget: what lines share that run beside each other or in turn."""

    settings: Settings
    url: str
    """Of the primary API: answers of different ones are kept apart."""
    primary: Api
    alternative: Api | None
    cache: Cache | None
    shared_cache: SharedCache | None
    journal: Journal | None
    disk: Disk
    refuse_retired: bool
    max_in_flight: int
    budget: Budget
    watchers: Watchers
    """Told of every call and every result."""
    began: Callable[[Prompt | Result], None] | None = None
    """Told of every record that is read, by whoever measures the whole way of a prompt."""
    alerts: Callable[[], tuple[str, ...]] = tuple
    """What is wrong at the moment, in a few words each."""
    give_up_telling: Callable[[], None] = lambda: None
    """Do not let the end wait for those who are told of alerts."""
    metrics_url: str | None = None
    """Where Prometheus finds the metrics, if anywhere."""
    counters: Counters = attrs.field(factory=Counters)
    """Sums over the results of all lines."""
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
            intake, sink = Intake(pulled, PromptReader(self.settings.request, format), slots, self.began), Sink(slots, write)
            leads = None if self.cache is None else stack.enter_context(self.cache.in_flight.line())
            shared = None if self.shared_cache is None else await stack.enter_async_context(self.shared_cache.line())
            purse = stack.enter_context(self.budget.line())
            journal = None
            if self.journal is not None:
                number = None if output is None else output.number
                journal = await stack.enter_async_context(journal_line(self.journal, self.url, number))
            running = await stack.enter_async_context(self._line(intake, leads, shared, purse, journal).then(sink).open())
            self._lines[running] = pulled
            stack.callback(self._lines.pop, running)
            results = Results(running, intake, sink, lambda: self.stopped, self._ended)
            yield results
            if results.complete and self.journal is not None:
                self.journal.complete()

    def _line(
        self, intake: Intake, leads: Leads | None, shared: SharedLine | None, purse: Purse, journal: JournalLine | None
    ) -> Flow[Result]:
        prompts: Flow[Prompt | Result] = flow(intake)
        if journal is not None:
            prompts = prompts.then(Recall(journal))
        answers = None
        if self.cache is not None and leads is not None:
            answers = self.cache.answers
            prompts = prompts.then(Dedupe(answers, leads, self.url, self.settings.cache.namespace))
            if self.cache.semantic:
                prompts = prompts.then(Semantic(answers, leads, self.cache.meaning))
            if shared is not None:
                prompts = prompts.then(Claim(shared, leads))
        settled = (
            prompts.then(Estimate(estimator=self.settings.provider.estimator, refuse_retired=self.refuse_retired))
            .then(Admission(self.primary, purse))
            .then(Fetch(self.primary, purse))
            .then(Fallback(self._ladder(purse)))
            .then(Settle(answers, leads, purse, self._stop, journal, shared))
        )
        return settled.then(Order()) if self.settings.run.ordered else settled

    def statistics(self) -> tuple[PoolStatistics, ...]:
        """The books of every pool, the alternative's last."""
        other = () if self.alternative is None else self.alternative.gate.statistics()
        return (*self.primary.gate.statistics(), *other)

    def snapshot(self) -> Snapshot:
        """How things stand now."""
        depths: Counter[str] = Counter()
        for running in self._lines:
            depths.update(running.depths())
        return Snapshot(
            pools=self.statistics(),
            depths=depths,
            in_flight=sum(self.max_in_flight - pulled.slots.value - pulled.pulling for pulled in self._lines.values()),
            max_in_flight=self.max_in_flight * max(1, len(self._lines)),
            spent_usd=self.budget.spent_usd,
            max_cost_usd=self.budget.most_usd,
        )

    def _ended(self, result: Result) -> None:
        self.counters.count(result)
        self.watchers.ended(result)

    def _idle(self) -> str:
        """What keeps requests from coming where nobody waits for a limit."""
        going = [pulled for running, pulled in self._lines.items() if not (pulled.ended or running.drained)]
        return idle(going, self._calls, self.max_in_flight)

    def _calls(self) -> int:
        apis = [self.primary] if self.alternative is None else [self.primary, self.alternative]
        # Who waits for another process waits for a call of that.
        elsewhere = 0 if self.shared_cache is None else len(self.shared_cache.claims.waiting)
        return sum(pool.calls.out for api in apis for pool in api.gate.pools) + elsewhere

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
