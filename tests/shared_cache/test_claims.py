"""Processes that claim the same keys, in virtual time."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from headrace.shared_cache.claims import AT_ONCE, KEPT, LEASE_S, LOOK_S, MANY, Claims

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.shared_cache.conftest import FakeLink, FakeStore

    LinkTo = Callable[[FakeStore], FakeLink]

KEPT_S = 1e6


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: who waits for ever fails at once.
        with trio.fail_after(1e5):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


@attrs.define(eq=False)
class Process:
    """One that has claims."""

    claims: Claims
    link: FakeLink
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Cancelled, it is killed: nothing of it is left, and nobody is told."""

    async def live(self, *work: Callable[[], Awaitable[None]]) -> None:
        """Renew and look until all work is done."""
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.claims.keep)
                nursery.start_soon(self.claims.look)
                async with trio.open_nursery() as working:
                    for each in work:
                        working.start_soon(each)
                nursery.cancel_scope.cancel()


@pytest.fixture
def process(store: FakeStore, link_to: LinkTo) -> Callable[[], Process]:
    """``process()``: another one with the same store."""

    def make() -> Process:
        link = link_to(store)
        return Process(Claims(link, "test", KEPT_S, Random(1)), link)  # type: ignore[arg-type]  # as much of a link as is used

    return make


@attrs.frozen
class Paid:
    """That somebody paid for a key."""

    key: str
    began: float
    ended: float
    answered: bool


@attrs.frozen
class Task:
    """A prompt of one process."""

    process: int
    keys: str
    begins_s: float
    takes_s: float
    ends: str

    async def run(self, mine: Process, token: str, paid: list[Paid]) -> None:
        """Claim, pay, end."""
        await trio.sleep(self.begins_s)
        with trio.move_on_after(self.takes_s if self.ends == "cancelled" else math.inf) as scope:
            await self._pay(mine, token, paid)
        if scope.cancelled_caught:
            await mine.claims.leave({token: self.keys})

    async def _pay(self, mine: Process, token: str, paid: list[Paid]) -> None:
        if await mine.claims.claim(token, self.keys) is not None:
            return
        began, answered = trio.current_time(), False
        try:
            await trio.sleep(math.inf if self.ends == "cancelled" else self.takes_s)
            if self.ends == "killed":
                mine.scope.cancel()
                await trio.sleep_forever()
            answered = self.ends == "answered"
        finally:
            paid += [Paid(key, began, trio.current_time(), answered) for key in self.keys]
        await mine.claims.end(token, self.keys, *((self.keys, token) if answered else ()))


tasks = st.builds(
    Task,
    process=st.integers(0, 2),
    keys=st.sampled_from(["a", "b", "ab", "bc", "abc"]),
    begins_s=st.floats(0, 60),
    takes_s=st.one_of(st.floats(0.1, 50), st.floats(0.001, 0.03)),
    ends=st.sampled_from(["answered", "answered", "failed", "killed", "cancelled"]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(tasks, min_size=2, max_size=12))
def test_whatever_happens_one_at_a_time_pays_for_a_key_and_nobody_waits_for_ever(
    process: Callable[[], Process], store: FakeStore, each: Sequence[Task]
) -> None:
    paid: list[Paid] = []

    async def main() -> None:
        store.values.clear()
        async with trio.open_nursery() as nursery:
            for number in range(3):
                mine = process()
                work = [partial(task.run, mine, f"{number}:{n}", paid) for n, task in enumerate(each) if task.process == number]
                nursery.start_soon(mine.live, *work)

    run(main)
    assert {key for task in each for key in task.keys} >= {each.key for each in paid}
    for key in "abc":
        of_key = sorted((each for each in paid if each.key == key), key=lambda each: each.began)
        for former, later in pairwise(of_key):
            assert former.ended <= later.began
            assert not former.answered, "what has an answer is not paid for again"
    if all(task.ends != "killed" for task in each):
        assert not [key for key in store.values if ":flight:" in key]


def test_a_killed_process_keeps_others_waiting_for_a_lease_at_most(process: Callable[[], Process]) -> None:
    async def main() -> None:
        one, other = process(), process()

        async def dies() -> None:
            assert await one.claims.claim("one:1", "a") is None
            await trio.sleep(100)
            one.scope.cancel()

        async def waits() -> None:
            await trio.sleep(1)
            assert await other.claims.claim("other:1", "a") is None
            assert 100 < trio.current_time() - began < 100 + LEASE_S + 2 * LOOK_S + 1

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.live, dies)
            nursery.start_soon(other.live, waits)

    run(main)


