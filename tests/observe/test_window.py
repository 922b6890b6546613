from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.observe.window import SLOTS, Window


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = Window(60.0)
    window.put(10.0, 0.0)
    window.put(20.0, 30.0)
    assert (window.mean(30.0).count, window.mean(30.0).value) == (2, 15.0)
    assert (window.mean(60.0).count, window.mean(60.0).value) == (1, 20.0)
    assert (window.mean(90.0).count, window.mean(90.0).value) == (0, 0.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30)), max_size=200), st.floats(1, 600))
def test_it_agrees_with_the_list_of_everything_to_the_slot(steps: list[tuple[float, float]], length_s: float) -> None:
    window, now, slot_s, everything = Window(length_s), 0.0, length_s / SLOTS, []
    for value, later_s in steps:
        now += later_s
        window.put(value, now)
        everything.append((int(now // slot_s), value))
    inside = [value for number, value in everything if number > int(now // slot_s) - SLOTS]
    found = window.mean(now)
    assert found.count == len(inside)
    assert found.total == pytest.approx(sum(inside))


def test_its_memory_does_not_grow_with_what_is_put_in() -> None:
    window = Window(300.0)
    for n in range(100_000):
        window.put(1.0, n * 0.01)
    assert len(window._slots) <= SLOTS
