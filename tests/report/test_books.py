from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.records import Kind, Match, Problem, Status, Strategy
from headrace.report.answers import Example
from headrace.report.books import Books, read_books
from headrace.report.calls import Key
from headrace.report.rows import Limit, journal_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMITED = Problem(kind=Kind.RATE_LIMITED, message="slow down", status=429, retryable=True)
BROKEN = Problem(kind=Kind.SERVER_ERROR, message="oops", status=500, retryable=True)
SPOILT = Problem(kind=Kind.BAD_ANSWER, message="no whole PNG", status=200, billed=True)
LOST = Problem(kind=Kind.NETWORK, message="the connection broke", uncertain=True)
SAME = Match(of="0", similarity=0.97, prompt="a fox")


def books_of(folder: Path) -> Books:
    with journal_rows(folder) as rows:
        return read_books(rows, folder)


def test_prompts_are_counted_by_status_and_by_what_gave_the_picture(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        picture = job.picture()
        await job.pay("a fox", picture, picture)
        await job.hit("the fox", Strategy.CACHE_VERIFIED, SAME, picture, saved_usd=0.25)
        await job.hit("a fox", Strategy.CACHE_EXACT, SAME, picture, saved_usd=0.5)
        await job.fail("a bomb", Kind.MODERATION_BLOCKED, "no")
        await job.fail("late", Kind.NO_POOL, "no pool", status=Status.SKIPPED)
        await job.read("nobody came to it")

    books = books_of(folder_of(run))
    answers = books.answers
    assert answers.by_status == {"ok": 3, "failed": 1, "skipped": 1, "unfinished": 1}
    assert (answers.total, answers.ended, answers.free, answers.by_meaning) == (6, 5, 2, 1)
    assert (answers.pictures, answers.saved_usd, books.calls.pictures, books.calls.cost_usd) == (4, 0.75, 2, 0.25)
    assert answers.failures == {"moderation_blocked": 1, "no_pool": 1}
    assert answers.examples["moderation_blocked"] == [Example("3", "a bomb", "no")]


def test_each_failure_has_some_examples_and_no_more(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        for number in range(9):
            await job.fail(f"bomb {number}", Kind.MODERATION_BLOCKED, "no")

    answers = books_of(folder_of(run)).answers
    assert answers.failures["moderation_blocked"] == 9
    assert [example.prompt for example in answers.examples["moderation_blocked"]] == ["bomb 0", "bomb 1", "bomb 2"]


def test_each_key_has_its_calls_its_failures_and_its_cost(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        await job.pay("one", job.picture())
        prompt = await job.read("two")
        for problem in (LIMITED, BROKEN, SPOILT, LOST):
            await job.call(prompt, 1.0, problem, key="studio-b", cost_usd=0.5)
        await job.pay("three", job.picture("blue"), key="studio-b")

    calls = books_of(folder_of(run)).calls
    assert calls.keys[("studio", "studio-a")] == Key("studio", calls=1, paid=1, pictures=1, busy_s=2.0, cost_usd=0.25)
    assert calls.keys[("studio", "studio-b")] == Key(
        "studio", calls=5, paid=1, refused=1, failed=3, pictures=1, busy_s=2.0, cost_usd=0.25, wasted_usd=1.0
    )
    assert (calls.total, calls.refusals, calls.cost_usd, calls.spoilt_usd, calls.unknown_usd) == (6, 1, 1.0, 0.5, 0.5)
    assert calls.trouble["server_error"].examples == [("1", 500, "oops")]


def test_a_call_without_an_outcome_is_perhaps_paid(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        await job.call(await job.read(), 5.0)

    books = books_of(folder_of(run))
    assert (books.calls.unknown_usd, books.calls.cost_usd, books.wasted_usd) == (0.25, 0.0, 0.25)
    assert books.calls.keys[("studio", "studio-a")].open == 1


def test_the_time_of_prompts_goes_to_waiting_generating_failing_and_the_rest(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        prompt = await job.read("a fox")
        job.wall.now += 3.0
        await job.call(prompt, 1.0, BROKEN, waited_s=2.0, waited_for="images/min")
        job.wall.now += 2.0
        await job.call(prompt, 0.0, LIMITED, waited_s=0.5, waited_for="calls at once")
        await job.pay("a heron", took_s=4.0)
        await job._line.ended(job.result(prompt, Strategy.PRIMARY, ()))

    books = books_of(folder_of(run))
    assert books.asked_s == 10.0 + 4.0
    assert dict(books.calls.seconds(books.asked_s)) == {
        "waiting: images/min": 2.0,
        "waiting: calls at once": 0.5,
        "generating": 4.0,
        "calls that got no picture": 1.0,
        "pauses before another try": 1.5,
        "everything else": 5.0,
    }


def test_the_time_of_a_prompt_without_a_result_counts_as_far_as_its_last_call(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        prompt = await job.read("a fox")
        job.wall.now += 6.0
        await job.call(prompt, 1.0, LIMITED, waited_s=6.0, waited_for="images/min")

    books = books_of(folder_of(run))
    assert books.asked_s == 7.0
    assert sum(seconds for _, seconds in books.calls.seconds(books.asked_s)) == 7.0


def test_the_pace_is_held_against_what_the_limits_allowed_meanwhile(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        job.pool(images=60.0)
        for _ in range(10):
            await job.pay("a fox", job.picture())
        job.pool(
            images=60.0,
            scale=0.5,
            calls=20,
            admitted={"images": 20, "tokens": 0, "requests": 20},
            bound={"images/min": 30.0, "nothing to do": 70.0},
        )
        for _ in range(10):
            await job.pay("a fox", job.picture())

    books = books_of(folder_of(run))
    assert books.calling_s == 40.0
    assert books.pace == 30.0
    assert list(books.allowed) == [60.0] * 4 + [30.0] * 5
    assert books.share_of_limits == pytest.approx(20 / (20 + 10))
    assert books.pools["studio"].binding == ("images/min", 1.0)
    assert books.calls.made == [2, 2, 3, 2, 3, 2, 3, 2, 1]


def test_pools_that_a_later_run_no_longer_has_allow_nothing_more(folder_of: Callable[..., Path]) -> None:
    async def first(job: Any) -> None:
        job.pool("one", images=60.0)
        await job.pay("a fox", job.picture(), took_s=10.0, pool="one")

    async def second(job: Any) -> None:
        job.pool("other", images=30.0)
        await job.pay("a heron", job.picture(), took_s=10.0, pool="other")

    folder_of(first)
    assert list(books_of(folder_of(second)).allowed) == [60.0, 60.0, 30.0, 30.0, 30.0]


def test_limits_in_tokens_and_in_calls_at_once_become_pictures_a_minute(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        await job.pay("two at once", job.picture(), job.picture("blue"), took_s=3.0)
        job.pool(admitted={"images": 2, "tokens": 400, "requests": 1})

    pool = books_of(folder_of(run)).pools["studio"]
    tokens, calls = Limit("tokens", 6_000, "tier 1", 1.0), Limit("calls", 2, "guess", 1.0)
    assert pool.pictures_a_minute([tokens]) == 30.0
    assert pool.pictures_a_minute([calls]) == 2 * 60 / 3 * 2
    assert pool.pictures_a_minute([Limit("requests", 5, "header", 0.5)]) == 5.0
    assert pool.pictures_a_minute([calls, tokens]) == 30.0
    assert pool.pictures_a_minute([]) is None


def test_a_run_that_was_killed_before_it_kept_books_has_its_pools_all_the_same(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        job.pool(images=60.0)
        await job.pay("a fox", job.picture())
        job.pools.clear()

    books = books_of(folder_of(run))
    assert (books.pools["studio"].calls, books.pools["studio"].pictures, list(books.allowed)) == (1, 1, [60.0])


def test_runs_stand_behind_each_other_without_the_days_between_them(folder_of: Callable[..., Path], wall: Any) -> None:
    async def first(job: Any) -> None:
        await job.pay("a fox", job.picture(), took_s=10.0)

    async def second(job: Any) -> None:
        await job.pay("a heron", job.picture(), took_s=10.0)

    folder_of(first)
    wall.now += 3 * 86_400.0
    books = books_of(folder_of(second))
    assert (books.runs, books.work.total_s, books.calling_s, books.calls.pictures) == (2, 20.0, 20.0, 2)
    assert books.a_month(0.5) == 0.5 * 2_592_000 / 20


def test_latency_is_told_by_model_and_quality_from_what_was_measured(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        for seconds in range(1, 11):
            await job.pay("a fox", took_s=float(seconds))
        await job.pay("a fox", took_s=30.0, quality="high")

    low, high = books_of(folder_of(run)).answers.latencies()
    assert (low.quality, low.count, low.p10, low.p50, low.p90, low.p99, low.mean) == ("low", 10, 1.0, 5.0, 9.0, 10.0, 5.5)
    assert (high.quality, high.count, high.p10, high.p99) == ("high", 1, 30.0, 30.0)


def test_a_price_that_is_unknown_is_said_and_counts_nothing(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        await job.pay("a fox", cost_usd=None)

    books = books_of(folder_of(run))
    assert (books.answers.price_unknown, books.calls.cost_usd) == (True, 0.0)


def test_an_empty_journal_has_books(folder_of: Callable[..., Path]) -> None:
    async def run(_: Any) -> None:
        pass

    books = books_of(folder_of(run))
    assert (books.answers.total, books.pace, books.share_of_limits, books.a_month(1.0), books.running) == (0, None, None, None, False)