def test_calls_do_not_grow_with_those_who_wait(process: Callable[[], Process], store: FakeStore) -> None:
    async def main() -> None:
        one, other = process(), process()
        names = [f"k{n}" for n in range(MANY + 1)]

        async def pays() -> None:
            for name in names:
                assert await one.claims.claim(name, [name]) is None
            await trio.sleep(20)
            for name in names:
                await one.claims.end(name, [name], [name], "an answer")

        async def waits() -> None:
            await trio.sleep(19)
            store.calls.clear()
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(found, name)

        async def found(name: str) -> None:
            assert await other.claims.claim(f"other:{name}", [name]) == (name, "an answer")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.live, pays)
            nursery.start_soon(other.live, waits)

    run(main)
    assert store.calls.count("claim") == 2 * (MANY + 1)
    assert 0 < store.calls.count("wait") < 100


def holder(store: FakeStore, key: str) -> str | None:
    return store.get(f"{{test:cache}}:flight:{key}")


def test_leases_hold_while_more_claim_than_the_store_answers_in_the_time_of_one(process: Callable[[], Process], store: FakeStore) -> None:
    names = [f"k{n}" for n in range(AT_ONCE * 25)]

    async def main() -> None:
        one = process()
        one.link.trip_s = 0.9

        async def claims(name: str) -> None:
            assert await one.claims.claim(name, [name]) is None

        began = trio.current_time()
        await one.live(*(partial(claims, name) for name in names))
        assert trio.current_time() - began > LEASE_S
        assert [holder(store, name) for name in names] == names

    run(main)


def test_leases_hold_while_a_store_that_is_back_is_told_what_it_has_missed(process: Callable[[], Process], store: FakeStore) -> None:
    async def main() -> None:
        one = process()

        async def pays() -> None:
            assert await one.claims.claim("one:1", "a") is None
            store.up = False
            for number in range(100):
                await one.claims.end("", "", [f"k{number}"], "an answer")
            store.up = True
            one.link.trip_s = 0.5
            one.link.turn(up=True)
            for _ in range(60):
                await trio.sleep(1)
                assert holder(store, "a") == "one:1"

        await one.live(pays)

    run(main)
    assert len([key for key in store.values if ":answer:" in key]) == 100


def test_thousands_of_claims_end_in_a_few_calls(process: Callable[[], Process], store: FakeStore) -> None:
    async def main() -> None:
        one, other = process(), process()
        mine = {f"one:{n}": (f"k{n}", f"c{n}") for n in range(MANY)}
        for token, keys in mine.items():
            assert await one.claims.claim(token, keys) is None
        assert await other.claims.claim("other:1", ["z"]) is None
        store.calls.clear()
        await one.claims.leave(mine | {"one:-1": ("z",)})
        assert store.calls == ["end"] * 3
        await one.live(partial(trio.sleep, LEASE_S))

    run(main)
    assert [key for key in store.values if ":flight:" in key] == ["{test:cache}:flight:z"]


def test_without_the_store_everybody_pays_alone_and_what_was_paid_is_told_when_it_is_back(process: Callable[[], Process]) -> None:
    async def main() -> None:
        one, other = process(), process()

        async def pays() -> None:
            one.link.store.up = False
            began = trio.current_time()
            assert await one.claims.claim("one:1", "a") is None
            assert trio.current_time() - began < 1, "nobody waits for it"
            await one.claims.end("one:1", "a", "a", "an answer")
            await trio.sleep(60)
            one.link.store.up = True
            one.link.turn(up=True)
            await trio.sleep(1)
            assert await other.claims.claim("other:1", "a") == ("a", "an answer")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.live, pays)
            nursery.start_soon(other.live)

    run(main)


