"""The simulator's door: every call that comes to it, what it takes of whose limits, and how it ended."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

import attrs
import trio
from starlette.datastructures import Headers

from headrace.models import article_tokens
from headrace.simulator import make_app
from headrace.simulator.faults import FAULTS, Stage
from headrace.simulator.replies import Reply
from headrace.simulator.validate import parse
from headrace.tokens import prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starlette.types import Message, Receive, Scope, Send

    from headrace.owners import Owner
    from headrace.simulator import World

WINDOW_S = 60.0
_ROUNDING = 1e-6
_KEPT_OUT = frozenset(
    {"rate_limited", "slow_down", "auth", "bad_request", *(name for name, f in FAULTS.items() if f.stage is Stage.BEFORE)}
)
_USABLE = frozenset({"ok", "wrong_format", "data_url", "slow_body"})
_UNREADABLE = frozenset({"truncated_json", "deep_json"})


class RunawayError(Exception):
    """So many calls came that the line must be going in circles."""


@attrs.define(eq=False, kw_only=True)
class Call:
    """One call at the door; times are virtual."""

    at: float
    life: int
    """Which process it came from: one that is restarted knows nothing of the last minute."""
    pool: str
    key: str
    prompt: str
    images: int
    estimated: int
    """Tokens that the client charged for it."""
    used: int
    """Tokens that it is billed for when it succeeds."""
    usd: float
    """What a picture of it costs."""
    request_id: str | None = None
    """What the client calls it."""
    outcome: str | None = None
    """As the simulator counts it: ``ok``, ``rate_limited``, or the name of a fault."""
    billed: bool = False
    status: int | None = None
    answered: bool = False
    """Whether the whole answer went out."""
    ended: float | None = None

    @property
    def let_in(self) -> bool:
        """Whether it counted against the limits and could be billed."""
        return self.outcome is not None and self.outcome not in _KEPT_OUT

    @property
    def usable(self) -> bool:
        """Whether pictures came that are taken, and whose usage corrects the estimate."""
        return self.answered and self.outcome in _USABLE

    @property
    def in_doubt(self) -> bool:
        """Whether it got no whole answer, so that its sender cannot know if it was billed."""
        return not self.answered and self.outcome not in _KEPT_OUT

    @property
    def unreadable(self) -> bool:
        """Whether its answer is a success that cannot be read; it may be taken as billed or as in doubt."""
        return self.outcome in _UNREADABLE


class _Watched(Counter[str]):
    """A counter that tells when one of its counts is set."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def __setitem__(self, name: str, number: int) -> None:
        self._tell(name)
        super().__setitem__(name, number)


