"""Every network fault through the whole line: prompts end well after a retry, or fail with their reason, and the books agree."""

from __future__ import annotations

import socket
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import attrs
import pytest
import trio
from reliability.proxy import Fault, How, Proxy, Where, open_proxy

from headrace.admission.retry import RetryPolicy
from headrace.assembly import open_race
from headrace.journal.status import status
from headrace.records import Kind, Result, Status
from headrace.settings import CacheSettings, FallbackSettings, KeySettings, PoolSettings, ProviderSettings, RunSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from headrace.race import Race

KEY = "sk-canary-0123456789abcdefXYZ"
PATIENCE_S = 30.0
# Waiting is the admission's business and tested there in virtual time.
AT_ONCE = RetryPolicy(base_s=0.0)
PROMPTS = ("a fox", "an owl", "a hare")
SILENCE_S = 0.5


@attrs.frozen
class Expected:
    """What one struck call is to the client and to the server."""

    fault: Fault
    kind: Kind = Kind.NETWORK
    billed: bool = True
    """Whether the server made a picture for it."""


STRIKES: dict[str, Expected] = {
    "reset as soon as it stands": Expected(Fault(where=Where.CONNECTED, how=How.RESET), billed=False),
    "closed as soon as it stands": Expected(Fault(where=Where.CONNECTED, how=How.CLOSE), billed=False),
    "a black hole": Expected(Fault(where=Where.CONNECTED, how=How.SILENCE), Kind.TIMEOUT, billed=False),
    "reset before the request went on": Expected(Fault(where=Where.ARRIVED, how=How.RESET), billed=False),
    "reset after the request": Expected(Fault(where=Where.FORWARDED, how=How.RESET)),
    "closed after the request": Expected(Fault(where=Where.FORWARDED, how=How.CLOSE)),
    "silent after the request": Expected(Fault(where=Where.FORWARDED, how=How.SILENCE), Kind.TIMEOUT),
    "reset in the head": Expected(Fault(where=Where.HEAD, how=How.RESET, at=20)),
    "closed in the head": Expected(Fault(where=Where.HEAD, how=How.CLOSE, at=20)),
    "silent in the head": Expected(Fault(where=Where.HEAD, how=How.SILENCE, at=20), Kind.TIMEOUT),
    "reset in the body": Expected(Fault(where=Where.BODY, how=How.RESET, at=500)),
    "truncated": Expected(Fault(where=Where.BODY, how=How.CLOSE, at=500)),
    "silent in the body": Expected(Fault(where=Where.BODY, how=How.SILENCE, at=500), Kind.TIMEOUT),
}
HARMLESS: dict[str, Fault] = {
    "late": Fault(delay_s=0.02),
    "in slices": Fault(piece=512, pause_s=0.0005),
    "a little at a time": Fault(piece=2**12, pause_s=0.002),
    "closed between two requests": Fault(how=How.CLOSE),
    "reset between two requests": Fault(how=How.RESET),
    "closed under the second request": Fault(where=Where.ARRIVED, how=How.CLOSE, exchange=2),
    "reset under the second request": Fault(where=Where.ARRIVED, how=How.RESET, exchange=2),
}


@attrs.define
class Ran:
    """What came of a run."""

    world: World
    results: Mapping[str, Result] = attrs.field(factory=dict)
    forwarded: int = 0
    request_ids: list[bytes] = attrs.field(factory=list)
    attempts: Mapping[str, int] = attrs.field(factory=dict)

    def books_agree(self) -> bool:
        """The bill is between what is known to be paid and what may be."""
        known = self.attempts["paid"] + self.attempts["spoilt"]
        return known <= self.world.bill.total() <= known + self.attempts["unknown"] + self.attempts["open"]


def settings(folder: Path, base_url: str, timeout_s: float) -> Settings:
    return Settings(
        provider=ProviderSettings(base_url=base_url, timeout_s=timeout_s),
        pool=(PoolSettings(name="studio", max_concurrency=1),),
        key=(KeySettings(name="studio-a", pool="studio", env="KEY"),),
        cache=CacheSettings(policy="off"),
        fallback=FallbackSettings(ladder=()),
        run=RunSettings(out_dir=str(folder), journal=True),
    )


