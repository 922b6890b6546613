"""What one process has used of one pool, and what of it the shared books have not been told yet. Pure: takes ``now``."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

import attrs

from headrace.quota.exchange import us

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace.admission.bucket import Terms

KEPT_S = 62.0
"""Longer than any window of a limit."""
TAUGHT_S = 1.0


@attrs.define(eq=False)
class Used:
    """What one call took of one resource."""

    at: float
    cost: int
    books: int | None
    """Which books have it; None where it was used without them."""
    slot_us: int | None = None
    """When that was on the store's clock, where it was booked there."""


@attrs.define(eq=False)
class Holding:
    """What one call holds."""

    start: float
    used: Mapping[str, Used]
    lease: str
    due: float
    """When its slot is, as far as that can be told: a little before the start where the answer was late."""


@attrs.define
class News:
    """What is told in one exchange."""

    past: list[tuple[str, Used, int]] = attrs.field(factory=list)
    """Resource, call, and what of it the books have to enter."""
    corrections: dict[tuple[str, int], int] = attrs.field(factory=dict)
    """By resource and slot."""
    over: set[str] = attrs.field(factory=set)
    going: list[str] = attrs.field(factory=list)
    pause_s: float = 0.0


class Account:
    """One process and one pool.

    Args:
        ttl_s: a lease that is not renewed ends after so long.
    """

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.leases: dict[str, None] = {}
        """Of the calls that are out."""
        self._used: defaultdict[str, deque[Used]] = defaultdict(deque)
        self._books: int | None = None
        self._news = News()
        self._renew_at = float("-inf")
        self._refused: deque[tuple[float, str]] = deque()

    @property
    def places(self) -> int:
        """Leases that the store has of this process, as far as it has been told."""
        return len(self.leases) + len(self._refused) + len(self._news.over)

    def hold(self, costs: Mapping[str, int], start: float, *, lease: str, slot_us: int | None = None, late_s: float = 0.0) -> Holding:
        """A call that starts then, so long after its slot: booked in the store, or, without ``slot_us``, given here."""
        books = None if slot_us is None else self._books
        used = {resource: Used(start, cost, books, slot_us) for resource, cost in costs.items()}
        for resource, each in used.items():
            self._used[resource].append(each)
        self.leases[lease] = None
        return Holding(start, used, lease, start - late_s)

    def correct(self, holding: Holding, costs: Mapping[str, int]) -> None:
        """Make what a call took what it turned out to be."""
        for resource, cost in costs.items():
            used = holding.used.get(resource)
            if used is None:
                continue
            more, used.cost = cost - used.cost, cost
            if used.books is None or used.books != self._books:
                continue  # it is entered, or was lost, as it is then
            if used.slot_us is not None:
                key = resource, used.slot_us
                self._news.corrections[key] = self._news.corrections.get(key, 0) + more
            elif more > 0:
                self._news.past.append((resource, used, more))

    def ended(self, holding: Holding) -> None:
        """The call is over."""
        self.abandon(holding.lease)

    def taught(self, holding: Holding, now: float) -> None:
        """The call is over, and its refusal taught something: its place stays taken until the others know that."""
        self.leases.pop(holding.lease, None)
        self._refused.append((now + TAUGHT_S, holding.lease))

    def abandon(self, lease: str) -> None:
        """Whatever was booked with that lease, no call is out with it."""
        self.leases.pop(lease, None)
        self._news.over.add(lease)

    def pause(self, for_s: float) -> None:
        """The server wants everybody to wait."""
        self._news.pause_s = max(self._news.pause_s, for_s)

    def recent(self, resource: str, now: float) -> Iterator[tuple[float, float]]:
        """Times and costs of the last minute."""
        self._forget(now)
        return ((used.at, float(used.cost)) for used in self._used[resource])

    def in_use(self, now: float) -> bool:
        """Whether anything was used in the last minute, is out, or has to be told."""
        self._forget(now)
        return bool(self.leases or self._refused or self._news.over) or any(self._used.values())

    def news(self, now: float, *, leaves: bool = False) -> News:
        """What there is to tell, all of it where nothing follows; :meth:`delivered` or :meth:`undelivered` has to follow."""
        while self._refused and (leaves or self._refused[0][0] <= now):
            self._news.over.add(self._refused.popleft()[1])
        news, self._news = self._news, News()
        if now >= self._renew_at:
            news.going = list(self.leases)
            self._renew_at = now + self.ttl_s / 3
        return news

    def delivered(self, books: int, now: float) -> bool:
        """These are the books that have it; whether they are others than before: then they are told the whole last minute next."""
        if books == self._books:
            return False
        self._forget(now)
        for log in self._used.values():
            for used in log:
                used.slot_us = None
        self._news.corrections.clear()  # of slots of the former books
        self._enter(books)
        self._books = books
        self._renew_at = now
        return True

    def rejoin(self, now: float) -> None:
        """The store is back: it is told what was used without it."""
        self._forget(now)
        if self._books is not None:
            self._enter(self._books)
        self._renew_at = now

    def undelivered(self, news: News) -> None:
        """Nobody knows whether it was heard: what is safe to say twice is told again."""
        for key, more in news.corrections.items():
            if more > 0:
                self._news.corrections[key] = self._news.corrections.get(key, 0) + more
        self._news.past.extend(news.past)
        self._news.over |= news.over
        self._news.pause_s = max(self._news.pause_s, news.pause_s)
        self._renew_at = float("-inf")

    def told(self, news: News, terms: Mapping[str, Terms], now: float) -> dict[str, Any]:
        """What is told, for the script."""
        place = {resource: number for number, resource in enumerate(terms, 1)}
        past = [
            [place[resource], us(now - used.at), cost, us(terms[resource].tolerance_s)]
            for resource, used, cost in news.past
            if resource in place and now - used.at < KEPT_S
        ]
        corrections = [
            [place[resource], slot_us, more, terms[resource].unit_s * 1e6]
            for (resource, slot_us), more in news.corrections.items()
            if resource in place and more
        ]
        return {
            "books": self._books,
            "past": past,
            "corrections": corrections,
            "over": sorted(news.over),
            "going": news.going,
            "pause": us(news.pause_s) or None,
            "ttl": us(self.ttl_s),
        }

    def _enter(self, books: int) -> None:
        for resource, log in self._used.items():
            for used in log:
                if used.books != books:
                    used.books = books
                    self._news.past.append((resource, used, used.cost))

    def _forget(self, now: float) -> None:
        for log in self._used.values():
            while log and log[0].at + KEPT_S <= now:
                log.popleft()
