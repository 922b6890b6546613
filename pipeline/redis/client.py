"""The only module that knows coredis: a Redis that is asked with a time limit, and whose address nobody gets to see."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import trio

from headrace.errors import UsageError, lone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headrace.secret import Secret

CALL_S = 1.0
"""Who has not answered by then is lost."""
OPEN_S = 5.0


class LostError(Exception):
    """The store did not answer."""


class UnusableError(UsageError):
    """No Redis can be used there: it may come back, as nothing else does that a user has to mend."""


class Redis:
    """A server.

    Args:
        client: of coredis, entered.
        failures: what coredis raises where the server does not answer as it should.
    """

    def __init__(self, client: Any, failures: tuple[type[Exception], ...]) -> None:
        self._client = client
        self._failures = failures
        self._scripts: dict[str, Any] = {}
        self.calls = 0
        """Scripts run so far."""

    async def run(self, script: str, keys: Sequence[str], *args: str) -> Any:
        """Run a Lua script.

        Raises:
            LostError: no answer, or none that can be used; whether it ran is not known.
        """
        if script not in self._scripts:
            self._scripts[script] = self._client.register_script(script)
        self.calls += 1
        return await self._within(self._scripts[script](keys=keys, args=args))

    async def ping(self) -> None:
        """See whether the server answers.

        Raises:
            LostError: it does not.
        """
        await self._within(self._client.ping())

    async def _within(self, request: Any) -> Any:
        why = f"no answer within {CALL_S:g} s"
        with trio.move_on_after(CALL_S):
            try:
                return await request
            except self._failures as error:
                why = type(error).__name__
            except ExceptionGroup as group:
                # Reading and writing may fail each in its own way.
                if group.split(self._failures)[1] is not None:
                    raise
                why = type(lone(group)).__name__
        raise LostError(why) from None


@asynccontextmanager
async def open_redis(url: Secret, password: Secret | None = None) -> AsyncIterator[Redis]:
    """Connect.

    Raises:
        UsageError: the extra is not installed.
        UnusableError: no Redis answers there.
    """
    try:
        import anyio  # noqa: PLC0415 - coredis's
        import coredis  # noqa: PLC0415 - an extra, and half a second
        from coredis.exceptions import RedisError  # noqa: PLC0415 - as above
        from coredis.retry import NoRetryPolicy  # noqa: PLC0415 - as above
    except ImportError:
        raise UsageError("[quota] store needs an extra; install it with: pip install 'headrace[redis]'") from None
    failures = (RedisError, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
    parts = urlsplit(url.reveal())
    # What is tried twice may be booked twice.
    client = coredis.Redis(
        parts.hostname,
        parts.port or 6379,
        db=int(parts.path.strip("/") or 0),
        username=unquote(parts.username) if parts.username else None,
        password=None if password is None else password.reveal(),
        ssl=parts.scheme == "rediss",
        ssl_cert_reqs="required",
        ssl_check_hostname=True,
        connect_timeout=CALL_S,
        retry_policy=NoRetryPolicy(),
    )
    entered, over = False, trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_kept, client, over)
            try:
                redis = Redis(client, failures)
                with trio.fail_after(OPEN_S):
                    await redis.ping()
                entered = True
                yield redis
            finally:
                over.set()
    except (*failures, ExceptionGroup, LostError) as error:
        if entered:
            raise
        cause = lone(error)
        raise unusable(url, str(cause) if isinstance(cause, LostError) else type(cause).__name__) from None


async def _kept(client: Any, over: trio.Event, task_status: trio.TaskStatus[None]) -> None:
    # Its connections live in tasks of their own: whoever is cancelled has something to tell yet.
    with trio.CancelScope() as scope:
        async with client:
            task_status.started()
            await trio.lowlevel.checkpoint()  # whoever was cancelled before will not say that it is over
            scope.shield = True
            await over.wait()
            scope.deadline = trio.current_time() + CALL_S


def unusable(url: Secret, why: str) -> UnusableError:
    """The address is named without what may be secret of it."""
    parts = urlsplit(url.reveal())
    return UnusableError(f"[quota] store: no Redis can be used at {parts.hostname}:{parts.port or 6379}: {why}")
