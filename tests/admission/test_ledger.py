from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.ledger import Ledger


def test_the_seconds_of_each_cause_are_added_up_and_the_largest_comes_first() -> None:
    ledger = Ledger()
    for cause, at in (("images/min", 10.0), ("the input", 12.0), ("images/min", 20.0), ("a pause", 21.0)):
        ledger.turn(cause, at)
    assert list(ledger.seconds(26.0).items()) == [("the input", 8.0), ("a pause", 5.0), ("images/min", 3.0)]


def test_what_binds_now_counts_until_now() -> None:
    ledger = Ledger()
    ledger.turn("images/min", 5.0)
    assert [ledger.seconds(now) for now in (5.0, 6.0, 9.0)] == [{}, {"images/min": 1.0}, {"images/min": 4.0}]


def test_before_anything_bound_there_is_nothing() -> None:
    ledger = Ledger()
    assert ledger.seconds(100.0) == {}
    ledger.turn("images/min", 150.0)
    assert ledger.seconds(160.0) == {"images/min": 10.0}


def test_the_same_cause_again_starts_nothing_anew() -> None:
    ledger = Ledger()
    for at in (1.0, 2.0, 4.0):
        ledger.turn("images/min", at)
    assert ledger.seconds(5.0) == {"images/min": 4.0}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.booleans()), min_size=1, max_size=60))
def test_every_second_since_the_first_is_booked_once_however_often_it_is_asked(turns: list[tuple[str, int, bool]]) -> None:
    ledger, now = Ledger(), 0.0
    first: float | None = None
    for cause, elapsed, asked in turns:
        now += elapsed
        ledger.turn(cause, now)
        first = now if first is None else first
        if asked:
            ledger.seconds(now)
    assert sum(ledger.seconds(now + 3.0).values()) == now + 3.0 - (first or 0.0)
