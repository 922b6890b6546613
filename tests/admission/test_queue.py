from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.booking import Cost
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.admission.queue import LOOK_AHEAD, Queue
from headrace.models import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.admission.queue import Waiter


def pool(name: str = "p", *models: str, **limits: float) -> Pool:
    return Pool(name, Limits(**limits), [Key(name)], models=models)  # type: ignore[arg-type]  # one shorthand for both types


def cost(tokens: int = 100, model: str = "") -> Cost:
    return Cost(images=1, tokens=tokens, model=model)


def granted(queue: Queue, pools: Sequence[Pool], now: float = 0.0) -> list[tuple[int, str]]:
    """Who can start then, and where; they leave the queue."""
    grants, _ = queue.assign(pools, now)
    for waiter, _, _ in grants:
        queue.leave(waiter)
    return [(waiter.number, pool.name) for waiter, pool, _ in grants]


def numbers(queue: Queue, pools: Sequence[Pool], now: float = 0.0) -> list[int]:
    return [number for number, _ in granted(queue, pools, now)]


def test_who_comes_first_starts_first_whatever_the_model() -> None:
    queue = Queue()
    for model in "abbac":
        queue.join(cost(model=model))
    assert numbers(queue, [pool(max_concurrency=3)]) == [1, 2, 3]
    assert [waiter.number for waiter in queue] == [4, 5]


def test_a_model_whose_pool_is_busy_holds_up_nobody_of_another() -> None:
    queue = Queue()
    for _ in range(3 * LOOK_AHEAD):
        queue.join(cost(model="slow"))
    for _ in range(3):
        queue.join(cost(model="fast"))
    slow, fast = pool("slow", "slow", images_per_minute=5), pool("fast", "fast", max_concurrency=9)
    assert granted(queue, [slow, fast]) == [(1, "slow"), *((3 * LOOK_AHEAD + n, "fast") for n in (1, 2, 3))]


def test_a_pool_without_patterns_takes_whoever_came_first_of_any_model() -> None:
    queue = Queue()
    for model in "abab":
        queue.join(cost(model=model))
    only_a, every = pool("only a", "a", max_concurrency=1), pool("every", max_concurrency=2)
    given = dict(granted(queue, [only_a, every]))
    assert list(given) == [1, 2, 3]
    assert given[2] == "every"
    assert sorted(given.values()) == ["every", "every", "only a"]


def test_nobody_gets_a_pool_that_is_not_for_its_model() -> None:
    queue = Queue()
    queue.join(cost(model="b"))
    assert queue.assign([pool("a", "a")], 0.0) == ([], math.inf)
    assert queue.wanted(pool("a", "a", "b"))
    assert not queue.wanted(pool("a", "a"))


def test_small_ones_start_before_a_large_one_that_they_do_not_delay() -> None:
    studio, queue = pool(tokens_per_minute=60_000), Queue()
    studio.take(cost(30_000), 0.0)
    large, *small = [queue.join(cost(tokens)) for tokens in (40_000, 2_000, 2_000)]
    now = studio.earliest(cost(2_000), 0.0)
    promised = studio.earliest(large.cost, now)
    assert now < promised
    assert numbers(queue, [studio], now) == [small[0].number]
    assert studio.earliest(large.cost, now) == promised
    assert numbers(queue, [studio], promised)[0] == large.number


def test_one_that_would_delay_the_large_one_before_it_waits() -> None:
    studio, queue = pool(tokens_per_minute=60_000), Queue()
    studio.take(cost(30_000), 0.0)
    large, small = queue.join(cost(59_000)), queue.join(cost(2_000))
    now = studio.earliest(small.cost, 0.0) + 1.0
    assert numbers(queue, [studio], now) == []
    queue.leave(large)
    assert numbers(queue, [studio], now) == [small.number]


def test_a_large_one_keeps_the_pool_that_can_start_it_first_and_the_other_is_free() -> None:
    near, far, queue = pool("near", tokens_per_minute=60_000), pool("far", tokens_per_minute=60_000), Queue()
    near.take(cost(30_000), 0.0)
    far.take(cost(30_000), 20.0)
    queue.join(cost(60_000))
    queue.join(cost(20_000))
    assert granted(queue, [near, far], 55.0) == [(2, "far")]


