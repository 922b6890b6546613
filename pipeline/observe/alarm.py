"""Tells the rules of what happens, and everybody who wants to know of what the rules find."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from headrace.log import log
from headrace.observe.alerts import RULES, Alerts
from headrace.observe.window import SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.observe.alerts import Change
    from headrace.observe.watcher import Snapshot
    from headrace.records import Call, Result
    from headrace.settings import AlertSettings

LOOK_S = 5.0
"""At most so many seconds until what is wrong is seen."""
LEAST_S = 1.0
"""Seconds between two looks at least, however short the window is."""


class Alarm:
    """Watches a run by its rules.

    Args:
        settings: what is wrong, and what is not yet.
        snapshot: how things stand.
        tell: whom to tell besides the log; none may wait or raise.
    """

    def __init__(self, settings: AlertSettings, snapshot: Callable[[], Snapshot], tell: Sequence[Callable[[Change], None]] = ()) -> None:
        self._alerts = Alerts(settings, trio.current_time())
        self._snapshot = snapshot
        self._tell = tell
        self._every_s = min(max(settings.window_s / SLOTS, LEAST_S), LOOK_S)
        self._over = trio.Event()

    def active(self) -> tuple[str, ...]:
        """What is wrong now, in a few words each, fit for a terminal; the oldest first."""
        return tuple(alert.text for alert in self._alerts.active)

    def counts(self) -> Mapping[str, int]:
        """How many alerts of each rule are on."""
        on = Counter(alert.rule for alert in self._alerts.active)
        return {rule: on[rule] for rule in RULES}

    def called(self, call: Call) -> None:
        """A call is over."""
        self._alerts.called(call, trio.current_time())

    def ended(self, result: Result) -> None:
        """A prompt has its result."""
        self._alerts.ended(result, trio.current_time())

    async def run(self) -> None:
        """Look again and again until :meth:`end`."""
        while True:
            with trio.move_on_after(self._every_s):
                await self._over.wait()
            if self._over.is_set():
                return
            self._say(self._alerts.look(trio.current_time(), self._snapshot()))

    def end(self) -> None:
        """The run is over: what goes wrong from now on is nothing to tell of."""
        self._over.set()
        self._say(self._alerts.end(self._snapshot()))

    def _say(self, changes: Sequence[Change]) -> None:
        for change in changes:
            alert = change.alert
            about = {} if alert.subject is None else {"pool": alert.subject}
            log.warning("alert_on" if change.on else "alert_off", alert=alert.rule, **about, because=_because(change))
            for tell in self._tell:
                tell(change)


def _because(change: Change) -> str:
    return "the run has ended" if change.ended else change.alert.text
