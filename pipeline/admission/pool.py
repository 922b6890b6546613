"""Whoever owns a limit, and the keys that draw on it. Pure: decides, takes ``now``, never waits.

A pool is an organisation or a project: keys of one organisation share its limits, so more keys are not more pictures. Images, tokens and
requests a minute and the calls at once are taken together or not at all.
"""

from __future__ import annotations

import math
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING

import attrs

from headrace.admission.breaker import Breaker
from headrace.admission.bucket import Bucket, Charge
from headrace.admission.refusals import Refusals
from headrace.admission.retry import Action, RetryBudget, action
from headrace.records import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headrace.admission.key import Key
    from headrace.models import Limits
    from headrace.records import Problem, Usage

RESOURCES = ("images", "tokens", "requests")


@attrs.frozen
class Cost:
    """What one request takes of a pool."""

    images: int
    tokens: int
    requests: int = 1


@attrs.frozen
class Booking:
    """What one admitted request holds of its pool."""

    key: Key
    cost: Cost
    charges: Mapping[str, Charge]
    at: float
    """When it was admitted."""
    probe: bool
    """Whether it is the one call that an open breaker lets through."""


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """A pool's books, as of one moment."""

    name: str
    limits: Limits
    keys: tuple[str, ...]
    admitted: Mapping[str, float]
    """Images, tokens and requests that were charged."""
    in_flight: int
    busy_s: float
    """Seconds that calls took, added up over all that came back."""
    calls: int
    refused: int
    """Calls that the API refused for their pace (429)."""
    first_at: float | None
    """When the first and the last call were admitted, on the run's clock."""
    last_at: float | None
    state: str
    """``ready``, or what keeps it from working."""


