"""What became of the calls: when pictures came, what each key did and cost, where the time went, why calls failed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.report.rows import Attempt
    from headrace.report.worktime import WorkTime

_EXAMPLES = 2
_REFUSED = ("rate_limited", "slow_down")
WAITING, GENERATING, ELSEWHERE = "waiting: ", "generating", "everything else"
FAILED, RETRYING = "calls that got no picture", "pauses before another try"


@attrs.define
class Key:
    """What was done with one key of one pool."""

    pool: str
    calls: int = 0
    paid: int = 0
    refused: int = 0
    """Calls that the API refused for their pace."""
    failed: int = 0
    """Other calls that got no picture."""
    open: int = 0
    """Calls that have no outcome: under way, or in doubt."""
    pictures: int = 0
    busy_s: float = 0.0
    """Seconds that the calls took that brought pictures."""
    cost_usd: float = 0.0
    wasted_usd: float = 0.0


@attrs.define
class Trouble:
    """Calls that got no picture for one reason."""

    calls: int = 0
    wasted_usd: float = 0.0
    examples: list[tuple[str, int | None, str]] = attrs.field(factory=list)
    """The id of the prompt, the HTTP status, what was said."""


@attrs.define
class Calls:
    """Sums over the calls, taken in one at a time."""

    work: WorkTime
    keys: dict[tuple[str, str], Key] = attrs.field(factory=dict)
    """By pool and name."""
    trouble: defaultdict[str, Trouble] = attrs.field(factory=lambda: defaultdict(Trouble))
    waited: defaultdict[str, float] = attrs.field(factory=lambda: defaultdict(float))
    """Seconds that prompts waited to be let in, by what held them up longest."""
    generating_s: float = 0.0
    failing_s: float = 0.0
    pausing_s: float = 0.0
    """Between a call that got no picture and the next try, without what that waited for a limit."""
    made: list[int] = attrs.field(factory=list)
    """Pictures that came, at each point of the charts."""
    refused: list[int] = attrs.field(factory=list)
    paid: list[float] = attrs.field(factory=list)
    """USD paid, at each point of the charts."""
    spoilt_usd: float = 0.0
    """Paid for pictures that could not be used."""
    unknown_usd: float = 0.0
    """Perhaps paid: the answer never came."""
    simulated: int = 0
    """Calls that went to the simulator."""
    simulated_usd: float = 0.0
    """Of what was paid, what was not: play money."""
    first_at: float | None = None
    last_at: float | None = None
    _failed_at: dict[int, float] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        points = self.work.points
        self.made, self.refused, self.paid = [0] * points, [0] * points, [0.0] * points

    def add(self, call: Attempt) -> None:
        """Take one in."""
        key = self.keys.setdefault((call.pool, call.key), Key(call.pool))
        key.calls += 1
        self.simulated += call.simulated
        self.first_at = call.sent_at if self.first_at is None else min(self.first_at, call.sent_at)
        ended = call.ended_at or call.sent_at
        self.last_at = ended if self.last_at is None else max(self.last_at, ended)
        if call.waited_for is not None:
            self.waited[call.waited_for] += call.waited_s
        if (failed_at := self._failed_at.pop(call.item, None)) is not None:
            self.pausing_s += max(0.0, self.work.at(call.sent_at) - self.work.at(failed_at) - call.waited_s)
        cost, took_s = call.cost_usd or 0.0, max(0.0, ended - call.sent_at)
        if call.simulated and call.outcome in {"paid", "spoilt"}:
            self.simulated_usd += cost
        if call.outcome == "paid":
            self._paid(call, key, cost, took_s)
        elif call.outcome == "open":
            key.open += 1
            self.unknown_usd += cost
        else:
            self._failed(call, key, cost, took_s)

    @property
    def total(self) -> int:
        """Calls that were made."""
        return sum(key.calls for key in self.keys.values())

    @property
    def refusals(self) -> int:
        """Calls that the API refused for their pace."""
        return sum(key.refused for key in self.keys.values())

    @property
    def pictures(self) -> int:
        """Pictures that were made and paid for."""
        return sum(key.pictures for key in self.keys.values())

    @property
    def cost_usd(self) -> float:
        """What was paid, for pictures that can be used and for those that cannot."""
        return sum(key.cost_usd for key in self.keys.values()) + self.spoilt_usd

    def seconds(self, whole_s: float) -> Iterator[tuple[str, float]]:
        """Where ``whole_s`` seconds of prompts that asked the API went, the waits first."""
        for cause, waited_s in sorted(self.waited.items(), key=lambda each: -each[1]):
            yield f"{WAITING}{cause}", waited_s
        yield GENERATING, self.generating_s
        yield FAILED, self.failing_s
        yield RETRYING, self.pausing_s
        yield ELSEWHERE, max(0.0, whole_s - sum(self.waited.values()) - self.generating_s - self.failing_s - self.pausing_s)

    def _paid(self, call: Attempt, key: Key, cost: float, took_s: float) -> None:
        key.paid += 1
        key.pictures += call.pictures
        key.cost_usd += cost
        key.busy_s += took_s
        self.generating_s += took_s
        point = self.work.point(call.ended_at or call.sent_at)
        self.made[point] += call.pictures
        self.paid[point] += cost

    def _failed(self, call: Attempt, key: Key, cost: float, took_s: float) -> None:
        self.failing_s += took_s
        self._failed_at[call.item] = call.ended_at or call.sent_at
        wasted = 0.0 if call.outcome == "unpaid" else cost
        key.wasted_usd += wasted
        if call.outcome == "spoilt":
            self.spoilt_usd += cost
            self.paid[self.work.point(call.ended_at or call.sent_at)] += cost
        elif call.outcome == "unknown":
            self.unknown_usd += cost
        if call.kind in _REFUSED:
            key.refused += 1
            self.refused[self.work.point(call.ended_at or call.sent_at)] += 1
        else:
            key.failed += 1
        trouble = self.trouble[call.kind or "no answer"]
        trouble.calls += 1
        trouble.wasted_usd += wasted
        if len(trouble.examples) < _EXAMPLES:
            trouble.examples.append((call.name, call.status, call.message or ""))
