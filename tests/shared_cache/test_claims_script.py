"""The script against a real Redis: it does what the fake of the other tests does, whatever it is asked."""

from __future__ import annotations

import hashlib
import itertools
from random import Random
from typing import TYPE_CHECKING, Any

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.redis.client import Redis, open_redis
from headrace.redis.link import Link
from headrace.shared_cache.claims import SCRIPT, Claims

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.conftest import RedisServer
    from tests.shared_cache.conftest import FakeStore

NUMBERS = itertools.count()
LONG_MS = "1000000"
LEASE_MS = "50000"


def on(redis: RedisServer, main: Callable[[Redis], Awaitable[None]]) -> None:
    async def connected() -> None:
        with trio.fail_after(30):
            async with open_redis(redis.url) as store:
                await main(store)

    trio.run(connected)


keys = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)
tokens = st.sampled_from(["w1:1", "w1:2", "w2:1"])
texts = st.sampled_from(["one answer", "another", "ß"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), keys, tokens, st.one_of(st.just(""), texts)),
        st.tuples(st.just("publish"), keys, tokens, texts),
        keys.flatmap(lambda names: st.tuples(st.just("release"), st.just(names), *[tokens] * len(names))),
        st.tuples(st.just("renew"), keys, st.sampled_from(["", "again"]), tokens),
        st.tuples(st.just("wait"), keys),
        st.tuples(st.just("expire"), keys),
        st.tuples(st.just("stranger"), keys, st.sampled_from(["another type", "for ever", "for long"])),
    ),
    max_size=30,
)


def asked(prefix: str, step: tuple[Any, ...]) -> tuple[list[str], tuple[str, ...]]:
    what, names, *more = step
    answers = [f"{prefix}:answer:{name}" for name in names]
    flights = [f"{prefix}:flight:{name}" for name in names]
    if what == "claim":
        spoilt = hashlib.sha1(more[1].encode()).hexdigest() if more[1] else ""  # noqa: S324 - as Redis does
        return answers + flights, ("claim", more[0], LEASE_MS, spoilt)
    if what == "publish":
        return answers + flights, ("end", str(len(answers)), more[1], LONG_MS, *[more[0]] * len(flights))
    if what == "release":
        return flights, ("end", "0", "", LONG_MS, *more)
    return flights, ("renew", LEASE_MS, more[0], *[more[1]] * len(flights)) if what == "renew" else ("wait",)


async def intrude(real: Redis, names: list[str], how: str) -> None:
    for name in names:
        if ":answer:" in name or how == "another type":
            await real._client.rpush(name, ["a stranger's"])
        else:
            await real._client.set(name, "a stranger's", ex=None if how == "for ever" else 86_400)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=5, max_size=5))
def test_it_does_what_its_model_does(redis: RedisServer, store: FakeStore, several: list[list[tuple[Any, ...]]]) -> None:
    async def main(real: Redis) -> None:
        for each in several:
            prefix = f"{{model-{next(NUMBERS)}}}"
            for step in each:
                names, args = asked(prefix, step)
                if step[0] in ("expire", "stranger"):
                    await real._client.delete(names)
                    for name in names:
                        store.values.pop(name, None)
                if step[0] == "stranger":
                    await intrude(real, names, step[2])
                elif step[0] != "expire":
                    assert await real.run(SCRIPT, names, *args) == store.run(names, *args), step

    on(redis, main)


def test_answers_and_flights_end_by_themselves(redis: RedisServer) -> None:
    prefix = f"{{ends-{next(NUMBERS)}}}"
    names = [f"{prefix}:answer:a", f"{prefix}:flight:a"]

    async def main(real: Redis) -> None:
        assert await real.run(SCRIPT, names, "claim", "w", "5000", "") == [0]
        assert 0 < await real._client.pttl(names[1]) <= 5000
        await real.run(SCRIPT, names[1:], "renew", "9000", "", "w")
        assert 5000 < await real._client.pttl(names[1]) <= 9000
        await real.run(SCRIPT, names, "end", "1", "an answer", "7000", "w")
        assert 0 < await real._client.pttl(names[0]) <= 7000
        assert await real._client.exists([names[1]]) == 0

    on(redis, main)


def test_an_answer_longer_than_any_is_none(redis: RedisServer) -> None:
    prefix = f"{{long-{next(NUMBERS)}}}"
    names = [f"{prefix}:answer:a", f"{prefix}:flight:a"]

    async def main(real: Redis) -> None:
        for length, said in ((2**21, 1), (2**21 + 1, 0)):
            await real._client.set(names[0], "x" * length)
            assert (await real.run(SCRIPT, names, "claim", "w", LEASE_MS, ""))[0] == said
        assert await real._client.exists([names[0]]) == 0

    on(redis, main)


def test_answers_may_be_kept_for_ever(redis: RedisServer) -> None:
    async def main(real: Redis) -> None:
        claims = Claims(Link(real, redis.url), f"ever-{next(NUMBERS)}", 1e20, Random(1))
        await claims.end("one", [], ["a"], "an answer")
        assert await claims.claim("other", ["a"]) == ("a", "an answer")

    on(redis, main)


def test_the_first_mark_of_a_place_holds(redis: RedisServer) -> None:
    name = f"{{mark-{next(NUMBERS)}}}:place"

    async def main(real: Redis) -> None:
        await real._client.rpush(name, ["a stranger's"])
        said = [await real.run(SCRIPT, [name], "place", mark, "60000") for mark in ("", "one", "other", "")]
        assert said == [b"", b"one", b"one", b"one"]
        assert 0 < await real._client.pttl(name) <= 60_000
        await real._client.set(name, "")
        assert await real.run(SCRIPT, [name], "place", "new", "60000") == b"new"

    on(redis, main)
