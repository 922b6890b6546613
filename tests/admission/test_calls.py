from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.calls import FIRST, PATIENCE, ROUND_S, Calls


def sent(calls: Calls, number: int, now: float = 0.0) -> Calls:
    for _ in range(number):
        calls.sent(now)
    return calls


def refused(calls: Calls, sent_at: float, now: float) -> bool:
    calls.back(well=False)
    return calls.refused(sent_at, now)


def found(most: int, named: int | None = None) -> Calls:
    """As many were known to be good at 0."""
    calls = Calls(named, slow_start=False)
    calls.put(most, 0.0)
    return calls


def fill(calls: Calls, now: float) -> None:
    """As many as may go out go out."""
    assert math.isfinite(calls.most)
    while calls.free:
        calls.sent(now)


def most_after_rounds(calls: Calls, rounds: int) -> list[int]:
    """How many are out after each round that is served; whenever one comes back as many go out as may."""
    numbers = []
    for _ in range(rounds):
        round_of = calls.out
        fill(calls, 0.0)
        for _ in range(round_of):
            calls.back(well=True)
            fill(calls, 0.0)
        numbers.append(calls.out)
    return numbers


def test_what_the_settings_name_is_never_exceeded() -> None:
    calls = Calls(3, slow_start=True)
    assert most_after_rounds(calls, 5) == [3] * 5


def test_where_a_rate_is_known_it_alone_bounds_the_calls() -> None:
    assert Calls(None, slow_start=False).most == math.inf


def test_where_nothing_is_known_their_number_doubles_with_each_round_that_is_served() -> None:
    calls = Calls(None, slow_start=True)
    assert most_after_rounds(calls, 5) == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST]


def test_calls_that_fail_or_that_do_not_fill_it_are_no_reason_for_more() -> None:
    failed, few = sent(Calls(None, slow_start=True), FIRST), sent(Calls(None, slow_start=True), FIRST - 1)
    for _ in range(FIRST - 1):
        failed.back(well=False)
        few.back(well=True)
    assert (failed.most, few.most) == (FIRST, FIRST)


def test_once_a_rate_is_known_the_slow_start_is_over() -> None:
    calls = sent(Calls(None, slow_start=True), FIRST)
    assert not calls.free
    calls.paced()
    assert calls.most == math.inf
    assert calls.learnt is None


def test_a_refusal_cuts_them_to_those_that_are_still_out() -> None:
    calls = sent(Calls(None, slow_start=False), 30)
    assert refused(calls, 0.0, 1.0)
    assert (calls.most, calls.learnt, calls.free) == (29, 29, False)


def test_of_a_burst_that_was_too_large_the_ones_that_were_let_in_are_what_was_good() -> None:
    calls = sent(Calls(None, slow_start=True), FIRST)
    for n in range(10):
        refused(calls, 0.0, 1.0 + n * ROUND_S / 10)
    assert calls.learnt == FIRST - 10


def test_a_burst_that_is_refused_to_the_last_leaves_one_call_to_ask_with() -> None:
    calls = sent(Calls(None, slow_start=True), FIRST)
    for _ in range(FIRST):
        refused(calls, 0.0, 1.0)
    assert (calls.most, calls.free) == (1, True)


def test_a_straggler_of_the_burst_that_comes_back_when_it_is_long_over_cuts_nothing_more() -> None:
    calls = sent(Calls(None, slow_start=True), FIRST)
    refused(calls, 0.0, 1.0)
    assert not refused(calls, 0.0, 1.0 + ROUND_S + 1.0)
    assert calls.learnt == FIRST - 1


def test_what_was_found_good_and_is_refused_later_is_cut_to_what_is_out_then() -> None:
    calls = sent(found(30), 30, now=5.0)
    assert refused(calls, 5.0, 100.0)
    assert calls.learnt in (28, 29)
    for _ in range(9):
        calls.back(well=True)
    calls.sent(110.0)
    assert refused(calls, 110.0, 111.0)
    assert calls.learnt == 20


@pytest.mark.parametrize("most", [1, 12, 100])
def test_when_as_many_were_out_for_long_enough_more_is_tried_and_a_refusal_takes_it_back(most: int) -> None:
    calls, now = found(most), 0.0
    sent(calls, most - 1)
    while calls.most == most:
        now += 1.0
        calls.sent(now)
        calls.back(well=True)
        assert now < 1e4
    assert now >= max(PATIENCE.hold_s, PATIENCE.hold_calls)
    assert most < calls.most <= most + max(1, 0.06 * most)
    sent(calls, 2, now + 1.0)
    assert refused(calls, now + 1.0, now + 1.5)
    assert calls.most == most


def test_fewer_calls_than_there_may_be_are_no_reason_to_try_more() -> None:
    calls = found(10)
    for n in range(1_000):
        sent(calls, 9, float(n))
        for _ in range(9):
            calls.back(well=True)
    assert calls.most == 10


def test_more_is_never_tried_than_the_settings_name() -> None:
    calls = found(5, named=6)
    for n in range(2_000):
        now = float(n)
        fill(calls, now)
        calls.back(well=True)
    assert calls.most == 6
    assert calls.learnt is None, "what the settings name is nothing that was learnt"


def test_what_an_earlier_run_found_is_where_this_one_starts() -> None:
    calls = Calls(None, slow_start=True)
    calls.put(24, 0.0)
    assert (calls.most, calls.learnt) == (24, 24)


@settings(max_examples=100, deadline=None)
@given(
    named=st.one_of(st.none(), st.integers(1, 40)),
    slow_start=st.booleans(),
    events=st.lists(
        st.tuples(st.sampled_from(["send", "send all", "served", "failed", "refused", "paced"]), st.floats(0, 20)), max_size=200
    ),
)
def test_whatever_comes_back_at_least_one_may_go_out_and_never_more_than_named(
    named: int | None, events: list[tuple[str, float]], *, slow_start: bool
) -> None:
    calls, now, out = Calls(named, slow_start=slow_start), 0.0, []
    for what, elapsed in events:
        now += elapsed
        if what.startswith("send"):
            for _ in range(200 if what == "send all" else 1):
                if calls.free:
                    calls.sent(now)
                    out.append(now)
        elif what == "paced":
            calls.paced()
        elif out:
            calls.back(well=what == "served")
            sent_at = out.pop(0)
            if what == "refused":
                before = calls.most
                calls.refused(sent_at, now)
                assert calls.most <= before
        assert calls.out == len(out)
        assert 1 <= calls.most <= (named or math.inf)
        assert calls.free or calls.out


def test_what_others_have_out_counts_in_the_slow_start_but_for_the_first_call_of_one_s_own() -> None:
    calls = Calls(None, slow_start=True)
    assert calls.bound == FIRST
    calls.others = 5
    assert calls.bound == FIRST
    calls.others = 200
    assert calls.bound == 201
    sent(calls, 1).back(well=True)
    calls.others = 0
    assert calls.bound == FIRST + 201  # as many as were out were served, and they double


def test_what_was_found_holds_however_many_others_have_out() -> None:
    calls = found(30)
    calls.others = 200
    assert calls.bound == 30
