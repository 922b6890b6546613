"""Alerts on their way out of the process: to a command, or to a webhook, with retries.

Whoever is told may be slow, broken or gone: each has a queue and a task of its own, so that neither the line nor another one waits for it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import attrs
import trio

from headrace.errors import UsageError
from headrace.log import log
from headrace.provider.client import post_once
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.observe.alerts import Change
    from headrace.settings import AlertSettings

ONE_S = 10.0
"""Seconds that one attempt may take."""
DELAYS_S = (1.0, 5.0, 25.0)
"""Before the second attempt, the third and the fourth."""
AT_THE_END_S = 5.0
"""Seconds for what is still to be told when the run is over."""
MOST_WAITING = 100
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@attrs.frozen
class Miss:
    """An attempt that failed."""

    why: str
    """Nothing in it comes from the other side, which may repeat a secret."""
    again: bool
    """Whether another attempt may help."""


class Way(Protocol):
    """One way to tell somebody."""

    name: str
    """Fit to be shown: no secret is in it."""

    async def tell(self, body: bytes) -> Miss | None:
        """One attempt; None where it arrived."""
        ...


class Command:
    """A program that is given the alert on its standard input."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self.name = f"command {os.path.basename(command[0])}"  # noqa: PTH119 - as it was given

    async def tell(self, body: bytes) -> Miss | None:
        """Run it once; what it prints goes nowhere."""
        try:
            # A session of its own: Ctrl-C at the terminal is for the run, and its children can be ended with it.
            ended = await trio.run_process(
                self._command, stdin=body + b"\n", stdout=DEVNULL, stderr=DEVNULL, check=False, start_new_session=True, deliver_cancel=_kill
            )
        except (OSError, ValueError) as error:
            return Miss(f"it cannot be started ({type(error).__name__})", again=True)
        return Miss(f"it ended with {ended.returncode}", again=True) if ended.returncode else None


async def _kill(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Webhook:
    """A URL that the alert is posted to."""

    def __init__(self, url: str) -> None:
        self._url = Secret(url)
        parts = urlsplit(url)
        self.name = f"webhook {parts.scheme}://{parts.hostname}"

    async def tell(self, body: bytes) -> Miss | None:
        """Post it once; the answer's status is all that is read of it."""
        outcome = await post_once(self._url.reveal(), body)
        if isinstance(outcome, str):
            return Miss(outcome, again=True)
        return None if 200 <= outcome < 300 else Miss(f"it answered {outcome}", again=outcome in _AGAIN)  # noqa: PLR2004 - HTTP's own


class Notifier:
    """Tells one who wants to know, an alert at a time, in their order."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._waiting: deque[bytes] = deque()
        self._more = trio.Event()
        self._over = trio.Event()
        # Nothing that ends the line ends what has to be told of it; the deadline that end() sets does, and give_up().
        self._scope = trio.CancelScope(shield=True)

    def put(self, change: Change) -> None:
        """Have it told as soon as may be."""
        if len(self._waiting) == MOST_WAITING:
            log.warning("alert_not_delivered", to=self._way.name, because=f"{MOST_WAITING} others are waiting")
            return
        self._waiting.append(json.dumps(_fields(change, datetime.now(UTC)), ensure_ascii=False).encode())
        self._more.set()

    async def run(self) -> None:
        """Deliver until :meth:`end` and nothing is left, or its time is over, or :meth:`give_up`; cancelling alone does not end it."""
        with self._scope:
            while self._waiting or not self._over.is_set():
                if self._waiting:
                    await self._deliver(self._waiting[0])
                    self._waiting.popleft()
                else:
                    self._more = trio.Event()
                    await self._more.wait()
        with trio.CancelScope(shield=True):
            # Whoever gave up has put its last alerts in by then.
            await self._over.wait()
        if self._waiting:
            log.warning("alert_not_delivered", to=self._way.name, because="the run was over first", alerts=len(self._waiting))

    def end(self) -> None:
        """Nothing more comes: what is left has a few seconds."""
        self._over.set()
        self._scope.deadline = trio.current_time() + AT_THE_END_S
        self._more.set()
        if self._waiting and not self._scope.cancel_called:
            log.warning("end_waits_for_alerts", to=self._way.name, alerts=len(self._waiting), at_most_s=AT_THE_END_S)

    def give_up(self) -> None:
        """Tell nothing more: whoever waits for the end wants it at once."""
        self._scope.cancel()

    async def _deliver(self, body: bytes) -> None:
        miss, attempts = None, 0
        for delay_s in (0.0, *DELAYS_S):
            with trio.move_on_after(delay_s):
                await self._over.wait()
            attempts += 1
            miss = await self._attempt(body)
            if miss is None or not miss.again:
                break
        if miss is not None:
            log.warning("alert_not_delivered", to=self._way.name, because=miss.why, attempts=attempts)

    async def _attempt(self, body: bytes) -> Miss | None:
        with trio.move_on_after(ONE_S):
            return await self._way.tell(body)
        return Miss(f"it took longer than {ONE_S:g} s", again=True)


def notifiers(settings: AlertSettings) -> Iterator[Notifier]:
    """One for each way that the settings name.

    Raises:
        UsageError: there is no such command.
    """
    if settings.command:
        if shutil.which(settings.command[0]) is None:
            raise UsageError("alerts.command begins with no program that can be run; give its path, and each argument as a text of its own")
        yield Notifier(Command(settings.command))
    if settings.webhook is not None:
        yield Notifier(Webhook(settings.webhook))


def _fields(change: Change, at: datetime) -> dict[str, Any]:
    alert = change.alert
    text = f"headrace: {alert.text}" if change.on else f"headrace: over, {'the run has ended' if change.ended else alert.text}"
    return {
        "alert": alert.rule,
        "state": "on" if change.on else "off",
        "pool": alert.subject,
        "value": round(alert.value, 6),
        "threshold": alert.threshold,
        "at": at.isoformat(timespec="milliseconds"),
        "run_ended": change.ended,
        "text": text,
    }