def test_the_alarm_is_set_for_the_first_moment_at_which_anybody_can_start() -> None:
    one, other, queue = pool("one", images_per_minute=5), pool("other", images_per_minute=50), Queue()
    for each in (one, other):
        each.take(cost(), 0.0)
    queue.join(cost())
    assert queue.assign([one, other], 0.0) == ([], other.earliest(cost(), 0.0))
    assert queue.assign([one], 0.0) == ([], one.earliest(cost(), 0.0))
    assert queue.assign([pool(max_concurrency=1)], 0.0)[1] == math.inf


def test_who_leaves_is_gone_and_may_leave_twice() -> None:
    queue = Queue()
    waiters = [queue.join(cost(model=model)) for model in "aba"]
    for waiter in (waiters[0], waiters[0], waiters[1]):
        queue.leave(waiter)
    assert (len(queue), queue.models, list(queue)) == (1, ("a",), [waiters[2]])
    queue.leave(waiters[2])
    assert (len(queue), queue.models) == (0, ())


class Asked(Pool):
    """Counts how often it is asked when somebody can start."""

    asked = 0

    def earliest(self, cost: Cost, now: float) -> float:
        self.asked += 1
        return super().earliest(cost, now)


def test_of_a_long_queue_that_cannot_start_only_its_head_is_looked_at() -> None:
    studio, queue = Asked("p", Limits(tokens_per_minute=60_000), [Key("k")]), Queue()
    studio.take(cost(30_000), 0.0)
    for model in "ab":
        for _ in range(50 * LOOK_AHEAD):
            queue.join(cost(50_000, model))
    assert numbers(queue, [studio], 45.0) == []
    assert studio.asked <= 2 * (LOOK_AHEAD + 2)


def test_a_small_one_far_behind_comes_into_view_as_those_before_it_start() -> None:
    studio, queue = pool(tokens_per_minute=60_000), Queue()
    studio.take(cost(30_000), 0.0)
    large = [queue.join(cost(40_000)) for _ in range(LOOK_AHEAD + 1)]
    small = queue.join(cost(10))
    assert numbers(queue, [studio], 45.0) == []
    queue.leave(large[-1])
    assert numbers(queue, [studio], 45.0) == [small.number]


ARRIVALS = st.lists(
    st.tuples(st.floats(0, 20), st.integers(1, 60), st.integers(1, 6), st.sampled_from("ab")),
    min_size=1,
    max_size=40,
)


def first_of_all(queue: Queue) -> Waiter | None:
    """Who has waited longest, which is first in its lane."""
    return min(queue, key=lambda waiter: waiter.number, default=None)


@settings(max_examples=100, deadline=None)
@given(arrivals=ARRIVALS, tokens=st.integers(60, 300), images=st.integers(6, 200))
def test_nobody_who_overtakes_delays_the_one_that_has_waited_longest(
    arrivals: list[tuple[float, int, int, str]], tokens: int, images: int
) -> None:
    pools = [pool("p", tokens_per_minute=tokens, images_per_minute=images), pool("q", "a", tokens_per_minute=tokens)]
    queue, now, wake_at = Queue(), 0.0, math.inf
    promised: dict[int, float] = {}
    started: dict[int, float] = {}

    def settle() -> float:
        grants, at = queue.assign(pools, now)
        for waiter, _, _ in grants:
            started[waiter.number] = now
            queue.leave(waiter)
        first = first_of_all(queue)
        if first is not None:
            earliest = min(each.earliest(first.cost, now) for each in pools if each.fits(first.cost))
            assert earliest <= promised.setdefault(first.number, earliest) + 1e-9, "it can start no later than it could before"
        return at

    for gap, needs, pictures, model in [*arrivals, (1e5, 1, 1, "a")]:
        comes_at = now + gap
        while wake_at <= comes_at:
            now = max(now, wake_at)
            wake_at = settle()
        now = comes_at
        queue.join(Cost(images=pictures, tokens=needs, model=model))
        wake_at = settle()
    assert len(started) >= len(arrivals), "everybody starts, and the alarm is never set too late for all"
    for number, at in promised.items():
        assert started.get(number, 0.0) <= at + 1e-9
