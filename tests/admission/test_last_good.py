from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.last_good import FIRST_STEP, LAST_STEP, LEAST_CUT, MOST_CUT, LastGood, Patience

PATIENCE = Patience(hold_s=20.0, hold_calls=8, longest_calls=32, stand_s=5.0, stand_calls=4, longest_s=1e5)
SOON = 0.01


def found(level: float = 100.0, *, least: float = 1.0, most: float = math.inf, patience: Patience = PATIENCE) -> LastGood:
    """A level that somebody named at 0."""
    made = LastGood(level, patience, least=least, most=most)
    made.put(level, 0.0)
    return made


def used_until_more_is_tried(level: LastGood, now: float, every_s: float = 1.0) -> tuple[float, int]:
    """Call after call that needs all of it; returns when more was tried, and after how many calls."""
    for calls in range(1, 10_000):
        now += every_s
        if level.used(now):
            return now, calls
    raise AssertionError


def raised(level: LastGood, now: float = 0.0) -> float:
    return used_until_more_is_tried(level, now)[0]


@pytest.mark.parametrize(("through", "cut_to"), [(0.0, MOST_CUT), (80.0, 0.8), (200.0, LEAST_CUT)])
def test_what_is_refused_is_cut_to_what_gets_through_but_neither_by_too_much_nor_by_too_little(through: float, cut_to: float) -> None:
    level = found()
    assert level.refused(1.0, 2.0, through)
    assert level.level == pytest.approx(100.0 * cut_to)
    assert not level.trying


def test_the_refusals_of_one_round_trip_cut_once() -> None:
    level = found()
    assert level.refused(1.0, 10.0)
    after = level.level
    assert [level.refused(sent_at, 11.0) for sent_at in (2.0, 5.0, 9.99)] == [False] * 3
    assert level.level == after
    assert level.refused(10.5, 12.0)
    assert level.level < after


def test_it_is_never_cut_below_the_least() -> None:
    level = found(least=30.0)
    for n in range(20):
        level.refused(n + 0.5, n + 1.0)
    assert level.level == 30.0
    level.put(2.0, 21.0)
    assert level.level == 30.0


def test_more_is_tried_after_the_hold_and_enough_calls_and_not_before() -> None:
    seldom, often = found(), found()
    assert used_until_more_is_tried(seldom, 0.0, every_s=10.0) == (10.0 * PATIENCE.hold_calls, PATIENCE.hold_calls)
    at, _ = used_until_more_is_tried(often, 0.0, every_s=0.1)
    assert at == pytest.approx(PATIENCE.hold_s, abs=0.2)
    assert often.level == pytest.approx(100.0 * (1 + FIRST_STEP))
    assert often.trying


def test_each_trial_that_stands_doubles_the_step_up_to_a_bound() -> None:
    level, now, steps = found(), 0.0, []
    for _ in range(7):
        before = level.level
        now = raised(level, now)
        steps.append(level.level / before - 1)
    assert steps == pytest.approx([min(LAST_STEP, FIRST_STEP * 2**n) for n in range(7)])


def test_a_search_goes_on_after_less_time_and_fewer_calls_than_it_took_to_begin() -> None:
    level = found()
    began = raised(level)
    at, calls = used_until_more_is_tried(level, began)
    assert at - began == PATIENCE.stand_s < PATIENCE.hold_s
    assert PATIENCE.stand_calls <= calls < PATIENCE.hold_calls


def test_a_trial_that_is_refused_goes_back_to_what_was_good() -> None:
    level = found()
    at = raised(level)
    assert level.refused(at + SOON, at + 1.0)
    assert level.level == 100.0
    assert not level.trying


def test_a_refusal_of_a_call_from_before_the_trial_says_nothing_about_it() -> None:
    level = found()
    at = raised(level)
    tried = level.level
    assert not level.refused(at - SOON, at + 1.0)
    assert level.level == tried


def test_a_search_that_went_too_far_falls_to_what_stood_before_it_or_gets_through() -> None:
    for through, expected in ((0.0, 100.0), (103.0, 103.0), (1e9, 100.0 * (1 + FIRST_STEP))):
        level = found()
        first = raised(level)
        second = raised(level, first)
        assert level.refused(second + SOON, second + 1.0, through)
        assert level.level == pytest.approx(expected)


def test_a_trial_that_failed_is_repeated_after_twice_as_many_calls_up_to_a_bound() -> None:
    level, now, needed = found(), 0.0, []
    for _ in range(5):
        now, calls = used_until_more_is_tried(level, now, every_s=60.0)
        needed.append(calls)
        level.refused(now, now + 1.0)
        now += 1.0
    assert needed == [8, 16, 32, 32, 32]


def test_no_trial_goes_above_the_most() -> None:
    level, now = found(most=107.0), 0.0
    for _ in range(3):
        now = raised(level, now) if level.level < level.most else now
    assert level.level == 107.0
    assert not any(level.used(now + n) for n in range(1_000))


def test_what_is_counted_in_whole_ones_is_raised_by_one_at_least() -> None:
    level = found(3.0, patience=attrs.evolve(PATIENCE, unit=1.0))
    raised(level)
    assert level.level == 4.0


def test_where_calls_are_few_they_are_not_waited_for_any_longer() -> None:
    level = found(patience=attrs.evolve(PATIENCE, longest_s=100.0))
    at, calls = used_until_more_is_tried(level, 0.0, every_s=50.0)
    assert (at, calls) == (100.0, 2)
    assert calls < PATIENCE.stand_calls


EVENTS = st.lists(st.tuples(st.sampled_from(["used", "refused", "late", "put"]), st.floats(0, 30), st.floats(0, 1_000)), max_size=150)


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_whatever_happens_the_level_stays_within_its_bounds_and_a_refusal_never_raises_it(events: list[tuple[str, float, float]]) -> None:
    level, now = found(least=10.0, most=400.0), 0.0
    for what, elapsed, amount in events:
        now += elapsed
        before = level.level
        if what == "used":
            level.used(now)
            assert level.level >= before
        elif what == "put":
            level.put(min(amount, 400.0), now)
        else:
            level.refused(now if what == "refused" else now - amount, now, amount)
            assert level.level <= before
        assert 10.0 <= level.level <= 400.0
