from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.cache.in_flight import InFlight, Leads
from headrace.records import Hit, Match, Strategy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HIT = Hit(
    prompt="a cat",
    strategy=Strategy.COALESCED,
    pictures=(),
    model="m",
    size="1x1",
    quality="low",
    cost_usd=0.1,
    match=Match(of="leader", similarity=1.0),
)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        with trio.fail_after(1e6):
            await test()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def test_a_key_has_one_leader_in_all_lines() -> None:
    flights = InFlight()
    one, other = flights.line(), flights.line()
    assert one.lead("a")
    assert not one.lead("a")
    assert not other.lead("a")
    assert other.lead("b")
    assert flights.flight("a") is not None
    assert flights.flight("c") is flights.flight(None) is None


def test_all_followers_get_what_the_leader_got() -> None:
    async def test() -> None:
        flights = InFlight()
        found = []

        async def follow(line: Leads) -> None:
            found.append(await line.follow("a"))

        with flights.line() as leader, flights.line() as other:
            assert leader.lead("a")
            async with trio.open_nursery() as nursery:
                for line in (leader, other, other):
                    nursery.start_soon(follow, line)
                await wait_all_tasks_blocked()
                leader.land("a", HIT)
            assert found == [HIT] * 3
            assert await other.follow("a") is None, "nobody leads it any more"
            assert other.lead("a")

    run(test)


def test_a_line_that_is_left_leaves_its_keys_and_no_others() -> None:
    async def test() -> None:
        flights = InFlight()
        found = []

        async def follow(line: Leads) -> None:
            found.append(await line.follow("a"))

        with flights.line() as other:
            assert other.lead("b")
            async with trio.open_nursery() as nursery:
                with suppress(KeyError), flights.line() as leader:
                    assert leader.lead("a")
                    nursery.start_soon(follow, other)
                    await wait_all_tasks_blocked()
                    raise KeyError
            assert found == [None]
            assert flights.flight("b") is not None
            assert other.lead("a")
        assert not flights._flights

    run(test)


def test_a_line_lands_only_what_it_leads() -> None:
    flights = InFlight()
    with flights.line() as one, flights.line() as other:
        assert one.lead("a")
        other.land("a", HIT)
        other.land("never", HIT)
        assert flights.flight("a") is not None
        one.land("a", HIT)
        assert other.lead("a")
        one.land("a", None)
        assert flights.flight("a") is not None, "what was landed once is not landed for its next leader"


def test_who_follows_a_flight_is_not_confused_by_the_next_one_under_its_key() -> None:
    async def test() -> None:
        with InFlight().line() as line:
            flights = line._flights
            assert line.lead("a")
            first = flights["a"]
            line.land("a", HIT)
            assert line.lead("a")
            assert await first.follow() is HIT
            assert flights["a"] is not first

    run(test)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.sampled_from(["lead", "land", "leave"]))))
def test_a_key_is_in_flight_as_long_as_its_one_leader_has_it(steps: list[tuple[int, str, str]]) -> None:
    flights = InFlight()
    lines = [flights.line() for _ in range(3)]
    led: dict[str, int] = {}
    for which, key, step in steps:
        if step == "lead":
            assert lines[which].lead(key) is (key not in led)
            led.setdefault(key, which)
        elif step == "land":
            lines[which].land(key, HIT)
            if led.get(key) == which:
                del led[key]
        else:
            lines[which].__exit__(None, None, None)
            led = {key: leader for key, leader in led.items() if leader != which}
        assert flights._flights.keys() == led.keys()
