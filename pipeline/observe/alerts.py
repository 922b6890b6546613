"""When a run goes wrong: rules over the last minutes, each of which speaks once when it begins and once when it is over.

Pure: time is an argument. A rule that has begun goes on until its value was well below the threshold for a whole window (hysteresis), or
for an hour where it came back within one, and a share of few says nothing: a value that wanders about its threshold is no flood of alerts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from headrace.log import prompts_heard
from headrace.observe.window import Window
from headrace.records import Kind, Status
from headrace.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.observe.watcher import Snapshot
    from headrace.records import Call, Result
    from headrace.settings import AlertSettings

ERROR_RATE, MEAN_LATENCY, RATE_LIMITED = "error_rate", "mean_latency", "rate_limited_ratio"
BUDGET, BENCHED, STALLED = "budget", "pool_benched", "stalled"
RULES = (ERROR_RATE, MEAN_LATENCY, RATE_LIMITED, BUDGET, BENCHED, STALLED)

PACE = frozenset({Kind.RATE_LIMITED, Kind.SLOW_DOWN})
"""What a call is refused with that came too early (429)."""
FEWEST = 20
"""Prompts or calls of which a share begins to say something."""
ENDS_AT = 0.8
"""Part of its threshold below which a value has to stay for a whole window for the alert to be over."""
AGAIN_S = 3600.0
"""An alert that comes back within so many seconds is over after as many below: nothing is held back, and a steady value speaks seldom."""
_MINUTE_S = 60.0


@attrs.frozen(kw_only=True)
class Alert:
    """One thing that is wrong."""

    rule: str
    """One of :data:`RULES`."""
    subject: str | None = None
    """The pool that it is about; None where it is the whole run."""
    value: float
    threshold: float
    text: str
    """For a person, in a few words."""


@attrs.frozen(kw_only=True)
class Change:
    """An alert begins, or is over."""

    on: bool
    alert: Alert
    ended: bool = False
    """Whether it is over only because the run is."""


@attrs.frozen
class _Finding:
    """What a rule makes of one look."""

    alert: Alert
    begins: bool
    lasts: bool

    @property
    def key(self) -> tuple[str, str | None]:
        return self.alert.rule, self.alert.subject


class Alerts:
    """The rules and what they have found so far.

    Args:
        settings: the thresholds.
        now: seconds on the clock of all later times.
    """

    def __init__(self, settings: AlertSettings, now: float) -> None:
        self._settings = settings
        self._failed, self._latency_s, self._refused = (Window(settings.window_s) for _ in range(3))
        self._high_at = dict.fromkeys(RULES, now)
        """When the value was last not well below the threshold, or unknown."""
        self._quiet_s = dict.fromkeys(RULES, settings.window_s)
        """For how long it has to be well below before the alert is over."""
        self._on_at: dict[str, float] = {}
        """When the alert was last on."""
        self._moved = now
        """When there was a result last, or nothing to do."""
        self._active: dict[tuple[str, str | None], Alert] = {}

    @property
    def active(self) -> tuple[Alert, ...]:
        """What is wrong now, the oldest first."""
        return tuple(self._active.values())

    def called(self, call: Call, now: float) -> None:
        """A call is over."""
        kind = None if call.problem is None else call.problem.kind
        if kind is not Kind.INTERRUPTED:
            self._refused.put(kind in PACE, now)
        if kind is None:
            self._latency_s.put(call.ended - call.started, now)

    def ended(self, result: Result, now: float) -> None:
        """A prompt has its result."""
        self._moved = now
        if not result.recalled:
            self._failed.put(result.status is Status.FAILED, now)

    def look(self, now: float, snapshot: Snapshot) -> list[Change]:
        """What has changed since the last look."""
        return self._changes([*self._rates(now), *_states(snapshot, self._settings), self._stalled(now, snapshot)])

    def end(self, snapshot: Snapshot) -> list[Change]:
        """The run is over, and so is everything that was wrong with it; what brought the end about is told first."""
        changes = self._changes(list(_states(snapshot, self._settings)))
        changes += [Change(on=False, alert=alert, ended=True) for alert in self._active.values()]
        self._active.clear()
        return changes

    def _changes(self, findings: list[_Finding]) -> list[Change]:
        changes = []
        for found in findings:
            was_on = found.key in self._active
            if found.lasts if was_on else found.begins:
                self._active[found.key] = found.alert
            else:
                self._active.pop(found.key, None)
            if (found.key in self._active) is not was_on:
                changes.append(Change(on=not was_on, alert=found.alert))
        looked_at = {found.key for found in findings}
        # Of two pools that turn out to be one organisation, one is no more.
        gone = [key for key in self._active if key[0] == BENCHED and key not in looked_at]
        return changes + [Change(on=False, alert=self._active.pop(key)) for key in gone]

    def _rates(self, now: float) -> Iterator[_Finding]:
        settings = self._settings
        for rule, window, name, words in (
            (ERROR_RATE, self._failed, "error_rate", "{value:.0%} of {count:,} prompts failed (threshold {threshold:.0%})"),
            (MEAN_LATENCY, self._latency_s, "mean_latency_s", "a call takes {value:.0f} s in the mean (threshold {threshold:g} s)"),
            (RATE_LIMITED, self._refused, "rate_limited_ratio", "{value:.0%} of {count:,} calls were refused (threshold {threshold:.0%})"),
        ):
            threshold, mean = settings.threshold(name), window.mean(now)
            if not mean.count or mean.value >= ENDS_AT * threshold:
                self._high_at[rule] = now
            if not mean.count:
                continue  # nothing at all in a whole window is no sign that it got better
            text = words.format(value=mean.value, count=mean.count, threshold=threshold)
            begins = mean.count >= FEWEST and mean.value >= threshold
            if (rule, None) in self._active:
                self._on_at[rule] = now
            elif begins:
                back = now - self._on_at.get(rule, -math.inf) < AGAIN_S
                self._quiet_s[rule] = max(settings.window_s, AGAIN_S if back else 0.0)
            lasts = now - self._high_at[rule] < self._quiet_s[rule]
            yield _Finding(Alert(rule=rule, value=mean.value, threshold=threshold, text=text), begins, lasts)

    def _stalled(self, now: float, snapshot: Snapshot) -> _Finding:
        if not snapshot.in_flight:
            self._moved = now
        still_s, threshold_s = now - self._moved, self._settings.stalled_minutes * _MINUTE_S
        text = f"no result for {still_s / _MINUTE_S:.1f} minutes (threshold {self._settings.stalled_minutes:g})"
        stalls = still_s >= threshold_s
        return _Finding(Alert(rule=STALLED, value=still_s, threshold=threshold_s, text=text), stalls, stalls)


def _states(snapshot: Snapshot, settings: AlertSettings) -> Iterator[_Finding]:
    most_usd = snapshot.max_cost_usd
    if most_usd:
        share = snapshot.spent_usd / most_usd
        reached = share >= settings.budget_share
        text = f"${snapshot.spent_usd:.2f} of ${most_usd:g} is spent ({share:.0%})"
        yield _Finding(Alert(rule=BUDGET, value=share, threshold=settings.budget_share, text=text), reached, reached)
    for pool in snapshot.pools:
        benched = pool.state.startswith("benched")
        # Behind the colon is what the API said, which may quote a prompt.
        state = pool.state if prompts_heard() else pool.state.partition(":")[0]
        text = clean(f"pool {pool.name} is {state}")
        yield _Finding(Alert(rule=BENCHED, subject=pool.name, value=float(benched), threshold=1.0, text=text), benched, benched)