def nothing_is_held(race: Race) -> None:
    assert not any(books.in_flight for books in race.statistics())
    assert race.primary.memory.free == race.primary.memory.capacity
    for client in race.primary.clients.values():
        transport: Any = client._http._transport
        assert not transport._pool._requests
        assert all(connection.is_idle() for connection in transport._pool.connections)


async def results_of(folder: Path, base_url: str, prompts: tuple[str, ...], timeout_s: float = 10.0) -> dict[str, Result]:
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_race(settings(folder, base_url, timeout_s), environ={"KEY": KEY}) as race:
        race.primary = attrs.evolve(race.primary, retry=AT_ONCE)
        async with race.results([{"prompt": prompt, "id": prompt} for prompt in prompts]) as results:
            found = [result async for result in results]
        nothing_is_held(race)
    # What the other end does about its connections takes its time.
    await until(lambda: trio.lowlevel.current_statistics().tasks_living == before)
    assert Counter(result.id for result in found) == Counter(prompts)
    return {result.id: result for result in found}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the server is in another thread
        await trio.sleep(0.001)


def bounded(main: Callable[..., Any], *arguments: Any) -> None:
    async def in_time() -> None:
        with trio.fail_after(PATIENCE_S):
            await main(*arguments)

    trio.run(in_time)


@pytest.fixture
def run(on_loopback: Callable[[World], str], tmp_path: Path) -> Callable[..., Ran]:
    """``run(choose, prompts, timeout_s)``: prompts through a line, a proxy that breaks connections, and a simulated API."""

    def through(choose: Callable[[int], Fault], prompts: tuple[str, ...], timeout_s: float = 10.0) -> Ran:
        pool = SimulatedPool(name="studio", keys=(KEY,), images_per_minute=None, max_concurrency=None)
        ran = Ran(World(SimulatorSettings(pools=(pool,), latency_s=0, pictures="template")))

        async def main(target: int) -> None:
            async with open_proxy(target) as proxy:
                proxy.choose = choose
                ran.results = await results_of(tmp_path, f"http://127.0.0.1:{proxy.port}/v1", prompts, timeout_s)
                ran.forwarded, ran.request_ids = proxy.forwarded, names(proxy)
                # Those that nobody waits for any more are made and billed nevertheless.
                await until(lambda: ran.world.bill.total() == proxy.forwarded)
                ran.attempts = status(tmp_path)["attempts"]

        bounded(main, urlsplit(on_loopback(ran.world)).port)
        return ran

    return through


def names(proxy: Proxy) -> list[bytes]:
    fields = [dict(line.lower().split(b": ", 1) for line in head.strip().split(b"\r\n")[1:]) for head in proxy.arrived]
    return [each[b"x-client-request-id"] for each in fields]


@pytest.mark.parametrize("expected", STRIKES.values(), ids=STRIKES)
def test_a_fault_that_passes_costs_a_retry_and_no_prompt(expected: Expected, run: Callable[..., Ran]) -> None:
    ran = run(lambda number: expected.fault if number == 1 else Fault(), PROMPTS, SILENCE_S if expected.kind is Kind.TIMEOUT else 10.0)
    assert [result.status for result in ran.results.values()] == [Status.OK] * 3
    assert sorted(result.attempts for result in ran.results.values()) == [1, 1, 2]
    assert sorted(ran.world.bill.values()) == ([1, 1, 2] if expected.billed else [1, 1, 1])
    assert (ran.attempts["paid"], ran.attempts["spoilt"], ran.attempts["open"]) == (3, 0, 0)
    assert ran.attempts["unknown"] + ran.attempts["unpaid"] == 1
    assert ran.books_agree()
    assert len(set(ran.request_ids)) == len(ran.request_ids)


