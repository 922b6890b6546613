"""What is in a file of prompts: how many of each kind, what of them the cache would give, and which lines are no prompts.

Memory does not grow with the file: kinds are few, keys are in a temporary file, and of bad lines the first are kept. Only of prompts that
an earlier run has finished a number each is remembered.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import repeat
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.admission.booking import Cost
from headrace.admission.verdict import verdict
from headrace.forecast.reading import numbered
from headrace.forecast.work import Kind, Work
from headrace.prompts import PromptReader
from headrace.records import Failure, Result
from headrace.stages.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.cache.audit import Audit, Ruling
    from headrace.forecast.earlier import Earlier
    from headrace.forecast.pools import Api
    from headrace.records import Estimated, Prompt
    from headrace.settings import RequestSettings, Settings
    from headrace.sources import Source

BATCH = 256
KEPT = 1_000
"""Bad lines that are kept; the others are only counted."""
MOST_KINDS = 1_000
"""More than any job has; what comes later is counted as if it asked for what the settings say, and is no longer priced exactly."""
_MARKED = ("model", "size", "quality")
"""What a profile or another model changes, where a line leaves it out."""


class _Unsaid(str):
    """What stands in for what a line leaves out: it reads the same, and can be told from the same words in a line."""

    __slots__ = ()


@attrs.define
class _Free:
    """Prompts of one tier that would not be paid for."""

    in_file: int = 0
    on_disk: int = 0


@attrs.frozen
class Survey:
    """What was read."""

    paid: dict[Kind, Work] = attrs.field(factory=dict)
    stored: dict[Kind, Work] = attrs.field(factory=dict)
    """What an earlier run's answers give."""
    repeated: dict[Kind, Work] = attrs.field(factory=dict)
    """What prompts before them in the file give."""
    finished: dict[Kind, Work] = attrs.field(factory=dict)
    """What an earlier run in the folder has done: nobody pays for that again, cache or no cache."""
    free: defaultdict[str, _Free] = attrs.field(factory=lambda: defaultdict(_Free))
    """By tier of the cache."""
    bad: list[tuple[int, str]] = attrs.field(factory=list)
    """Line numbers and reasons of the first."""
    count: Counter[str] = attrs.field(factory=Counter)
    """``bad`` lines, prompts ``not_compared`` by meaning, and prompts of ``other_kinds`` than are told apart."""

    @property
    def prompts(self) -> int:
        """All that can be run."""
        return sum(work.requests for work in (*self.all(), *self.finished.values()))

    def all(self) -> Iterator[Work]:
        """What is left to do, as if there were no cache."""
        for works in (self.paid, self.stored, self.repeated):
            yield from works.values()

    def refuse(self, number: int, reason: str) -> None:
        """A line that no run can do."""
        self.count["bad"] += 1
        if len(self.bad) < KEPT:
            self.bad.append((number, reason.removeprefix(f"line {number}: ")))

    def take(self, kind: Kind, estimated: Estimated, ruling: Ruling | None) -> None:
        """One prompt, and what the cache makes of it; no ruling where there is no cache."""
        works = self.paid
        if ruling is not None and ruling.tier is not None:
            works = self.stored if ruling.stored else self.repeated
            free = self.free[ruling.tier]
            free.on_disk += ruling.stored
            free.in_file += not ruling.stored
        elif ruling is not None and not ruling.compared:
            self.count["not_compared"] += 1
        _add(works, kind, estimated)

    def finish(self, kind: Kind, estimated: Estimated) -> None:
        """One prompt that an earlier run has done."""
        _add(self.finished, kind, estimated)


class Surveyor:
    """Reads prompts as a run would.

    Args:
        settings: of the run.
        source: where they are.
        api: whose limits and models the prompts are for.
        audit: rules over them; None without a cache.
        earlier: what is done already; None where nothing is.
    """

    def __init__(self, settings: Settings, source: Source, api: Api, audit: Audit | None, earlier: Earlier | None = None) -> None:
        request = settings.request
        self._common = Kind(request.model, request.size, request.quality, request.n)
        self._source = source
        self._reader = PromptReader(_marked(request), source.format)
        self._check = Estimate(estimator=settings.provider.estimator, refuse_retired=api.endpoint.vendors_own)
        self._pools = api.pools
        self._audit = audit
        self._earlier = earlier
        self._kinds = {self._common}
        self.found = Survey()

    async def read(self) -> Survey:
        """All of them.

        Raises:
            UsageError: it cannot be read.
            OutputError: there is no room for the temporary file of the keys.
            sqlite3.Error: the journal is damaged.
        """
        batch: list[Estimated] = []
        async for number, item in numbered(self._reader, self._source):
            if isinstance(item, Result):
                self.found.refuse(number, item.error.message if item.error is not None else "")
            elif isinstance(checked := self._checked(item), str):
                self.found.refuse(number, checked)
            elif self._earlier is not None and self._earlier.finished(item):
                self.found.finish(self._kind(item), checked)
            else:
                batch.append(checked)
            if len(batch) == BATCH:
                self._book(batch)
                batch.clear()
        self._book(batch)
        return self.found

    def _checked(self, prompt: Prompt) -> Estimated | str:
        """What it will use, or why no run can do it."""
        estimated = self._check.estimated(prompt)
        if isinstance(estimated, Failure):
            return estimated.problem.message
        cost = Cost(images=prompt.request.n, tokens=estimated.tokens, model=prompt.request.model)
        problem = verdict(self._pools, cost, trio.current_time(), math.inf)
        return estimated if problem is None else problem.message

    def _book(self, batch: list[Estimated]) -> None:
        rulings = repeat(None) if self._audit is None else self._audit.rule([estimated.prompt for estimated in batch])
        for estimated, ruling in zip(batch, rulings, strict=False):
            self.found.take(self._kind(estimated.prompt), estimated, ruling)

    def _kind(self, prompt: Prompt) -> Kind:
        asked = prompt.request
        said = frozenset(name for name in _MARKED if not isinstance(getattr(asked, name), _Unsaid))
        kind = Kind(str(asked.model), str(asked.size), str(asked.quality), asked.n, said)
        if kind in self._kinds or len(self._kinds) < MOST_KINDS:
            self._kinds.add(kind)
            return kind
        self.found.count["other_kinds"] += 1
        return self._common


def _add(works: dict[Kind, Work], kind: Kind, estimated: Estimated) -> None:
    works[kind] = works.get(kind, Work(kind=kind)).plus(estimated.input_tokens, estimated.image_tokens)


def _marked(request: RequestSettings) -> RequestSettings:
    return attrs.evolve(request, model=_Unsaid(request.model), size=_Unsaid(request.size), quality=_Unsaid(request.quality))
