"""The script against a real Redis. A horizon of years books whole minutes ahead at once, so nothing has to be waited for."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.admission.bucket import Bucket, Terms
from headrace.quota.exchange import CALLS, PAUSED, SCRIPT, TURN, Answer, ask, encoded, keys_of
from headrace.redis.client import Redis, open_redis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tests.conftest import RedisServer

YEARS_US = 10**14
NUMBERS = itertools.count()


@attrs.define
class Books:
    """The books of one pool, with keys of their own, open already unless a test wants them new."""

    store: Redis
    limits: Mapping[str, float]
    prefix: str = attrs.field(factory=lambda: f"test:{next(NUMBERS)}")
    number: int = 0

    def terms(self, largest: Mapping[str, int] | None = None) -> dict[str, Terms]:
        found = {}
        for name, limit in self.limits.items():
            bucket = Bucket(limit)
            if largest is not None:
                bucket.take(largest[name], 0.0)
            found[name] = bucket.terms
        return found

    async def tell(self, **told: Any) -> Answer:
        told = {"worker": "w", "ttl": 10**9, "books": 1} | told
        return Answer.of(await self.store.run(SCRIPT, keys_of(self.prefix, self.limits), encoded(told)))

    async def ask(self, most: int | None = None, horizon: int = YEARS_US, worker: str = "w", out: int = 0, **costs: int) -> Answer:
        self.number += 1
        asked = ask(costs, self.terms(costs), f"{worker}:{self.number}", most, out) | {"horizon": horizon}
        return await self.tell(ask=asked, worker=worker)

    async def open(self) -> None:
        await self.store._client.hset(keys_of(self.prefix, ())[0], {"opened": 1})


def on(redis: RedisServer, main: Callable[[Redis], Awaitable[None]]) -> None:
    async def connected() -> None:
        with trio.fail_after(30):
            async with open_redis(redis.url) as store:
                await main(store)

    trio.run(connected)


def most_in_a_minute(charges: Sequence[tuple[int, int]]) -> int:
    """``charges`` are microseconds and costs."""
    return max(sum(cost for at, cost in charges if start <= at < start + 60_000_000) for start, _ in charges)


ENDS = ("well", "cheaper", "dearer", "released")
requests = st.lists(
    st.tuples(st.integers(1, 10), st.integers(1, 4_000), st.sampled_from(ENDS)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=requests, images=st.integers(10, 200), tokens=st.integers(8_000, 60_000))
def test_no_minute_holds_more_than_a_limit_whatever_is_asked_for(
    redis: RedisServer, requests: list[tuple[int, int, str]], images: int, tokens: int
) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": images, "tokens": tokens})
        await books.open()
        used: dict[str, list[tuple[int, int]]] = {"images": [], "tokens": []}
        for n, billed, end in requests:
            answer = await books.ask(images=n, tokens=billed)
            assert answer.granted
            pace = [terms.unit_s * 1e6 for terms in books.terms().values()]
            if end == "released":
                await books.tell(corrections=[[1, answer.slot_us, -n, pace[0]], [2, answer.slot_us, -billed, pace[1]]])
                continue
            taken = billed // 2 if end == "cheaper" else billed
            await books.tell(corrections=[[2, answer.slot_us, taken - billed, pace[1]]])
            used["images"].append((answer.slot_us, n))
            used["tokens"].append((answer.slot_us, taken))
        for resource, limit in (("images", images), ("tokens", tokens)):
            assert not used[resource] or most_in_a_minute(used[resource]) <= limit

    on(redis, main)


def test_nearly_all_of_a_limit_is_used(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        await books.open()
        slots = [(await books.ask(images=1)).slot_us for _ in range(300)]
        assert 2.97 * 60e6 < slots[-1] - slots[0] < 3.1 * 60e6

    on(redis, main)


def test_all_resources_are_taken_or_none(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 1_000_000, "tokens": 1_000})
        await books.open()
        assert (await books.ask(images=1, tokens=1_000)).granted
        before = await store._client.hgetall(keys_of(books.prefix, books.limits)[4])
        refused = await books.ask(images=1, tokens=1_000, horizon=1_000_000)
        assert not refused.granted
        assert refused.binding == 2
        assert 50 < refused.wait_s < 61
        assert await store._client.hgetall(keys_of(books.prefix, books.limits)[4]) == before

    on(redis, main)


def test_new_books_open_after_a_second_and_with_an_empty_bucket(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 6_000})
        early = await books.ask(images=1)
        assert not early.granted
        assert early.binding == PAUSED
        assert 0.5 < early.wait_s <= 1
        await books.open()
        slots = [(await books.ask(images=1)).slot_us for _ in range(11)]
        assert 100_000 <= slots[-1] - slots[0] <= 110_000  # ten to the second of a hundred, and no burst

    on(redis, main)


def test_what_was_used_without_the_books_counts(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        await books.open()
        await books.tell(past=[[1, 50_000_000, 60, 0], [1, 20_000_000, 40, 0]])
        answer = await books.ask(images=1)
        assert 10 < answer.wait_s < 11.5  # when the first of them is a minute ago

    on(redis, main)


def test_calls_at_once_are_counted_until_they_end_or_their_lease_does(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 1_000_000})
        await books.open()
        assert [(await books.ask(most=2, images=1)).granted for _ in range(2)] == [True, True]
        refused = await books.ask(most=2, images=1, horizon=0)
        assert not refused.granted
        assert refused.binding == CALLS
        await books.tell(over=["w:1"])
        assert (await books.ask(most=2, images=1)).granted
        await books.tell(going=["w:2", "w:4"], ttl=1)  # they end in a microsecond
        assert (await books.ask(most=2, images=1)).granted

    on(redis, main)


def test_a_pause_is_everybody_s(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 600})
        await books.open()
        await books.tell(pause=7_000_000)
        await books.tell(pause=1_000_000)
        answer = await books.ask(images=1)
        assert answer.binding == PAUSED
        assert 6 < answer.wait_s <= 7

    on(redis, main)


def test_processes_are_counted_until_they_leave(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {})
        assert [(await books.tell(worker=name)).workers for name in "aabc"] == [1, 1, 2, 3]
        assert (await books.tell(worker="b", leaves=True)).workers == 2

    on(redis, main)


def test_who_has_to_come_back_is_the_first_then_until_it_gives_up(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        await books.open()
        await books.tell(past=[[1, 30_000_000, 99, 0]])
        large = await books.ask(images=50, worker="a", horizon=0)
        assert not large.granted
        small = await books.ask(images=1, worker="b", horizon=0)
        assert small.wait_s > large.wait_s > 30
        assert (await books.ask(images=1, worker="a", horizon=0)).granted  # its own
        large = await books.ask(images=50, worker="a", horizon=0)
        await books.tell(over=[f"a:{books.number}"])
        assert (await books.ask(images=1, worker="b", horizon=10**6)).wait_s < 31.5

    on(redis, main)


def test_who_is_behind_another_is_told_a_limit_that_it_knows(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100, "tokens": 1_000})
        await books.open()
        await books.tell(past=[[2, 30_000_000, 999, 0]])
        assert (await books.ask(images=1, tokens=500, worker="a", horizon=0)).binding == 2
        for limits, binding in (({"tokens": 1_000}, 1), ({"images": 100}, TURN)):
            behind = await Books(store, limits, books.prefix).ask(worker="b", horizon=0, **dict.fromkeys(limits, 1))
            assert not behind.granted
            assert behind.binding == binding

    on(redis, main)


def test_it_tells_what_all_used(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 600, "tokens": 9_000})
        await books.open()
        await books.ask(images=2, tokens=300)
        assert (await books.ask(images=3, tokens=10)).totals == (5, 310)

    on(redis, main)


def test_all_keys_of_a_pool_are_in_one_slot_of_a_cluster() -> None:
    assert {key.partition("}")[0] for key in keys_of("headrace:api:studio", ["images", "tokens"])} == {"{headrace:api:studio"}


def test_a_correction_of_other_books_changes_nothing(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        opened = 1_700_000_000_000_001
        await store._client.hset(keys_of(books.prefix, ())[0], {"opened": opened})
        slot = (await books.ask(images=10)).slot_us
        assert (await books.tell(corrections=[[1, slot, -10, 6e5]], books=opened + 1)).totals == (10,)
        assert (await books.tell(corrections=[[1, slot, -10, 6e5]], books=opened)).totals == (0,)

    on(redis, main)


def test_books_of_a_clock_that_was_set_back_or_of_another_life_of_the_server_are_new(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        later = int((await store._client.time()).timestamp() * 1e6) + 3_600_000_000
        for what in ({"opened": later, "seen": later, "paused": later}, {"opened": 1, "life": "0" * 40}):
            books = Books(store, {"images": 100})
            await store._client.hset(keys_of(books.prefix, ())[0], what)
            first = await books.ask(images=1, horizon=2_000_000)
            assert first.opened not in (1, later)
            assert not first.granted
            assert first.wait_s == 1.0
            assert (await books.tell()).opened == first.opened

    on(redis, main)


def test_every_key_ends_by_itself(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        await books.open()
        await books.tell(past=[[1, 1, 1, 1]])
        await books.ask(most=5, images=1)
        await books.tell(taught={"images": "much"})
        keys = keys_of(books.prefix, books.limits)
        assert [await store._client.exists([key]) for key in keys] == [1] * 5
        assert all([await store._client.ttl(key) > 0 for key in keys])

    on(redis, main)


def test_what_is_empty_is_not_told() -> None:
    assert json.loads(encoded({"worker": "w", "past": [], "over": [], "pause": None, "ask": None})) == {"worker": "w"}


def test_what_is_learnt_is_taken_from_whoever_knew_what_stood_there_and_told_to_the_others(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        first = await books.tell(taught={"images 100": "cut"})
        assert (first.news, first.stamp > 0) == ({}, True)
        behind = await books.tell(taught={"images 100": "cut as well", "tokens ": "new"})
        assert behind.news == {"images 100": "cut"}
        after = await books.tell(taught={"images 100": "raised"}, heard=behind.stamp)
        assert after.news == {}
        assert (await books.tell(heard=first.stamp)).news == {"images 100": "raised", "tokens ": "new"}
        assert (await books.tell(heard=after.stamp)).news == {}

    on(redis, main)


def test_what_is_learnt_outlives_the_books(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        taught = await books.tell(taught={"images 100": "cut"})
        await store._client.hset(keys_of(books.prefix, ())[0], {"life": "0" * 40})
        again = await books.tell(taught={"images 100": "cut as well"})
        assert again.opened != taught.opened
        assert again.news == {"images 100": "cut"}

    on(redis, main)


def test_calls_that_are_out_are_counted_also_where_nobody_knows_how_many_there_may_be(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 1_000_000})
        await books.open()
        assert [(await books.ask(images=1)).calls for _ in range(3)] == [1, 2, 3]
        assert (await books.tell(over=["w:1"])).calls == 2
        assert 6 < (await books.tell(pause=7_000_000)).pause_s <= 7

    on(redis, main)


def test_a_place_that_comes_free_is_for_the_process_that_has_less_than_its_part(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 1_000_000})
        await books.open()
        assert all([(await books.ask(most=2, images=1, out=out)).granted for out in range(2)])
        assert not (await books.ask(most=2, images=1, horizon=0, worker="v")).granted
        await books.tell(over=["w:1"])
        refused = await books.ask(most=2, images=1, horizon=0, out=1)
        assert (refused.granted, refused.binding) == (False, CALLS)
        assert (await books.ask(most=2, images=1, worker="v")).granted
        assert not (await books.ask(most=2, images=1, horizon=0, out=1)).granted  # it has its part, and keeps none
        await books.tell(over=["w:2"])
        assert (await books.ask(most=2, images=1, worker="v", out=1)).granted

    on(redis, main)


@pytest.mark.parametrize("garbage", [b"", b"mine", b"7", b"3000000000000000 \xff\x00", b"1e300 x", b"9" * 30 + b" x"])
def test_what_no_process_has_written_makes_way(redis: RedisServer, garbage: bytes) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        known = keys_of(books.prefix, ())[3]
        await store._client.hset(known, {"images 100": garbage, "last": garbage})
        heard = await books.tell()
        taught = await books.tell(heard=heard.stamp, taught={"images 100": "cut"})
        assert taught.stamp > heard.stamp
        assert (await books.tell(worker="v")).news == {"images 100": "cut"}

    on(redis, main)


def test_what_was_learnt_a_week_ago_is_forgotten_also_where_something_else_was_learnt_since(redis: RedisServer) -> None:
    async def main(store: Redis) -> None:
        books = Books(store, {"images": 100})
        known = keys_of(books.prefix, ())[3]
        now = int((await store._client.time()).timestamp() * 1e6)
        await store._client.hset(known, {"old": f"{now - 8 * 86_400_000_000} x", "young": f"{now - 6 * 86_400_000_000} x"})
        await books.tell(taught={"images 100": "cut"})
        assert sorted(await store._client.hkeys(known)) == [b"images 100", b"last", b"young"]

    on(redis, main)
