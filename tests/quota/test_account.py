from __future__ import annotations

from headrace.admission.bucket import Bucket
from headrace.quota.account import KEPT_S, Account

TERMS = {"images": Bucket(600.0).terms, "tokens": Bucket(1e6).terms}
COSTS = {"images": 1, "tokens": 100}


def told(account: Account, now: float = 0.0, books: int | None = 1) -> dict[str, object]:
    news = account.news(now)
    if books is None:
        account.undelivered(news)
    else:
        account.delivered(books, now)
    return account.told(news, TERMS, now)


def known() -> Account:
    """One that the books know."""
    account = Account(90.0)
    told(account)
    return account


def test_what_is_told_is_told_once() -> None:
    account = known()
    holding = account.hold(COSTS, 0.0, lease="a", slot_us=5)
    account.correct(holding, {"tokens": 250})
    account.ended(holding)
    assert told(account)["corrections"] == [[2, 5, 150, TERMS["tokens"].unit_s * 1e6]]
    assert told(account)["corrections"] == []


def test_when_nobody_knows_whether_it_was_heard_only_what_is_safe_twice_is_told_again() -> None:
    account = known()
    dearer, cheaper = (account.hold(COSTS, 0.0, lease=name, slot_us=slot) for slot, name in enumerate("ab"))
    account.correct(dearer, {"tokens": 250})
    account.correct(cheaper, {"tokens": 50})
    account.ended(dearer)
    account.pause(5.0)
    told(account, books=None)
    again = told(account)
    assert [correction[2] for correction in again["corrections"]] == [150]  # type: ignore[attr-defined] # a list
    assert again["over"] == ["a"]
    assert again["pause"] == 5_000_000
    assert again["going"] == ["b"]


def test_what_was_used_without_the_books_is_entered_as_it_turned_out() -> None:
    account = known()
    account.correct(account.hold(COSTS, 3.0, lease="a"), {"tokens": 70})
    account.rejoin(10.0)
    assert [charge[:3] for charge in told(account, 10.0)["past"]] == [[1, 7_000_000, 1], [2, 7_000_000, 70]]  # type: ignore[attr-defined] # a list


def test_what_it_took_more_after_it_was_entered_is_entered_as_well() -> None:
    account = known()
    holding = account.hold(COSTS, 3.0, lease="a")
    account.rejoin(10.0)
    told(account, 10.0)
    account.correct(holding, {"tokens": 170})
    assert [charge[:3] for charge in told(account, 10.0)["past"]] == [[2, 7_000_000, 70]]  # type: ignore[attr-defined] # a list


def test_what_is_older_than_any_window_is_forgotten() -> None:
    account = known()
    account.hold(COSTS, 0.0, lease="a")
    assert list(account.recent("images", KEPT_S - 1)) == [(0.0, 1.0)]
    assert list(account.recent("images", KEPT_S)) == []
    account.rejoin(KEPT_S)
    assert told(account, KEPT_S)["past"] == []


def test_what_was_used_before_any_books_were_known_is_entered() -> None:
    account = Account(90.0)
    account.hold(COSTS, 3.0, lease="a")
    told(account, 10.0)
    assert [charge[:3] for charge in told(account, 10.0)["past"]] == [[1, 7_000_000, 1], [2, 7_000_000, 100]]  # type: ignore[attr-defined] # a list


def test_a_slot_of_books_that_were_lost_is_not_corrected_in_others() -> None:
    account = known()
    holding = account.hold(COSTS, 3.0, lease="a", slot_us=5)
    news = account.news(4.0)
    account.correct(holding, {"tokens": 50})  # while it is told
    account.delivered(2, 4.0)
    assert account.told(news, TERMS, 4.0)["corrections"] == []
    again = account.told(account.news(4.0), TERMS, 4.0)
    assert again["corrections"] == []
    assert [charge[2] for charge in again["past"]] == [1, 50]
    assert again["books"] == 2
