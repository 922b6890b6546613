"""Whoever owns a limit, and the keys that draw on it. Pure: decides, takes ``now``, never waits.

A pool is an organisation or a project: keys of one organisation share its limits, so more keys are not more pictures. Images, tokens and
requests a minute and the calls at once are taken together or not at all.

One file, though it is a long one: what a pool is asked and told is all here, and each idea behind it has a file of its own.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from operator import itemgetter
from typing import TYPE_CHECKING

import attrs

from headrace.admission.booking import Booking, Cost
from headrace.admission.books import Known, PoolStatistics
from headrace.admission.breaker import Breaker
from headrace.admission.bucket import MINUTE_S
from headrace.admission.calls import Calls
from headrace.admission.ledger import Ledger
from headrace.admission.memory import PoolMemory
from headrace.admission.meters import Meters
from headrace.admission.refusals import Refusals
from headrace.admission.retry import Action, RetryBudget, action
from headrace.admission.tally import Tally
from headrace.records import Kind
from headrace.told import CALLS, NOTHING, TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headrace.admission.key import Key
    from headrace.admission.lesson import Lesson
    from headrace.admission.shared import Turnstile
    from headrace.models import Limits
    from headrace.records import Problem, Usage
    from headrace.told import Refusal, Told


class Pool:
    """The limits of one owner, and its keys.

    Args:
        name: what it is called in outputs.
        limits: as the settings have them.
        keys: who draws on them.
        models: patterns (``gpt-image-2.5-*``) of the models that it is for; none is all.
        exceed: whether the limits are where learning starts, and not what is never exceeded.
        sources: where each limit came from, by resource.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        keys: Sequence[Key],
        *,
        models: Sequence[str] = (),
        exceed: bool = False,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.limits = limits
        self.keys = tuple(keys)
        self.models = tuple(models)
        self.benched: str | None = None
        self.denied: dict[str, Kind] = {}
        """What the API said for good of keys, by their names, and of the whole pool (``""``): it is so for every process."""
        self.retries = RetryBudget()
        self.ledger = Ledger()
        self.owners: set[str] = set()
        """Whose limits they are, by the API's own word: an organisation's project, and whoever a refusal named."""
        self.merged_into: Pool | None = None
        self.turnstile: Turnstile | None = None
        """What a call has to pass besides, where the limits are shared with other processes."""
        self._sources = dict(sources or {})
        self.meters = Meters(limits, exceed=exceed, sources=self._sources)
        self.calls = Calls(limits.max_concurrency, slow_start=self.meters.nothing_known)
        self._breaker = Breaker()
        self._server_said = ""
        self._refusals = Refusals()
        self._serves: dict[str, bool] = {}
        self._tally = Tally()

    @property
    def alive(self) -> bool:
        """Whether any call can ever go out again."""
        return self.benched is None and any(key.benched is None for key in self.keys)

    @property
    def sent(self) -> int:
        """Calls so far."""
        return self._tally.calls

    def reasons(self) -> Iterator[str]:
        """Why it is not alive, in words."""
        if self.benched is not None:
            yield f"pool {self.name}: {self.benched}"
        else:
            for key in self.keys:
                yield f"key {key.name}: {key.benched}"

    def serves(self, model: str) -> bool:
        """Whether it is for that model."""
        if not self.models:
            return True
        if (known := self._serves.get(model)) is None:
            known = self._serves[model] = any(fnmatchcase(model, pattern) for pattern in self.models)
        return known

    def too_large(self, cost: Cost) -> str | None:
        """Which limit a request of that cost is larger than, with both numbers; None where it fits."""
        if (found := self.meters.too_large(cost)) is None:
            return None
        resource, limit = found
        return f"{getattr(cost, resource):,} {resource}, and pool {self.name} allows {limit:,.0f} a minute"

    def fits(self, cost: Cost) -> bool:
        """Whether it may ever let in a request of that cost."""
        return self.serves(cost.model) and self.meters.too_large(cost) is None

    @property
    def has_room(self) -> bool:
        """Whether a call could start without another one coming back first."""
        return self.calls.free and not self._breaker.probing and self.alive and (self.turnstile is None or self.turnstile.free)

    @property
    def closed_until(self) -> float:
        """Until when it lets nothing in, whatever the cost: a pause, or a server that fails."""
        return max(self._breaker.open_until, self.paused_until)

    @property
    def paused_until(self) -> float:
        """Until when refusals keep it from letting anything in."""
        return self._refusals.paused_until

    def pause(self, until: float, why: str) -> None:
        """Let nothing in before then: another process that shares its limits was asked to wait."""
        self._refusals.pause(until, why)

    @property
    def failing(self) -> bool:
        """Whether it is held back because its server fails."""
        return self._breaker.is_open

    def closed(self, now: float) -> str:
        """What :attr:`closed_until` is owed to, in words."""
        wait = f"for {self.closed_until - now:,.0f} s more"
        if self._breaker.open_until > self._refusals.paused_until:
            return f"pool {self.name} is held back {wait}, its server fails: {self._server_said}"
        return f"pool {self.name} is paused {wait}: {self._refusals.said}"

    def obstacle(self, cost: Cost, now: float) -> str:
        """What keeps a request of that cost waiting longest, in words."""
        waits = [(self.closed_until, self.closed(now))]
        for resource, meter in self.meters.by_name.items():
            at = meter.bucket.earliest(wanted := getattr(cost, resource), now)
            fits = f"{wanted:,} more fit in {at - now:,.0f} s"
            if meter.limit is not None:
                waits.append((at, f"pool {self.name} allows {meter.limit:,.0f} {resource} a minute, and {fits}"))
        return max(waits, key=itemgetter(0))[1]

    def latest(self, now: float) -> float:
        """When a request may start at the latest if it is the next, of whatever cost that fits."""
        return max(self.closed_until, now, self.meters.latest(now))

    def ready_at(self, now: float) -> float:
        """Before when no request can start, whatever its cost; cheap to ask, and :meth:`earliest` may say later."""
        return max(self.closed_until, self.meters.ready_at(now))

    def earliest(self, cost: Cost, now: float) -> float:
        """When a request of that cost may start, in a pool that has room and whose limits are not below the cost."""
        return max(self.closed_until, self.meters.earliest(cost, now))

    def leaves_room(self, cost: Cost, behind: Cost, behind_at: float, now: float) -> bool:
        """Whether a request of that cost, started now, lets the one that waits start as early as it would without it."""
        return self.meters.leave_room(cost, behind, behind_at, now)

    def take(self, cost: Cost, now: float) -> Booking:
        """Book a request that starts now, with the key that is best for it."""
        usable = [key for key in self.keys if key.benched is None]
        key = usable[0] if len(usable) == 1 else max(usable, key=lambda key: key.merit(now) / (1 + key.in_flight))
        key.in_flight += 1
        self.calls.sent(now)
        if self.turnstile is not None:
            self.turnstile.comes()
        self._tally.taken(cost, now)
        self.retries.call()
        return Booking(key, cost, self.meters.take(cost, now), now, self._breaker.started())

    def score(self, now: float) -> float:
        """Which of several pools that can start a request now is best: (1 - usage) x weight x health."""
        merit = max((key.merit(now) for key in self.keys if key.benched is None), default=0.0)
        return (1.0 - min(self.meters.usage(now), 1.0)) * merit

    def succeeded(self, booking: Booking, usage: Usage | None, now: float, told: Told = NOTHING) -> None:
        """A picture came: true the tokens up."""
        self._ended(booking, now, well=True)
        booking.key.ended(failed=False, now=now)
        self._breaker.ended(failed=False, probe=booking.probe, now=now)
        self._refusals.let_in()
        self._hear(booking, told, now)
        if usage is not None:
            billed = usage.input_tokens + usage.output_tokens
            self._tally.admitted[TOKENS] += billed - booking.cost.tokens
            self.meters.correct(booking, TOKENS, billed)

    def failed(self, booking: Booking, problem: Problem, now: float, told: Told = NOTHING) -> None:
        """No picture came: the charge stays, because the vendor counts refused and failed calls too."""
        wanted = action(problem.kind)
        self._ended(booking, now, well=wanted is Action.GIVE_UP)
        self._hear(booking, told, now)
        if wanted is Action.RETRY:
            booking.key.ended(failed=True, now=now)
            self._breaker.ended(failed=True, probe=booking.probe, now=now)
            self._server_said = problem.message
            if self._breaker.hopeless:
                self.benched = f"the last {self._breaker.failed_probes} probes failed: {problem.message}"
            if problem.billed:
                self._refusals.let_in()
            return
        self._breaker.abandoned(probe=booking.probe)
        if wanted is Action.MONEY:
            self.benched, self.denied[""] = problem.message, problem.kind
        elif wanted is Action.KEY:
            booking.key.benched, self.denied[booking.key.name] = problem.message, problem.kind
        elif wanted is Action.PACE:
            self._refuse(booking, problem, told.refusal, now)
        elif problem.kind is not Kind.INTERRUPTED:
            self._refusals.let_in()  # an answer about the request itself

    def released(self, booking: Booking) -> None:
        """The request never left: take its charges back."""
        self._back(booking, well=False)
        self._breaker.abandoned(probe=booking.probe)
        self._tally.released(booking)
        for resource in booking.charges:
            self.meters.correct(booking, resource, 0.0)

    def statistics(self, now: float) -> PoolStatistics:
        """The books as they are now."""
        tally = self._tally
        return PoolStatistics(
            name=self.name,
            limits=self.limits,
            keys=tuple(key.name for key in self.keys),
            models=self.models,
            admitted=dict(tally.admitted),
            in_flight=self.calls.out,
            busy_s=tally.busy_s,
            calls=tally.calls,
            refused=tally.refused,
            first_at=tally.first_at,
            last_at=tally.last_at,
            state=self.state(now),
            known=tuple(attrs.evolve(each, used=self._used(each.resource, now)) for each in self.known()),
            bound=self.ledger.seconds(now),
            refusals=tuple(tally.said),
            owners=tuple(sorted(self.owners)),
        )

    def _used(self, resource: str, now: float) -> float:
        return self.calls.out if resource == CALLS else self.meters.used(resource, now)

    def known(self) -> Iterator[Known]:
        """What is known of each limit."""
        yield from self.meters.known()
        if self.calls.learnt is not None:
            yield Known(resource=CALLS, limit=self.calls.learnt, source="refusals")
        elif self.limits.max_concurrency is not None:
            yield Known(resource=CALLS, limit=self.limits.max_concurrency, source=self._sources.get(CALLS, "settings"))

    def state(self, now: float) -> str:
        """``ready``, or what keeps it from working."""
        if not self.alive:
            return f"benched: {self.benched}" if self.benched is not None else "benched: " + "; ".join(self.reasons())
        if self._breaker.is_open:
            return "held back: its server fails"
        return self._refusals.state(now)

    def absorb(self, other: Pool, now: float) -> None:
        """Another pool turned out to be of the same organisation: its keys and what it has out are this pool's from now on."""
        self.keys = (*self.keys, *other.keys)
        self.meters.absorb(other.meters, now)
        self.calls.absorb(other.calls)
        self.owners |= other.owners
        self._tally.absorb(other._tally)
        self._refusals.paused_until = max(self._refusals.paused_until, other._refusals.paused_until)
        other.merged_into = self

    def bench(self, name: str, why: str) -> bool:
        """Another process was told that the key, or the whole pool (``""``), cannot work; returns whether that is news."""
        for each in (self,) if not name else (key for key in self.keys if key.name == name):
            if each.benched is None:
                each.benched = why
                return True
        return False

    def lessons(self) -> Iterator[Lesson]:
        """What is learnt of its limits, for other processes that have it."""
        yield from self.meters.lessons()
        if (lesson := self.calls.lesson) is not None:
            yield lesson

    def take_up(self, lesson: Lesson, now: float) -> bool:
        """Another process has learnt that; returns whether it is of limits that the settings here name as well, or else it is left."""
        if lesson.resource != CALLS:
            taken = self.meters.take_up(lesson, now)
            if taken:
                self.calls.paced()
            return taken
        if lesson.named != self.calls.named:
            return False
        self.calls.take_up(lesson, now)
        return True

    def memory(self, now: float) -> PoolMemory:
        """What another run can start with."""
        return PoolMemory(
            name=self.name,
            meters=self.meters.memory(now),
            calls=self.calls.learnt,
            owners=tuple(sorted(self.owners)),
            refusals=tuple(self._tally.said),
        )

    def recall(self, memory: PoolMemory, age_s: float, now: float) -> None:
        """Start with what a run knew that ended ``age_s`` ago."""
        self._tally.said.extend(memory.refusals)
        self.meters.recall(memory.meters, age_s, now)
        if age_s < MINUTE_S:
            # What two pools that were one have used counts for both; later their answers will say it again.
            self.owners |= set(memory.owners)
        if any(meter.limit is not None for meter in self.meters.by_name.values()):
            self.calls.paced()
        if memory.calls is not None:
            self.calls.put(memory.calls, now)

    def _refuse(self, booking: Booking, problem: Problem, refusal: Refusal | None, now: float) -> None:
        self._tally.refused += 1
        self._tally.said.append(problem.message)
        if problem.kind is Kind.SLOW_DOWN or (refusal is not None and refusal.resource == CALLS):
            self.calls.refused(booking.at, now)
            if self.calls.out and problem.retry_after_s is None:
                return  # the next one starts when one of those that are out comes back
        elif problem.kind is Kind.RATE_LIMITED:
            if self.meters.refused(refusal, booking, now, problem.retry_after_s):
                self.calls.paced()
            else:
                self.calls.refused(booking.at, now)  # nothing is known of any rate: it may as well have been too many at once
        self._refusals.refused(problem.message, problem.retry_after_s, now)
        self.benched = self.benched or self._refusals.hopeless(now)

    def _hear(self, booking: Booking, told: Told, now: float) -> None:
        if told.organisation is not None and told.project is not None:
            self.owners.add(f"{told.organisation}/{told.project}")
        if told.refusal is not None and told.refusal.owner is not None:
            self.owners.add(told.refusal.owner)
        for level in told.levels:
            self.meters.heard(level, booking, now)
            self.calls.paced()

    def _ended(self, booking: Booking, now: float, *, well: bool) -> None:
        self._back(booking, well=well)
        self._tally.ended(booking, now)

    def _back(self, booking: Booking, *, well: bool) -> None:
        booking.key.in_flight -= 1
        self.calls.back(well=well)