def test_who_waits_goes_on_alone_when_the_store_is_lost_for_a_lease(process: Callable[[], Process]) -> None:
    async def main() -> None:
        one, other = process(), process()

        async def waits() -> None:
            assert await one.claims.claim("one:1", "a") is None
            with trio.move_on_after(3):
                await other.claims.claim("other:0", "a")
            one.link.store.up = False
            lost_at = trio.current_time()
            assert await other.claims.claim("other:1", "a") is None
            assert trio.current_time() - lost_at < 1, "what begins without it waits for nobody"

        async def meanwhile() -> None:
            await trio.sleep(1)
            assert await other.claims.claim("other:2", "a") is None
            assert LEASE_S < trio.current_time() - began < 3 + LEASE_S + 5

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.live, waits, trio.sleep_forever)
            nursery.start_soon(other.live, meanwhile)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()

    run(main)


def test_leases_that_ended_with_the_store_are_their_holders_again_before_anybody_claims(
    process: Callable[[], Process], store: FakeStore
) -> None:
    async def main() -> None:
        one, other = process(), process()

        async def pays() -> None:
            assert await one.claims.claim("one:1", "a") is None
            await trio.sleep(1)
            store.up = False
            await one.claims.end("one:0", "z")  # sees it
            await trio.sleep(60)
            store.values.clear()
            store.up = True
            other.link.turn(up=True)
            await trio.sleep(1)
            one.link.turn(up=True)
            await trio.sleep(30)
            await one.claims.end("one:1", "a", "a", "an answer")

        async def asks() -> None:
            await trio.sleep(2)
            await other.claims.end("other:0", "z")
            await trio.sleep(59.1)
            assert other.link.up
            assert await other.claims.claim("other:1", "a") == ("a", "an answer")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.live, pays)
            nursery.start_soon(other.live, asks)

    run(main)


def test_a_holder_that_saw_nothing_of_a_restart_keeps_its_claim(process: Callable[[], Process], store: FakeStore) -> None:
    async def main() -> None:
        one, other = process(), process()

        async def pays() -> None:
            assert await one.claims.claim("one:1", "a") is None
            await trio.sleep(30)
            await one.claims.end("one:1", "a", "a", "an answer")

        async def asks() -> None:
            await trio.sleep(LEASE_S / 3 + 0.5)
            store.up = False
            await other.claims.end("other:0", "z")
            store.values.clear()
            store.up = True
            other.link.turn(up=True)
            assert one.link.up
            assert await other.claims.claim("other:1", "a") == ("a", "an answer")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.live, pays)
            nursery.start_soon(other.live, asks)

    run(main)


def test_what_waits_for_a_store_that_is_lost_is_bounded(
    process: Callable[[], Process], store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert KEPT >= 1000
    monkeypatch.setattr("headrace.shared_cache.claims.KEPT", 10)

    async def main() -> None:
        one = process()
        store.up = False
        for number in range(12):
            await one.claims.end("", "", [f"k{number}"], "an answer")
        store.up = True
        one.link.turn(up=True)
        await one.claims.catch_up()

    run(main)
    assert len(store.values) == 10


def test_what_a_store_that_is_lost_again_has_not_heard_is_told_the_next_time(process: Callable[[], Process], store: FakeStore) -> None:
    async def main() -> None:
        one = process()
        for number in range(4):
            store.up = number == 3
            one.link.turn(up=True)
            await one.claims.catch_up()
            await one.claims.end("", "", [f"k{number}"], "an answer")

    run(main)
    assert len(store.values) == 4


def test_a_claim_that_ends_while_its_lease_is_set_again_is_over(process: Callable[[], Process], store: FakeStore) -> None:
    async def main() -> None:
        one = process()

        async def pays() -> None:
            assert await one.claims.claim("one:1", "a") is None
            one.link.trip_s = 1.0
            await trio.sleep(LEASE_S / 3 - 0.1)
            store.values.clear()
            await trio.sleep(1.3)
            assert store.calls == ["claim", "renew"], "the second is on its way"
            one.link.trip_s = 0.1
            await one.claims.end("one:1", "a")
            await trio.sleep(2)
            assert store.calls == ["claim", "renew", "end", "renew", "end"]
            assert holder(store, "a") is None

        await one.live(pays)

    run(main)