class Door:
    """An ASGI app in front of the simulator that notes every call.

    Args:
        world: the simulator; what it bills and counts is noted with the call that it was for.
        owners: whose limits the client keeps, and with which keys.
        estimator: how the client estimates tokens.
        most: so many calls are no run but a circle.
    """

    def __init__(self, world: World, owners: Sequence[Owner], *, estimator: str = "vendor", most: int = 20_000) -> None:
        self.calls: list[Call] = []
        self.life = 0
        self.at_once: Counter[str] = Counter()
        """Pool -> the most calls that it had at once."""
        self._owners = {owner.name: owner for owner in owners}
        self._pools = {key.secret.reveal(): (owner.name, key.name) for owner in owners for key in owner.keys}
        self._app = make_app(world)
        self._article = estimator == "article"
        self._most = most
        self._active: Counter[str] = Counter()
        self._current: dict[trio.lowlevel.Task, Call] = {}
        world.bill, world.counts = _Watched(self._billed), _Watched(self._counted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the call and pass it on."""
        body, first = await _whole(receive)
        headers = Headers(scope=scope)
        call = self._call(headers.get("authorization", ""), body)
        call.request_id = headers.get("x-client-request-id")
        task = trio.lowlevel.current_task()
        self._current[task] = call
        self._active[call.pool] += 1
        self.at_once[call.pool] = max(self.at_once[call.pool], self._active[call.pool])

        async def again() -> Message:
            return first.popleft() if first else await receive()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)
            call.answered = call.answered or (message["type"] == "http.response.body" and not message.get("more_body"))

        try:
            await self._app(scope, again, noting)
        finally:
            call.ended = trio.current_time()
            self._active[call.pool] -= 1
            del self._current[task]

    def restarted(self) -> None:
        """From now on calls come from a new process."""
        self.life += 1

    def broken_limits(self) -> Iterator[str]:
        """Every pool and limit that got more from one process than the client promises, in some 60 s or at one moment."""
        for (pool, life), calls in self._by_pool().items():
            limits = self._owners[pool].limits
            for what, limit, amounts in (
                ("images", limits.images_per_minute, [call.images for call in calls]),
                ("requests", limits.requests_per_minute, [1] * len(calls)),
            ):
                most, at = _most_in_a_window(calls, amounts)
                if limit is not None and most > limit + _ROUNDING:
                    yield f"pool {pool} got {most:g} {what} in the 60 s before {at:.3f}, its limit is {limit:g} (life {life})"
            if limits.tokens_per_minute is not None:
                yield from _broken_tokens(pool, calls, limits.tokens_per_minute)
            if limits.max_concurrency is not None and self.at_once[pool] > limits.max_concurrency:
                yield f"pool {pool} got {self.at_once[pool]} calls at once, its limit is {limits.max_concurrency}"

    def _by_pool(self) -> Mapping[tuple[str, int], list[Call]]:
        found: dict[tuple[str, int], list[Call]] = defaultdict(list)
        for call in self.calls:
            found[call.pool, call.life].append(call)
        return found

    def _call(self, authorization: str, body: bytes) -> Call:
        if len(self.calls) >= self._most:
            raise RunawayError(f"{self._most} calls at the door at {trio.current_time():.3f} s")
        pool, key = self._pools[authorization.removeprefix("Bearer ")]
        parsed = parse(body)
        if isinstance(parsed, Reply):
            call = Call(at=trio.current_time(), life=self.life, pool=pool, key=key, prompt="", images=1, estimated=0, used=0, usd=0.0)
        else:
            request = parsed.request
            inputs, outputs = prompt_tokens(request.prompt), parsed.model.output_tokens(request)
            call = Call(
                at=trio.current_time(),
                life=self.life,
                pool=pool,
                key=key,
                prompt=request.prompt,
                images=request.n,
                estimated=inputs + (article_tokens(request) if self._article else outputs),
                used=inputs + parsed.output_tokens,
                usd=parsed.model.cost_usd(inputs, parsed.output_tokens) or 0.0,
            )
        self.calls.append(call)
        return call

    def _billed(self, _prompt: str) -> None:
        self._current[trio.lowlevel.current_task()].billed = True

    def _counted(self, outcome: str) -> None:
        self._current[trio.lowlevel.current_task()].outcome = outcome


async def _whole(receive: Receive) -> tuple[bytes, deque[Message]]:
    """The body, and the messages that it came in."""
    messages: deque[Message] = deque()
    while True:
        messages.append(await receive())
        if messages[-1]["type"] != "http.request" or not messages[-1].get("more_body"):
            return b"".join(message.get("body", b"") for message in messages), messages


def _most_in_a_window(calls: Sequence[Call], amounts: Sequence[int]) -> tuple[float, float]:
    most, at, total, first = 0.0, 0.0, 0.0, 0
    for last, call in enumerate(calls):
        total += amounts[last]
        while calls[first].at <= call.at - WINDOW_S:
            total -= amounts[first]
            first += 1
        if total > most:
            most, at = total, call.at
    return most, at


def _broken_tokens(pool: str, calls: Sequence[Call], limit: float) -> Iterator[str]:
    """What is promised of tokens: when a call leaves, the last minute holds no more than the limit as far as anybody knows then.

    A call counts as estimated until its answer is there, and as billed from then on; where both are the same that is the limit itself.
    """
    first = 0
    for last, call in enumerate(calls):
        while calls[first].at <= call.at - WINDOW_S:
            first += 1
        total = call.estimated + sum(_known(each, call.at) for each in calls[first:last])
        if total > limit + _ROUNDING:
            yield f"pool {pool} got {total:g} tokens in the 60 s before {call.at:.3f}, its limit is {limit:g}"
            return


def _known(call: Call, now: float) -> int:
    if not call.usable or call.ended is None or call.ended > now:
        return call.estimated
    # Answers of this very moment may be in the books already or not.
    return call.used if call.ended < now else min(call.used, call.estimated)
