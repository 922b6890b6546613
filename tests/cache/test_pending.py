from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.cache.in_flight import Flight
from headrace.cache.pending import Pending


def unit(angle: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


def test_the_nearest_come_first_and_those_below_the_floor_not_at_all() -> None:
    pending = Pending(2)
    flights = [Flight() for _ in range(5)]
    for place, angle in enumerate((0.9, 0.1, 3.0, 0.3, 0.0)):
        pending.add(flights[place], str(angle), unit(angle))
    near = pending.near(unit(0.0), 3, 0.9)
    assert [(flight, prompt) for flight, prompt, _ in near] == [(flights[4], "0.0"), (flights[1], "0.1"), (flights[3], "0.3")]
    assert [cosine for *_, cosine in near] == pytest.approx([1.0, np.cos(0.1), np.cos(0.3)])
    assert len(pending.near(unit(0.0), 2, -1.0)) == 2
    assert pending.near(unit(0.0), 5, 1.5) == []


def test_nothing_is_near_where_nothing_is_in_flight() -> None:
    pending = Pending(2)
    assert pending.near(unit(0.0), 5, -1.0) == []
    assert pending.landed() == frozenset()
    pending.forget(frozenset())
    assert len(pending) == 0


def test_what_has_landed_is_told_and_forgotten_when_it_is_said_so() -> None:
    pending = Pending(2)
    one, other = Flight(), Flight()
    pending.add(one, "one", unit(0.0))
    pending.add(other, "other", unit(0.1))
    one.landed.set()
    assert pending.landed() == {one}
    assert len(pending.near(unit(0.0), 5, 0.0)) == 2, "a twin that landed just now is still one"
    pending.forget({one})
    assert [prompt for _, prompt, _ in pending.near(unit(0.0), 5, 0.0)] == ["other"]


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, 40), st.sets(st.integers(0, 40))), max_size=60))
def test_it_holds_what_was_added_and_not_forgotten(steps: list[int | set[int]]) -> None:
    pending, held = Pending(2), list[tuple[Flight, int]]()
    flights = {number: Flight() for number in range(41)}
    for step in steps:
        if isinstance(step, int):
            pending.add(flights[step], str(step), unit(step / 41))
            held.append((flights[step], step))
        else:
            gone = {flights[number] for number in step}
            pending.forget(gone)
            held = [each for each in held if each[0] not in gone]
        assert len(pending) == len(held)
        found = pending.near(unit(0.0), 100, -1.0)
        assert sorted(prompt for _, prompt, _ in found) == sorted(str(number) for _, number in held)
        assert all(cosine == pytest.approx(np.cos(int(prompt) / 41), abs=1e-6) for _, prompt, cosine in found)
