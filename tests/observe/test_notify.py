from __future__ import annotations

import json
import logging
import os
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from headrace.errors import UsageError
from headrace.observe.alerts import Alert, Change
from headrace.observe.notify import AT_THE_END_S, DELAYS_S, MOST_WAITING, ONE_S, Command, Miss, Notifier, Webhook, notifiers
from headrace.settings import AlertSettings
from headrace.simulator import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

SECRET = "XXXXsecretXXXX"


def change(*, on: bool = True, rule: str = "error_rate", **more: Any) -> Change:
    alert = Alert(rule=rule, value=0.25, threshold=0.1, text="25% of 40 prompts failed (threshold 10%)")
    return Change(on=on, alert=alert, **more)


class Friend:
    """Somebody who is told, and is down, slow or well."""

    name = "friend"

    def __init__(self, *misses: Miss | None, takes_s: float = 0.0) -> None:
        self._misses = list(misses)
        self._takes_s = takes_s
        self.told: list[tuple[float, str]] = []

    async def tell(self, body: bytes) -> Miss | None:
        self.told.append((trio.current_time(), json.loads(body)["state"]))
        await trio.sleep(self._takes_s)
        return self._misses.pop(0) if self._misses else None


def run(main: Callable[[], Awaitable[None]], *, virtual: bool = False) -> None:
    async def in_time() -> None:
        with trio.fail_after(1e6 if virtual else 20):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0) if virtual else None)


@asynccontextmanager
async def working(notifier: Notifier) -> AsyncIterator[None]:
    async with trio.open_nursery() as services:
        services.start_soon(notifier.run)
        yield
        notifier.end()


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.msg for record in caplog.records if isinstance(record.msg, dict)]


DOWN = Miss("ConnectError", again=True)


def test_who_is_down_is_tried_again_with_growing_delays_and_the_order_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        began, friend = trio.current_time(), Friend(DOWN, DOWN)
        async with working(notifier := Notifier(friend)):
            notifier.put(change())
            notifier.put(change(on=False))
            await trio.sleep(100)
        first, second = DELAYS_S[:2]
        moments = [(0.0, "on"), (first, "on"), (first + second, "on"), (first + second, "off")]
        assert [(at - began, state) for at, state in friend.told] == moments

    run(main, virtual=True)
    assert caplog.records == []


def test_who_stays_down_is_given_up_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        friend = Friend(*[DOWN] * 9)
        async with working(notifier := Notifier(friend)):
            notifier.put(change())
            await trio.sleep(100)
        assert len(friend.told) == 1 + len(DELAYS_S)

    run(main, virtual=True)
    (record,) = caplog.records
    assert record.msg["event"] == "alert_not_delivered"  # type: ignore[index]  # structlog's
    assert (record.msg["because"], record.msg["attempts"]) == ("ConnectError", 4)  # type: ignore[index]


def test_what_cannot_help_is_not_tried_again() -> None:
    async def main() -> None:
        friend = Friend(Miss("it answered 404", again=False))
        async with working(notifier := Notifier(friend)):
            notifier.put(change())
            await trio.sleep(100)
        assert len(friend.told) == 1

    run(main, virtual=True)


def test_one_attempt_has_its_time() -> None:
    async def main() -> None:
        began, friend = trio.current_time(), Friend(takes_s=1e5)
        async with working(notifier := Notifier(friend)):
            notifier.put(change())
            await trio.sleep(60)
        assert friend.told[1][0] - began == ONE_S + DELAYS_S[0]

    run(main, virtual=True)


def test_at_the_end_there_are_a_few_seconds_for_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        began, friend = trio.current_time(), Friend(takes_s=2.0)
        async with working(notifier := Notifier(friend)):
            for on in (True, False, True, False):
                notifier.put(change(on=on))
        assert trio.current_time() - began == AT_THE_END_S
        assert [state for _, state in friend.told] == ["on", "off", "on"]

    run(main, virtual=True)
    waits, lost = events(caplog)
    assert (waits["event"], waits["alerts"], waits["at_most_s"]) == ("end_waits_for_alerts", 4, AT_THE_END_S)
    assert (lost["event"], lost["because"], lost["alerts"]) == ("alert_not_delivered", "the run was over first", 2)


def test_who_gives_up_waits_for_nothing_and_hears_of_what_was_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        began, friend = trio.current_time(), Friend(takes_s=1e5)
        async with working(notifier := Notifier(friend)):
            notifier.put(change())
            await trio.sleep(1)
            notifier.give_up()
            await trio.sleep(1)
            notifier.put(change(on=False))
        assert trio.current_time() - began == 2

    run(main, virtual=True)
    assert [(event["event"], event["alerts"]) for event in events(caplog)] == [("alert_not_delivered", 2)]


