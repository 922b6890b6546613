"""One resource of a pool: what may be used of it a minute, as far as anybody knows, and what is used. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from headrace.admission.bucket import MINUTE_S, Bucket
from headrace.admission.last_good import LastGood, Patience
from headrace.admission.memory import MeterMemory

if TYPE_CHECKING:
    from headrace.admission.bucket import Charge
    from headrace.told import Level, Refusal

RATE = Patience(hold_s=20.0, hold_calls=150, longest_calls=300, stand_s=5.0, stand_calls=10)
LEAST_SHARE = 0.02
NEARLY_ALL = 0.93
"""Who gets so much of a limit in and is refused all the same meets a server that counts by the second: less pace would only lose."""
TELLING_S = 10.0
"""What got through in less time than this says nothing about a rate."""
ENOUGH = 10
"""Of so much use a rate can be guessed."""
SAME = 0.01
"""Limits that differ by less are the same: the server rounds."""
EMPTY = 0.05
"""So little left of a limit is a refusal foreseen, where this client has not used the rest."""


class Meter:
    """Images, tokens or requests of one pool.

    Args:
        resource: which of them.
        limit: a minute; None where nobody knows.
        firm: whether the limit is never exceeded, whatever the server says; else it is where learning starts.
        source: where the limit came from.
        spread: see :class:`Bucket`.
    """

    def __init__(self, resource: str, limit: float | None, *, firm: bool, source: str, spread: float) -> None:
        self.resource = resource
        self.limit = limit
        self.source = source if limit is not None else "unknown"
        self.firm = firm and limit is not None
        self.named = limit
        """What the settings say."""
        self.offered: float | None = None
        """A larger limit that the server spoke of and that the settings forbid."""
        self.bucket = Bucket(math.inf if limit is None else limit, spread)
        self.pace = LastGood(math.inf, RATE, least=0.0)
        if limit is not None:
            self.pace = LastGood(limit, RATE, least=LEAST_SHARE * limit, most=limit if self.firm else math.inf)
        self._refused: deque[tuple[float, float]] = deque()
        self._first_at: float | None = None

    @property
    def scale(self) -> float:
        """Part of the limit that is tried at present: 1 where nothing speaks against it."""
        return 1.0 if self.limit is None or math.isinf(self.pace.level) else self.pace.level / self.limit

    def too_large(self, cost: float) -> bool:
        """Whether a request of that cost can never start."""
        return self.limit is not None and cost > self.bucket.limit

    def take(self, cost: float, now: float) -> Charge:
        """Book a request that starts now."""
        if self._first_at is None:
            self._first_at = now
        if self.pace.level < self.pace.most and self.bucket.pressed(now) and self.pace.used(now):
            self._follow(now)
        return self.bucket.take(cost, now)

    def learn(self, limit: float, source: str, now: float) -> bool:
        """Somebody who knows said what the limit is; returns whether that is news."""
        if self.limit is not None and abs(limit - self.limit) <= SAME * self.limit:
            return False
        if self.firm and self.named is not None and limit > self.named:
            self.offered = limit
            if self.limit == self.named:
                return False
            limit = self.named  # it had been cut, and is what it was again
        self._set(limit, source, now)
        return True

    def refused(self, refusal: Refusal | None, charge: Charge, now: float) -> bool:
        """A call was refused for this resource; returns whether something was learnt of it."""
        self.bucket.credit.close()
        self._refused.append((charge.at, charge.cost))
        # A trial above what the server named is refused with the limit that is known: that is no news.
        if refusal is not None and refusal.limit is not None and self.learn(refusal.limit, "refusal", now):
            return True
        through = self._through(now)
        if self.limit is None:
            # Of a few calls nothing can be guessed: the pause that follows a refusal has to do.
            if through is None or self.bucket.used(now) < ENOUGH:
                return False
            self._set(max(through, 1.0), "guess", now)
            return True
        if through is None or through + 1.0 >= NEARLY_ALL * self.limit:
            return False
        cut = self.pace.refused(charge.at, now, through)
        if cut:
            self._follow(now)
        return cut

    def heard(self, level: Level, charge: Charge, now: float) -> bool:
        """The headers of an answer tell of this limit, as of when the call was taken in; returns whether something was learnt of it."""
        news = self.learn(level.limit, "header", now)
        if self.limit is None or abs(level.limit - self.limit) > SAME * self.limit:
            return news
        since, used = self.bucket.since(charge), level.limit - level.remaining
        self.bucket.credit.told(remaining=level.remaining, reset_s=level.reset_s, used=charge.used, since=since, now=now)
        if level.remaining <= EMPTY * level.limit and charge.used < (1 - 2 * EMPTY) * used and self.pace.refused(charge.at, now):
            # Others have used what we have not: a refusal foreseen.
            self._follow(now)
            return True
        return news

    def memory(self, now: float) -> MeterMemory:
        """What another run can start with."""
        level = self.pace.level
        return MeterMemory(
            resource=self.resource,
            named=self.named,
            limit=self.limit,
            source=self.source,
            level=None if math.isinf(level) else level,
            recent=tuple((now - at, cost) for at, cost in self.bucket.recent(now)),
        )

    def recall(self, memory: MeterMemory, age_s: float, now: float) -> None:
        """Start with what a run knew that ended ``age_s`` ago, and with the charges of its last minute."""
        if memory.named == self.named and memory.limit is not None and memory.level is not None:
            if memory.limit != self.limit:
                self._set(memory.limit, memory.source, now)
            self.pace.put(min(memory.level, self.pace.most), now)
            self._follow(now)
        self.bucket.prime((now - age_s - ago, cost) for ago, cost in memory.recent if ago + age_s < MINUTE_S)
        if age_s < MINUTE_S:
            self.bucket.drain(now)

    def _set(self, limit: float, source: str, now: float) -> None:
        self.limit, self.source = limit, source
        self.pace = LastGood(limit, RATE, least=LEAST_SHARE * limit, most=self.named if self.firm and self.named else math.inf)
        self.pace.put(limit, now)
        # What was charged so far was under another rule; the server's own words, or its refusal, say what fits from now on.
        self.bucket.forgive()
        self._refused.clear()
        self._first_at = now
        self._follow(now)
        self.bucket.drain(now)

    def _follow(self, now: float) -> None:
        """Let the bucket follow what was learnt."""
        limit = math.inf if self.limit is None else max(self.limit, self.pace.level)
        self.bucket.change(now, limit=min(limit, self.pace.most), rate=self.pace.level)

    def _through(self, now: float) -> float | None:
        """What was let in, as a rate a minute over the last minute; None where that is too short a time to tell."""
        while self._refused and self._refused[0][0] <= now - MINUTE_S:
            self._refused.popleft()
        span = min(MINUTE_S, now - (now if self._first_at is None else self._first_at))
        if span < TELLING_S:
            return None
        return (self.bucket.used(now) - sum(cost for _, cost in self._refused)) * MINUTE_S / span