@pytest.mark.parametrize("expected", STRIKES.values(), ids=STRIKES)
def test_a_fault_that_stays_ends_its_prompt_with_its_reason(expected: Expected, run: Callable[..., Ran]) -> None:
    ran = run(lambda _: expected.fault, ("a fox",), SILENCE_S / 2 if expected.kind is Kind.TIMEOUT else 10.0)
    result = ran.results["a fox"]
    assert (result.status, result.attempts) == (Status.FAILED, 4)
    assert result.error is not None
    assert (result.error.kind, result.error.status, result.error.retryable) == (expected.kind, None, True)
    assert result.error.message
    assert ran.world.bill.total() == (4 if expected.billed else 0)
    assert (ran.attempts["paid"], ran.attempts["spoilt"], ran.attempts["open"]) == (0, 0, 0)
    assert ran.books_agree()


@pytest.mark.parametrize("fault", HARMLESS.values(), ids=HARMLESS)
def test_what_only_takes_time_and_kept_connections_that_go_never_cost_a_second_picture(fault: Fault, run: Callable[..., Ran]) -> None:
    ran = run(lambda _: fault, PROMPTS)
    assert [result.status for result in ran.results.values()] == [Status.OK] * 3
    assert ran.world.bill == dict.fromkeys(PROMPTS, 1)
    assert (ran.attempts["paid"], ran.attempts["spoilt"], ran.attempts["open"]) == (3, 0, 0)
    assert ran.books_agree()
    # One that leaves while its connection goes may arrive nowhere; none arrives twice.
    assert len(set(ran.request_ids)) == len(ran.request_ids)
    assert 3 <= len(ran.request_ids) <= 3 + ran.attempts["unknown"]


@pytest.mark.parametrize("linger_s", [0.001, 0.01, 0.03])
def test_a_kept_connection_that_closes_at_any_moment_costs_no_more_than_the_journal_says(linger_s: float, run: Callable[..., Ran]) -> None:
    # The end comes before a request, under it, or after it went on: then its picture is made, and nobody gets it.
    ran = run(lambda number: Fault(how=How.CLOSE, linger_s=linger_s) if number < 3 else Fault(), PROMPTS)
    assert [result.status for result in ran.results.values()] == [Status.OK] * 3
    assert ran.attempts["paid"] == 3
    assert ran.books_agree()
    assert len(set(ran.request_ids)) == len(ran.request_ids)


class NoNames(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *_: Any, **__: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("why", ["no such host", "no host can be called so", "nobody listens", "no TLS there", "it speaks something else"])
def test_what_is_never_reached_ends_prompts_with_the_reason_and_without_doubt(why: str, tmp_path: Path, listening: Any) -> None:
    async def greets(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 mail.example ESMTP\r\n")
        await stream.receive_some()

    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(NoNames())
        with trio.socket.socket() as free:
            await free.bind(("127.0.0.1", 0))
            nobody = free.getsockname()[1]
        async with trio.open_nursery() as nursery:
            port = await listening(nursery, greets)
            url = {
                "no such host": "https://api.invalid/v1",
                "no host can be called so": f"https://{'a' * 64}.invalid/v1",
                "nobody listens": f"http://127.0.0.1:{nobody}/v1",
                "no TLS there": f"https://127.0.0.1:{port}/v1",
                "it speaks something else": f"http://127.0.0.1:{port}/v1",
            }[why]
            result = (await results_of(tmp_path, url, ("a fox",)))["a fox"]
            nursery.cancel_scope.cancel()
        assert (result.status, result.attempts) == (Status.FAILED, 4)
        assert result.error is not None
        assert (result.error.kind, result.error.retryable) == (Kind.NETWORK, True)
        # A request went out to what speaks something else, whatever that made of it.
        outcome = "unknown" if why == "it speaks something else" else "unpaid"
        assert status(tmp_path)["attempts"] == {"paid": 0, "spoilt": 0, "unpaid": 0, "unknown": 0, "open": 0} | {outcome: 4}

    bounded(main)
