from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.bucket import Bucket
from headrace.admission.credit import ENOUGH, SHARE, Credit

LIMIT = 300.0


def told(remaining: float, *, reset_s: float | None = None, used: float | None = None, since: float = 0.0) -> Credit:
    """What a server said at 10; it has let nobody else in unless ``used`` says less."""
    credit = Credit(LIMIT)
    credit.told(remaining=remaining, reset_s=reset_s, used=LIMIT - remaining if used is None else used, since=since, now=10.0)
    return credit


def most(credit: Credit, now: float) -> int:
    """The largest request that it covers."""
    return max((n for n in range(1, 2 * int(LIMIT)) if credit.covers(n, now)), default=0)


def test_nothing_starts_ahead_of_the_pace_before_the_server_said_so() -> None:
    assert most(Credit(LIMIT), 1e6) == 0


@pytest.mark.parametrize("since", [0.0, 70.0])
def test_a_share_of_what_remains_may_start_at_once_less_what_was_sent_since(since: float) -> None:
    assert most(told(290.0, since=since), 10.0) == SHARE * 290 - since


def test_a_server_with_less_than_half_of_its_limit_left_gives_nothing() -> None:
    assert most(told(ENOUGH * LIMIT), 10.0) > 0
    assert most(told(ENOUGH * LIMIT - 1), 10.0) == 0


def test_where_others_have_used_what_we_have_not_it_gives_nothing() -> None:
    assert most(told(280.0, used=20.0), 10.0) > 0
    assert most(told(270.0, used=20.0), 10.0) == 0


def test_a_bucket_that_refills_gives_more_with_time_up_to_a_share_of_the_limit() -> None:
    # 60 of 300 are missing, and 12 s are what they take to come back.
    credit = told(240.0, reset_s=12.0)
    credit.spend(most(credit, 10.0), 10.0)
    assert most(credit, 10.0) == 0
    assert most(credit, 20.0) == int(SHARE * LIMIT / 6)
    assert most(credit, 1e6) == SHARE * LIMIT


@pytest.mark.parametrize("reset_s", [None, 40.0, 60.0])
def test_what_counts_the_last_minute_gives_only_what_it_said(reset_s: float | None) -> None:
    credit = told(240.0, reset_s=reset_s)
    credit.spend(200.0, 10.0)
    assert most(credit, 10.0) == most(credit, 1e6) == SHARE * 240 - 200


def test_one_refusal_closes_it_for_good() -> None:
    credit = told(290.0, reset_s=2.0)
    credit.close()
    credit.told(remaining=290.0, reset_s=2.0, used=10.0, since=0.0, now=1_000.0)
    assert most(credit, 1e6) == 0


def test_a_bucket_starts_on_credit_what_the_log_of_the_last_minute_still_allows() -> None:
    bucket = Bucket(LIMIT)
    charge = bucket.take(1, 0.0)
    bucket.credit.told(remaining=LIMIT - 1, reset_s=0.2, used=charge.used, since=0.0, now=1.0)
    at_once = 1
    while bucket.earliest(1, 1.0) == 1.0 and at_once <= LIMIT:
        bucket.take(1, 1.0)
        at_once += 1
    assert SHARE * LIMIT <= at_once <= LIMIT
    assert bucket.used(1.0) <= LIMIT


STEPS = st.lists(st.tuples(st.floats(0, 20), st.floats(1, 100)), max_size=80)


@settings(max_examples=100, deadline=None)
@given(remaining=st.floats(0.5 * LIMIT, LIMIT), refills=st.booleans(), steps=STEPS)
def test_what_starts_on_credit_is_never_more_than_the_server_said_and_what_came_back_since(
    remaining: float, steps: list[tuple[float, float]], *, refills: bool
) -> None:
    credit, now, spent = told(remaining, reset_s=(LIMIT - remaining) / 5 if refills else None), 10.0, 0.0
    for elapsed, cost in steps:
        now += elapsed
        if credit.covers(cost, now):
            credit.spend(cost, now)
            spent += cost
        assert spent <= SHARE * (remaining + (LIMIT * (now - 10.0) / 60 if refills else 0.0)) + 1e-6


@settings(max_examples=60, deadline=None)
@given(levels=st.lists(st.tuples(st.floats(0, 15), st.floats(0, 1), st.none() | st.floats(0, 60), st.integers(1, 40)), max_size=60))
def test_whatever_the_server_says_no_minute_holds_more_than_the_limit(levels: list[tuple[float, float, float | None, int]]) -> None:
    bucket, now = Bucket(LIMIT), 0.0
    started: list[tuple[float, int]] = []
    for elapsed, remaining, reset_s, cost in levels:
        now = bucket.earliest(cost, now + elapsed)
        charge = bucket.take(cost, now)
        started.append((now, cost))
        bucket.credit.told(remaining=remaining * LIMIT, reset_s=reset_s, used=charge.used, since=0.0, now=now)
    for at, _ in started:
        assert sum(cost for other, cost in started if at <= other <= at + 60) <= LIMIT
