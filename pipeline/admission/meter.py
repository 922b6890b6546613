"""One resource of a pool: what may be used of it a minute, as far as anybody knows, and what is used. Pure.

One file, though it is a long one: what is heard of a limit, from answers, earlier runs and other processes, ends in one pace.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from headrace.admission.bucket import MINUTE_S, SMALL_LIMIT, Bucket
from headrace.admission.credit import ENOUGH as ENOUGH_LEFT
from headrace.admission.credit import refills
from headrace.admission.last_good import LastGood, Patience
from headrace.admission.lesson import Lesson
from headrace.admission.memory import MeterMemory

if TYPE_CHECKING:
    from headrace.admission.bucket import Charge
    from headrace.told import Level, Refusal

RATE = Patience(hold_s=20.0, hold_calls=150, longest_calls=200, stand_s=5.0, stand_calls=10, longest_s=600.0)
LEAST_SHARE = 0.02
NEARLY_ALL = 0.93
"""Who gets so much of a limit in and is refused all the same meets a server that counts by the second: less pace would only lose."""
MOST = 0.8
"""The same where the waits that the server asks for show that it does."""
SURE = 3
SHORT_S = 10.0
TELLING_S = 10.0
TELLING_COST = 400.0
"""What got through in less time says nothing about a rate, nor do fewer images where a minute has as many; a minute is always enough."""
TELLING_SHARE = 10.0
"""So few say nothing about what part of the whole they are."""
ENOUGH = 3.0
"""From so many a minute that get through a rate can be guessed."""
LEAST = 1.0
"""A limit of less than one a minute is believed of nobody."""
SAME = 0.01
"""Limits that differ by less are the same: the server rounds."""
EMPTY = 0.05
"""So little left of a limit is a refusal foreseen, where this client has not used the rest."""
ON_THE_WAY_S = 2.0
FOREIGN = 0.9
FORESEEN = 0.5
"""Refusals that are only foreseen cut no deeper than to this part of the limit: real ones will say."""


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
        self.largest = limit if self.firm else None
        """No request may be larger: by the settings, or by the server's own word on one that was."""
        self.offered: float | None = None
        """A larger limit that the server spoke of and that the settings forbid."""
        # The exact log is for what the settings promise; what is learnt is only paced, or each trial would have to wait a minute.
        self.bucket = Bucket(limit if self.firm and limit is not None else math.inf, spread)
        self.pace = LastGood(math.inf, RATE, least=0.0)
        if limit is not None:
            self.pace = LastGood(limit, RATE, least=LEAST_SHARE * limit, most=limit if self.firm else math.inf)
            self._follow(0.0)
        self.others, self._pressed = 0.0, False
        """Where the limit is shared: what other processes used in the last minute, and whether calls wait for it."""
        self._refused: deque[tuple[float, float]] = deque()
        self._first_at: float | None = None
        self._by_the_second = 0
        """Refusals whose wait fits a window of seconds, and no bucket of a minute."""
        self._overshot = False
        """Whether a trial was refused, and nothing is known of what gets through since then."""

    @property
    def scale(self) -> float:
        """Part of the limit that is tried at present: 1 where nothing speaks against it."""
        return 1.0 if self.limit is None or math.isinf(self.pace.level) else self.pace.level / self.limit

    def shared(self, total: float, now: float, *, pressed: bool) -> None:
        """All processes together used so much in the last minute; ``pressed`` where calls wait for it."""
        self.others, self._pressed = max(0.0, total - self.bucket.used(now)), pressed

    def take(self, cost: float, now: float) -> Charge:
        """Book a request that starts now."""
        if self._first_at is None:
            self._first_at = now
        if self.pace.level < self.pace.most and (self._pressed or self.bucket.pressed(now)) and self.pace.used(now, self._all(now)):
            self._follow(now)
        return self.bucket.take(cost, now)

    def learn(self, limit: float, source: str, now: float) -> bool:
        """Somebody who knows said what the limit is; returns whether that is news."""
        if limit < LEAST or (self.limit is not None and abs(limit - self.limit) <= SAME * self.limit):
            return False
        if self.largest is not None and not self.firm:
            self.largest = max(self.largest, limit)
        if self.firm and self.named is not None and limit > self.named:
            self.offered = limit
            if self.limit == self.named:
                return False
            limit = self.named  # it had been cut, and is what it was again
        self._set(limit, source, now)
        return True

    def refused(self, refusal: Refusal | None, charge: Charge, now: float, wait_s: float | None = None) -> bool:
        """A call was refused for this resource, to come again after ``wait_s``; returns whether something was learnt of it."""
        if refusal is not None and wait_s is not None:
            self._by_the_second += not _by_the_minute(refusal, wait_s)
        self.bucket.credit.close()
        self._refused.append((charge.at, charge.cost))
        if refusal is not None and self._told(refusal, now):
            return True
        through = self._through(now)
        if self.limit is None:
            # Of a few calls nothing can be guessed: the pause that follows a refusal has to do.
            if through is None or through < ENOUGH:
                return False
            self._set(through, "guess", now)
            return True
        if not self._too_fast(through):
            return False
        trying = self.pace.trying
        # Of a small limit a minute tells little: it is cut by little.
        sure = trying or self._overshot or self.pace.level > SMALL_LIMIT
        cut = self.pace.refused(charge.left_at, now, (through or 0.0) if sure else self.pace.level)
        if cut:
            if trying and not self.firm:
                # What got through so far was stored up; from now on it tells what there is.
                self._first_at, self._overshot = now, True
            self._follow(now)
        return cut

    def heard(self, level: Level, charge: Charge, now: float) -> bool:
        """The headers of an answer tell of this limit, as of when the call was taken in; returns whether something was learnt of it."""
        news = self.learn(level.limit, "header", now)
        if self.limit is None or abs(level.limit - self.limit) > SAME * self.limit:
            return news
        if level.remaining >= ENOUGH_LEFT * level.limit:
            # Calls overtake each other on the way: what left shortly before was perhaps taken in after.
            since = self.bucket.used_after(charge.at - ON_THE_WAY_S) - charge.cost
            self.bucket.credit.told(remaining=level.remaining, reset_s=level.reset_s, used=charge.used, since=since, now=now)
        empty = level.remaining <= EMPTY * level.limit and refills(level.limit, level.remaining, level.reset_s)
        empty = empty and self.pace.level > FORESEEN * level.limit
        if empty and charge.used + self.others < FOREIGN * (level.limit - level.remaining) and self.pace.refused(charge.left_at, now):
            # Others have used what we have not: a refusal foreseen.
            self._follow(now)
            return True
        return news

    def absorb(self, other: Meter, now: float) -> None:
        """The same limit was kept twice: what both used counts, and the smaller of what they know holds."""
        if other.firm and other.named is not None:
            self.named = other.named if not self.firm or self.named is None else min(self.named, other.named)
            self.firm, self.largest = True, self.named
            self.bucket.tighten(self.named)
            self.pace.most = min(self.pace.most, self.named)
        if other.limit is not None and (self.limit is None or other.limit < self.limit):
            self._set(other.limit, other.source, now)
        self.bucket.absorb(other.bucket, now)

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
            offered=self.offered,
        )

    def recall(self, memory: MeterMemory, age_s: float, now: float) -> None:
        """Start with what a run knew that ended ``age_s`` ago, and with the charges of its last minute."""
        if memory.named == self.named and memory.limit is not None and memory.level is not None and memory.limit >= LEAST:
            limit = min(memory.limit, self.named) if self.firm and self.named is not None else memory.limit
            if limit != self.limit:
                self._set(limit, memory.source, now)
            self.pace.put(min(memory.level, self.pace.most), now)
            self._follow(now)
            if self.firm:
                self.offered = self.offered or memory.offered
        self.bucket.prime((now - age_s - ago, cost) for ago, cost in memory.recent if ago + age_s < MINUTE_S)
        if age_s < MINUTE_S:
            self.bucket.drain(now)

    @property
    def lesson(self) -> Lesson | None:
        """What another process can go on with; None where nothing is known."""
        if self.limit is None:
            return None
        return Lesson(resource=self.resource, named=self.named, limit=self.limit, source=self.source, standing=self.pace.standing)

    def take_up(self, lesson: Lesson, now: float) -> None:
        """Another process has learnt that of the same limit: go on with it."""
        limit = lesson.limit or 0.0
        if self.firm and self.named is not None:
            limit = min(limit, self.named)
        if self.largest is not None and not self.firm:
            self.largest = max(self.largest, limit)
        fell = limit == self.limit and lesson.standing.level < self.pace.level
        if limit != self.limit:
            self._set(limit, lesson.source, now)
        self.pace.go_on(lesson.standing, now)
        if fell and not self.firm:
            self._first_at, self._overshot = now, True  # as where the refusal came
        self._follow(now)

    def _told(self, refusal: Refusal, now: float) -> bool:
        """Learn from the numbers of a refusal; returns whether they taught something."""
        if refusal.limit is None or refusal.limit < LEAST:
            return False
        if refusal.requested is not None and refusal.requested > refusal.limit and (self.largest or math.inf) > refusal.limit:
            self.largest = refusal.limit
        if self.learn(refusal.limit, "refusal", now):
            return True
        if self.limit is not None and self.pace.level > (1 + SAME) * self.limit:
            self.pace.fall(self.limit, now)
            self._follow(now)
            return True
        return False

    def _too_fast(self, through: float | None) -> bool:
        """Whether a refusal is a reason to go slower, after what got through."""
        aimed = max(self.limit or 0.0, self.pace.level)
        if self._by_the_second >= SURE:
            return through is not None and through + 1.0 < MOST * aimed
        if self.pace.trying or self._overshot:
            return True
        return through is not None and through + 1.0 < NEARLY_ALL * aimed

    def _set(self, limit: float, source: str, now: float) -> None:
        self.limit, self.source = limit, source
        self.pace = LastGood(limit, RATE, least=LEAST_SHARE * limit, most=self.named if self.firm and self.named else math.inf)
        self.pace.put(limit, now)
        self._refused.clear()
        self._first_at = now
        self._follow(now)
        self.bucket.drain(now)

    def _follow(self, now: float) -> None:
        """Let the bucket follow what was learnt."""
        self.bucket.change(now, self.pace.level)
        self.bucket.credit.limit = math.inf if self.limit is None else self.limit

    def _through(self, now: float) -> float | None:
        """What was let in of late, as a rate a minute; None where that is too short a time to tell."""
        while self._refused and self._refused[0][0] <= now - MINUTE_S:
            self._refused.popleft()
        longest = min(MINUTE_S, max(TELLING_S, TELLING_COST * MINUTE_S / max(self.pace.level, 1.0)))
        span = min(longest, now - (now if self._first_at is None else self._first_at))
        if span < TELLING_S:
            return None
        self._overshot = False
        own = self.bucket.used_after(now - span) - sum(cost for at, cost in self._refused if at > now - span)
        if own < TELLING_SHARE:
            return own * MINUTE_S / span + self.others
        # Where the use grows or falls the others' last minute says nothing of now; what part of the whole is ours changes slowly.
        return own * MINUTE_S / span * self._all(now)

    def _all(self, now: float) -> float:
        """So many times what this process used is used by all that share the limit."""
        return 1.0 + self.others / own if self.others and (own := self.bucket.used(now)) else 1.0


def _by_the_minute(refusal: Refusal, wait_s: float) -> bool:
    """Whether the wait is what a bucket of that limit a minute takes to refill: a window of a second makes wait for its end."""
    limit, used, requested = refusal.limit, refusal.used, refusal.requested
    if limit is None or used is None or requested is None:
        return True
    return wait_s > SHORT_S or wait_s <= 1.1 * (used + requested - limit) * MINUTE_S / limit + 0.01