def test_who_is_waited_for_is_tried_again_at_once_when_the_run_ends() -> None:
    async def main() -> None:
        began, friend = trio.current_time(), Friend(DOWN)
        async with working(notifier := Notifier(friend)):
            notifier.put(change())
            await trio.sleep(DELAYS_S[0] / 2)
        assert [at - began for at, _ in friend.told] == [0.0, DELAYS_S[0] / 2]

    run(main, virtual=True)


def test_a_line_that_is_cancelled_has_its_end_told_all_the_same() -> None:
    async def main() -> None:
        friend = Friend(takes_s=2.0)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as services:
                notifier = Notifier(friend)
                services.start_soon(notifier.run)
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    notifier.put(change())
                    notifier.put(change(on=False))
                    notifier.end()
        assert [state for _, state in friend.told] == ["on", "off"]

    run(main, virtual=True)


def test_a_queue_that_is_full_takes_no_more_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        notifier = Notifier(Friend())
        for _ in range(MOST_WAITING + 1):
            notifier.put(change())

    run(main, virtual=True)
    assert [record.msg["because"] for record in caplog.records] == ["100 others are waiting"]  # type: ignore[index]


def test_a_command_is_run_without_a_shell_and_reads_the_alert(tmp_path: Path) -> None:
    out = tmp_path / "$(told) *"
    copy = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"

    async def main() -> None:
        notifier = next(notifiers(AlertSettings(command=(sys.executable, "-c", copy, str(out)))))
        async with working(notifier):
            notifier.put(change(ended=False))

    run(main)
    told = json.loads(out.read_bytes())
    assert told.pop("at")
    assert told == {
        "alert": "error_rate",
        "state": "on",
        "pool": None,
        "value": 0.25,
        "threshold": 0.1,
        "run_ended": False,
        "text": "headrace: 25% of 40 prompts failed (threshold 10%)",
    }


def test_a_command_that_fails_is_a_miss() -> None:
    async def main() -> None:
        assert await Command(("false",)).tell(b"{}") == Miss("it ended with 1", again=True)
        assert await Command(("/dev/null",)).tell(b"{}") == Miss("it cannot be started (PermissionError)", again=True)

    run(main)


def test_a_command_that_never_ends_is_killed_with_its_time(tmp_path: Path) -> None:
    started = tmp_path / "started"
    stubborn = Command(("sh", "-c", 'trap "" TERM; echo $$ > "$0"; exec sleep 600', str(started)))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stubborn.tell, b"{}")
            while not (started.exists() and started.read_text().endswith("\n")):  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()

    run(main)
    with pytest.raises(ProcessLookupError):
        os.killpg(int(started.read_text()), 0)


def test_a_command_that_there_is_not_is_said_at_the_start() -> None:
    with pytest.raises(UsageError, match=r"alerts\.command begins with no program"):
        list(notifiers(AlertSettings(command=("no-such-program --with arguments",))))


class Hook:
    """A webhook on loopback."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.seen: list[tuple[str, str, dict[str, str], Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append((scope["method"], scope["raw_path"].decode() + "?" + scope["query_string"].decode(), headers, json.loads(body)))
        status = self._statuses.pop(0) if self._statuses else 204
        location = [(b"location", b"http://127.0.0.1:1/elsewhere")] if status in (302, 307) else []
        await send({"type": "http.response.start", "status": status, "headers": location})
        await send({"type": "http.response.body", "body": b"" if status == 204 else SECRET.encode() * 10_000})


def test_a_webhook_gets_the_alert_and_no_log_its_url(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hook = Hook(200, 500, 307, 404, 429)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, hook, "127.0.0.1", 0)
            webhook = Webhook(f"http://user:{SECRET}@127.0.0.1:{port}/services/{SECRET}?token={SECRET}%2F1")
            misses = [await webhook.tell(b'{"alert": "error_rate"}') for _ in range(6)]
            assert misses == [
                None,
                Miss("it answered 500", again=True),
                Miss("it answered 307", again=False),
                Miss("it answered 404", again=False),
                Miss("it answered 429", again=True),
                None,
            ]
            assert webhook.name == "webhook http://127.0.0.1"
            nursery.cancel_scope.cancel()

    run(main)
    method, path, headers, body = hook.seen[0]
    assert (method, path, body) == ("POST", f"/services/{SECRET}?token={SECRET}%2F1", {"alert": "error_rate"})
    assert headers["content-type"] == "application/json"
    assert headers["authorization"].startswith("Basic ")
    assert len(hook.seen) == 6
    assert "127.0.0.1" in caplog.text  # httpx does log
    assert SECRET not in caplog.text


def test_a_webhook_where_nobody_listens_is_a_miss_by_its_kind_alone() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/{SECRET}"

        async def main() -> None:
            assert await Webhook(url).tell(b"{}") == Miss("ConnectError", again=True)

        run(main)
