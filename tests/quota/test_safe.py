from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.admission.bucket import MINUTE_S, Bucket
from headrace.quota.account import Account
from headrace.quota.safe import Safe


def most_in_a_minute(charges: list[tuple[float, int]]) -> int:
    return max((sum(cost for at, cost in charges if start <= at < start + MINUTE_S) for start, _ in charges), default=0)


@given(
    before=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 59), st.integers(1, 5)), max_size=40),
    limit=st.integers(40, 400),
    costs=st.lists(st.integers(1, 5), min_size=1, max_size=40),
)
def test_the_parts_together_are_never_more_than_the_limit(before: list[tuple[int, float, int]], limit: int, costs: list[int]) -> None:
    workers, now = 4, 60.0
    accounts = [Account(90.0) for _ in range(workers)]
    used: list[list[tuple[float, int]]] = [[] for _ in range(workers)]
    for place, at, cost in sorted(before, key=lambda each: each[1]):
        if sum(each for one in used for _, each in one) + cost <= limit and sum(each for _, each in used[place]) + cost <= limit / workers:
            accounts[place].hold({"images": cost}, at, lease=f"{place}:{at}", slot_us=1)
            used[place].append((at, cost))
    for place, account in enumerate(accounts):
        safe, at = Safe({"images": Bucket(limit).terms}, workers, account, now), now
        for cost in costs:
            at += (wait_s := safe.wait_s({"images": cost}, None, at))
            if wait_s == float("inf"):
                break
            safe.take({"images": cost}, at)
            used[place].append((at, cost))
    assert most_in_a_minute([each for one in used for each in one]) <= limit


def safe(account: Account, workers: int) -> Safe:
    return Safe({"images": Bucket(600).terms}, workers, account, 0.0)


def test_calls_at_once_are_shared_out_as_well() -> None:
    account = Account(90.0)
    parts = safe(account, workers=4)
    held = [account.hold({"images": 1}, 0.0, lease="a"), account.hold({"images": 1}, 0.0, lease="b")]
    assert parts.wait_s({"images": 1}, 9, 10.0) == float("inf")
    assert parts.wait_s({"images": 1}, 12, 10.0) == 0.0
    account.ended(held[0])
    assert parts.wait_s({"images": 1}, 9, 10.0) == 0.0


def test_a_request_that_is_larger_than_the_part_waits_for_the_store() -> None:
    assert safe(Account(90.0), workers=600).wait_s({"images": 2}, None, 10.0) == float("inf")