class Pool:
    """The limits of one owner, and its keys."""

    def __init__(self, name: str, limits: Limits, keys: Sequence[Key]) -> None:
        self.name = name
        self.limits = limits
        self.keys = tuple(keys)
        self.benched: str | None = None
        self.retries = RetryBudget()
        self._buckets = {name: Bucket(limit) for name in RESOURCES if (limit := getattr(limits, f"{name}_per_minute")) is not None}
        self._breaker = Breaker()
        self._server_said = ""
        self._refusals = Refusals()
        self._bearable = math.inf
        """Calls at once, where no limit is named: halved by a refusal, one more for each round that goes well."""
        self._in_flight = 0
        self._busy_s = 0.0
        self._calls = 0
        self._refused = 0
        self._admitted: Counter[str] = Counter(dict.fromkeys(RESOURCES, 0))
        self._first_at: float | None = None
        self._last_at: float | None = None

    @property
    def alive(self) -> bool:
        """Whether any call can ever go out again."""
        return self.benched is None and any(key.benched is None for key in self.keys)

    def reasons(self) -> Iterator[str]:
        """Why it is not alive, in words."""
        if self.benched is not None:
            yield f"pool {self.name}: {self.benched}"
        else:
            for key in self.keys:
                yield f"key {key.name}: {key.benched}"

    def too_large(self, cost: Cost) -> str | None:
        """Which limit a request of that cost is larger than, with both numbers; None where it fits."""
        for resource, bucket in self._buckets.items():
            wanted = getattr(cost, resource)
            if wanted > bucket.limit:
                return f"{wanted:,} {resource}, and pool {self.name} allows {bucket.limit:,.0f} a minute"
        return None

    @property
    def has_room(self) -> bool:
        """Whether a call could start without another one coming back first."""
        most = self.limits.max_concurrency
        return self.alive and not self._breaker.probing and self._in_flight < min(self._bearable, most or math.inf)

    @property
    def closed_until(self) -> float:
        """Until when it lets nothing in, whatever the cost: a pause, or a server that fails."""
        return max(self._breaker.open_until, self._refusals.paused_until)

    def closed(self, now: float) -> str:
        """What :attr:`closed_until` is owed to, in words."""
        wait = f"for {self.closed_until - now:,.0f} s more"
        if self._breaker.open_until > self._refusals.paused_until:
            return f"pool {self.name} is held back {wait}, its server fails: {self._server_said}"
        return f"pool {self.name} is paused {wait}: {self._refusals.said}"

    def obstacle(self, cost: Cost, now: float) -> str:
        """What keeps a request of that cost waiting longest, in words."""
        waits = [(self.closed_until, self.closed(now))]
        for resource, bucket in self._buckets.items():
            at = bucket.earliest(wanted := getattr(cost, resource), now)
            fits = f"{wanted:,} more fit in {at - now:,.0f} s"
            waits.append((at, f"pool {self.name} allows {bucket.limit:,.0f} {resource} a minute, and {fits}"))
        return max(waits, key=itemgetter(0))[1]

    def latest(self, now: float) -> float:
        """When a request may start at the latest if it is the next, of whatever cost that fits."""
        return max(self.closed_until, now, *(bucket.latest(now) for bucket in self._buckets.values()))

    def earliest(self, cost: Cost, now: float) -> float:
        """When a request of that cost may start, in a pool that has room and whose limits are not below the cost."""
        return max(self.closed_until, now, *(bucket.earliest(getattr(cost, name), now) for name, bucket in self._buckets.items()))

    def take(self, cost: Cost, now: float) -> Booking:
        """Book a request that starts now, with the key that is best for it."""
        key = max((key for key in self.keys if key.benched is None), key=lambda key: key.merit(now) / (1 + key.in_flight))
        key.in_flight += 1
        self._in_flight += 1
        self._calls += 1
        self._admitted.update(attrs.asdict(cost))
        self._first_at = now if self._first_at is None else self._first_at
        self._last_at = now
        self.retries.call()
        charges = {name: bucket.take(getattr(cost, name), now) for name, bucket in self._buckets.items()}
        return Booking(key, cost, charges, now, self._breaker.started())

    def score(self, now: float) -> float:
        """Which of several pools that can start a request now is best: (1 - usage) x weight x health."""
        usage = max((bucket.usage(now) for bucket in self._buckets.values()), default=0.0)
        merit = max((key.merit(now) for key in self.keys if key.benched is None), default=0.0)
        return (1.0 - min(usage, 1.0)) * merit

    def succeeded(self, booking: Booking, usage: Usage | None, now: float) -> None:
        """A picture came: true the tokens up."""
        self._ended(booking)
        self._busy_s += now - booking.at
        booking.key.ended(failed=False, now=now)
        self._breaker.ended(failed=False, probe=booking.probe, now=now)
        self._refusals.let_in()
        self._bearable += 1.0 / self._bearable
        if usage is not None:
            billed = usage.input_tokens + usage.output_tokens
            self._admitted["tokens"] += billed - booking.cost.tokens
            if "tokens" in self._buckets:
                self._buckets["tokens"].correct(booking.charges["tokens"], billed)

    def failed(self, booking: Booking, problem: Problem, now: float) -> None:
        """No picture came: the charge stays, because the vendor counts refused and failed calls too."""
        self._ended(booking)
        self._busy_s += now - booking.at
        wanted = action(problem.kind)
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
            self.benched = problem.message
        elif wanted is Action.KEY:
            booking.key.benched = problem.message
        elif wanted is Action.PACE:
            self._refused += 1
            if self._refusals.refused(problem.message, problem.retry_after_s, now) and not self._buckets:
                self._bearable = max(1.0, min(self._bearable, self._in_flight + 1) / 2)
            self.benched = self.benched or self._refusals.hopeless(now)
        elif problem.kind is not Kind.INTERRUPTED:
            self._refusals.let_in()  # an answer about the request itself

    def released(self, booking: Booking) -> None:
        """The request never left: take its charges back."""
        self._ended(booking)
        self._breaker.abandoned(probe=booking.probe)
        self._calls -= 1
        self._admitted.subtract(attrs.asdict(booking.cost))
        for resource, charge in booking.charges.items():
            self._buckets[resource].correct(charge, 0.0)

    def statistics(self, now: float) -> PoolStatistics:
        """The books as they are now."""
        return PoolStatistics(
            name=self.name,
            limits=self.limits,
            keys=tuple(key.name for key in self.keys),
            admitted=dict(self._admitted),
            in_flight=self._in_flight,
            busy_s=self._busy_s,
            calls=self._calls,
            refused=self._refused,
            first_at=self._first_at,
            last_at=self._last_at,
            state=self.state(now),
        )

    def state(self, now: float) -> str:
        """``ready``, or what keeps it from working."""
        if not self.alive:
            return f"benched: {self.benched}" if self.benched is not None else "benched: " + "; ".join(self.reasons())
        if self._breaker.is_open:
            return "held back: its server fails"
        return self._refusals.state(now)

    def _ended(self, booking: Booking) -> None:
        booking.key.in_flight -= 1
        self._in_flight -= 1
