from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from headrace.disk import Disk
from headrace.files import write_part
from headrace.journal.identity import identity_of
from headrace.journal.journal import open_journal
from headrace.journal.line import journal_line
from headrace.journal.status import status
from headrace.journal.stored import restored, stored
from headrace.offload import inline
from headrace.records import CacheMode, Kind, Match, Picture, Problem, Prompt, Request, Result, Status, Strategy, Upload, Usage
from headrace.results import unreadable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from headrace.journal.journal import Journal
    from headrace.journal.line import JournalLine

    Run = Callable[[Callable[[], Awaitable[None]]], None]
    Opened = Callable[..., AbstractAsyncContextManager[Journal]]

URL = "https://api.example.com/v1"
TEXT = st.text(max_size=9)
COUNT = st.integers(0, 10**9)
REQUEST = Request(prompt="a fox", model="m", size="32x16", quality="low")
UPLOAD = Upload(sha256="a", format="png", width=8, height=8, length=9)


def prompt(seq: int, text: str = "a fox", name: str | None = None, **more: Any) -> Prompt:
    return Prompt(seq=seq, id=name or str(seq), named=name is not None, request=attrs.evolve(REQUEST, prompt=text), **more)


def made(record: Prompt | Result, picture: Picture | None = None, **more: Any) -> Result:
    given: dict[str, Any] = {"status": Status.OK, "strategy": Strategy.PRIMARY, "images": (picture,) if picture else ()} | more
    words = record.request.prompt if isinstance(record, Prompt) else record.prompt
    return Result(seq=record.seq, id=record.id, prompt=words, metadata=record.metadata, item=record.item, **given)


async def pay(journal: Journal, line: JournalLine, record: Prompt | Result, picture: Picture | None = None) -> None:
    """What becomes of a prompt that is asked for and answered."""
    assert record.item is not None
    await journal.intend(record.item, "k", 0.5)
    await line.answered(made(record, picture, cost_usd=0.25), 0.25, ())


async def recall(journal: Journal, *records: Prompt | Result) -> list[Prompt | Result]:
    async with journal_line(journal, URL, None) as line:
        return [await line.recall(record) for record in records]


def test_what_was_finished_is_there_in_the_next_run_with_the_place_and_the_columns_of_that_run(run: Run, opened: Opened) -> None:
    async def main() -> None:
        async with opened() as journal, journal_line(journal, URL, None) as line:
            record = await line.recall(prompt(3, metadata={"row": 1}))
            assert isinstance(record, Prompt)
            await pay(journal, line, record)
        async with opened() as journal, journal_line(journal, URL, None) as line:
            result = await line.recall(prompt(7, metadata={"row": 2}))
            assert isinstance(result, Result)
            assert (result.seq, result.id, result.prompt, result.metadata) == (7, "7", "a fox", {"row": 2})
            assert (result.status, result.strategy, result.recalled, result.written) == (Status.OK, Strategy.PRIMARY, True, False)
            assert journal.spent_usd == 0.25

    run(main)


def test_equal_prompts_without_ids_are_told_apart_by_their_number(run: Run, opened: Opened) -> None:
    async def main() -> None:
        async with opened() as journal, journal_line(journal, URL, None) as line:
            first, second = [await line.recall(prompt(n)) for n in (0, 1)]
            assert first.item != second.item
            await pay(journal, line, first)
        async with opened() as journal:
            again = await recall(journal, prompt(0), prompt(1), prompt(2))
            assert [type(record) for record in again] == [Result, Prompt, Prompt]
            assert [record.item for record in again] == [first.item, second.item, 3]

    run(main)


def test_a_prompt_is_known_by_what_it_asks_for_and_by_the_id_that_it_was_given_and_not_by_its_place() -> None:
    known = identity_of(prompt(0), URL)
    assert identity_of(prompt(5, metadata={"other": 1}), URL) == known
    others: list[Prompt | Result] = [
        prompt(0, "a cat"),
        prompt(0, name="0"),
        prompt(0, cache=CacheMode.REFRESH),
        prompt(0, variation=1),
        prompt(0, namespace="b"),
        attrs.evolve(prompt(0), request=attrs.evolve(REQUEST, quality="high")),
        attrs.evolve(prompt(0), request=attrs.evolve(REQUEST, n=2)),
        attrs.evolve(prompt(0), request=attrs.evolve(REQUEST, images=(UPLOAD,))),
        attrs.evolve(prompt(0), request=attrs.evolve(REQUEST, images=(attrs.evolve(UPLOAD, sha256="b"),))),
        attrs.evolve(prompt(0), request=attrs.evolve(REQUEST, images=(UPLOAD,), mask=UPLOAD)),
        unreadable(0, None, "a fox", Problem(kind=Kind.BAD_LINE, message="line 1: why")),
    ]
    identities = [identity_of(record, URL) for record in others] + [identity_of(prompt(0), "https://other.example.com/v1")]
    assert len({known, *identities}) == 1 + len(identities)


def test_what_the_api_refused_for_good_is_not_asked_again_and_what_may_pass_or_was_decided_here_is(run: Run, opened: Opened) -> None:
    problems = [
        Problem(kind=Kind.MODERATION_BLOCKED, message="policy", status=400),
        Problem(kind=Kind.BAD_REQUEST, message="the API's word", status=400),
        Problem(kind=Kind.BAD_LINE, message="no prompt"),
        Problem(kind=Kind.SERVER_ERROR, message="server", status=500, retryable=True),
        Problem(kind=Kind.BAD_REQUEST, message="our word"),
        Problem(kind=Kind.TOO_LARGE, message="a limit that may be raised"),
    ]

    async def main() -> None:
        async with opened() as journal, journal_line(journal, URL, None) as line:
            for seq, problem in enumerate(problems):
                record = await line.recall(prompt(seq, problem.message))
                await line.ended(made(record, status=Status.FAILED, strategy=None, error=problem))
        async with opened() as journal:
            again = await recall(journal, *(prompt(seq, problem.message) for seq, problem in enumerate(problems)))
            assert [record.error if isinstance(record, Result) else None for record in again] == [*problems[:3], None, None, None]

    run(main)


@pytest.mark.parametrize("spoil", ["removed", "cut off"])
def test_a_finished_prompt_whose_picture_is_gone_is_made_again(run: Run, opened: Opened, tmp_path: Path, spoil: str) -> None:
    picture = Picture(path="images/ab/abcd.png", sha256="abcd", format="png", width=1, height=1, bytes=4)
    (tmp_path / "images" / "ab").mkdir(parents=True)
    (tmp_path / picture.path).write_bytes(b"1234")

    async def main() -> None:
        async with opened() as journal, journal_line(journal, URL, None) as line:
            await pay(journal, line, await line.recall(prompt(0)), picture)
        async with opened() as journal:
            assert isinstance((await recall(journal, prompt(0)))[0], Result)
            if spoil == "removed":
                (tmp_path / picture.path).unlink()
            else:
                os.truncate(tmp_path / picture.path, 3)
            assert isinstance((await recall(journal, prompt(0)))[0], Prompt)

    run(main)


async def killed_in_a_call(opened: Opened) -> None:
    async with opened() as journal, journal_line(journal, URL, None) as line:
        for seq, text in enumerate(("finished", "under way", "not asked")):
            record = await line.recall(prompt(seq, text))
            assert record.item is not None
            if text == "finished":
                await pay(journal, line, record)
            elif text == "under way":
                await journal.intend(record.item, "k", 0.5)


def test_a_call_without_an_answer_is_in_doubt_and_named_and_asked_again(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        await killed_in_a_call(opened)
        (doubt,) = status(tmp_path)["in_doubt"]
        assert doubt["id"] == "1"
        async with opened() as journal, journal_line(journal, URL, None) as line:
            recalled = [await line.recall(prompt(seq, text)) for seq, text in enumerate(("finished", "under way", "not asked"))]
            assert [type(record) for record in recalled] == [Result, Prompt, Prompt]
            # It may have been paid: the budget of the job counts it.
            assert journal.spent_usd == 0.75
            # To read it is not to ask for it.
            assert journal.asked_again == 0
            await pay(journal, line, recalled[1])
            assert journal.asked_again == 1
        books = status(tmp_path)
        assert books["in_doubt"] == []
        assert books["perhaps_paid"] == [doubt]
        assert books["attempts"] == {"paid": 2, "spoilt": 0, "unpaid": 0, "unknown": 1, "open": 0}

    run(main)


def test_what_is_in_doubt_and_comes_from_the_cache_is_in_doubt_no_more(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        await killed_in_a_call(opened)
        async with opened() as journal, journal_line(journal, URL, None) as line:
            await line.ended(made(await line.recall(prompt(1, "under way")), strategy=Strategy.CACHE_EXACT))
            assert journal.asked_again == 0
        books = status(tmp_path)
        assert (books["in_doubt"], [call["id"] for call in books["perhaps_paid"]]) == ([], ["1"])

    run(main)


def test_the_money_of_simulated_calls_is_kept_apart(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        spent = []
        for simulated in (True, True, False, False):
            with open_journal(tmp_path, Disk(inline), fresh=False, hold=False, simulated=simulated) as journal:
                spent.append(journal.spent_usd)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(journal.writer.run)
                    async with journal_line(journal, URL, None) as line:
                        await pay(journal, line, await line.recall(prompt(len(spent), f"cat {len(spent)}")))
                    nursery.cancel_scope.cancel()
        assert spent == [0.0, 0.25, 0.0, 0.25]
        assert (status(tmp_path)["attempts"]["paid"], status(tmp_path)["paid_usd"]) == (4, 0.5)

    run(main)


def test_what_another_prompt_was_paid_for_is_on_the_disk_before_it_is_told(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as journal, journal_line(journal, URL, None) as line:
            await line.ended(made(await line.recall(prompt(0)), strategy=Strategy.COALESCED))
            assert status(tmp_path)["ok"] == 1

    run(main)


def test_what_is_in_doubt_is_left_alone_where_that_is_asked_for(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        await killed_in_a_call(opened)
        for _ in range(2):
            async with opened() as journal:
                await recall(journal, prompt(1, "under way"))  # a run that is stopped before it asks leaves it in doubt
            async with opened(hold=True) as journal, journal_line(journal, URL, None) as line:
                result = await line.recall(prompt(1, "under way"))
                assert isinstance(result, Result)
                assert result.status is Status.SKIPPED
                assert result.error is not None
                assert (result.error.kind, result.error.retryable) == (Kind.IN_DOUBT, True)
                await line.ended(result)
                assert (journal.held, journal.asked_again) == (1, 0)
            assert [doubt["id"] for doubt in status(tmp_path)["in_doubt"]] == ["1"]
        async with opened() as journal:
            assert isinstance((await recall(journal, prompt(1, "under way")))[0], Prompt)

    run(main)


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (Problem(kind=Kind.BAD_ANSWER, message="", billed=True), "spoilt"),
        (Problem(kind=Kind.TIMEOUT, message="", uncertain=True), "unknown"),
        (Problem(kind=Kind.RATE_LIMITED, message=""), "unpaid"),
    ],
)
def test_a_call_without_a_picture_says_whether_it_was_paid(
    run: Run, opened: Opened, tmp_path: Path, problem: Problem, outcome: str
) -> None:
    async def main() -> None:
        async with opened() as journal, journal_line(journal, URL, None) as line:
            record = await line.recall(prompt(0))
            journal.failed(await journal.intend(record.item or 0, "k", 0.5), problem)
        books = status(tmp_path)
        assert {name: count for name, count in books["attempts"].items() if count} == {outcome: 1}
        assert (books["paid_usd"], books["perhaps_paid_usd"]) == (0.5 * (outcome == "spoilt"), 0.5 * (outcome == "unknown"))

    run(main)


def test_a_call_that_is_cancelled_before_it_is_made_is_in_nobodys_doubt(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened() as journal, journal_line(journal, URL, None) as line:
            record = await line.recall(prompt(0))
            with trio.CancelScope() as scope:
                scope.cancel()
                await journal.intend(record.item or 0, "k", 0.5)
            assert scope.cancelled_caught
        assert status(tmp_path)["attempts"] == {"paid": 0, "spoilt": 0, "unpaid": 1, "unknown": 0, "open": 0}

    run(main)


def test_lines_beside_each_other_do_not_take_each_others_items(run: Run, opened: Opened) -> None:
    async def main() -> None:
        async with opened() as journal:
            await recall(journal, prompt(0), prompt(1))
        async with opened() as journal, journal_line(journal, URL, None) as one, journal_line(journal, URL, None) as other:
            items = [(await line.recall(prompt(0))).item for line in (one, other, one, other)]
            assert sorted(item or 0 for item in items) == [1, 2, 3, 4]

    run(main)


def test_lines_one_after_the_other_in_one_process_find_the_same_items(run: Run, opened: Opened) -> None:
    async def main() -> None:
        async with opened() as journal:
            for _ in range(3):
                async with journal_line(journal, URL, None) as line:
                    assert [(await line.recall(prompt(n))).item for n in range(2)] == [1, 2]

    run(main)


def test_what_a_job_has_cost_is_known_until_it_comes_to_its_end(run: Run, opened: Opened) -> None:
    async def main() -> None:
        spent = []
        for seq, complete in enumerate((False, False, True, False)):
            async with opened() as journal, journal_line(journal, URL, None) as line:
                spent.append(journal.spent_usd)
                await pay(journal, line, await line.recall(prompt(seq, f"cat {seq}")))
                if complete:
                    journal.complete()
        async with opened() as journal:
            assert [*spent, journal.spent_usd] == [0.0, 0.25, 0.5, 0.0, 0.25]

    run(main)


def test_a_line_leaves_the_items_of_those_that_were_at_work_when_it_began_alone_also_when_they_have_ended(run: Run, opened: Opened) -> None:
    async def main() -> None:
        async with opened() as journal:
            async with AsyncExitStack() as stack:
                one = await stack.enter_async_context(journal_line(journal, URL, None))
                async with journal_line(journal, URL, None) as other:
                    await other.recall(prompt(0))
                assert (await one.recall(prompt(0))).item == 2
            async with journal_line(journal, URL, None) as later:
                assert sorted([(await later.recall(prompt(n))).item or 0 for n in range(3)]) == [1, 2, 3]

    run(main)


def test_starting_over_forgets_everything(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        await killed_in_a_call(opened)
        async with opened(fresh=True) as journal:
            assert isinstance((await recall(journal, prompt(0, "finished")))[0], Prompt)
        assert status(tmp_path)["prompts"] == 1

    run(main)


def test_what_a_killed_process_left_half_written_is_removed(run: Run, opened: Opened, tmp_path: Path) -> None:
    async def main() -> None:
        await killed_in_a_call(opened)
        part = write_part(tmp_path / "images" / "ab" / "abcd.png", b"half")
        async with opened():
            assert not part.path.exists()

    run(main)


@given(
    result=st.builds(
        Result,
        seq=st.just(1),
        id=st.just("1"),
        prompt=st.just("a fox"),
        status=st.sampled_from(Status),
        strategy=st.sampled_from(Strategy) | st.none(),
        images=st.tuples(st.builds(Picture, path=TEXT, sha256=TEXT, format=TEXT, width=COUNT, height=COUNT, bytes=COUNT)),
        key=TEXT | st.none(),
        attempts=st.integers(0, 9),
        usage=st.builds(Usage, input_tokens=COUNT, output_tokens=COUNT) | st.none(),
        cost_usd=st.integers(0, 10**6).map(lambda number: number / 10**6) | st.none(),
        saved_usd=st.sampled_from((0.0, 0.25, None)),
        waited_s=st.integers(0, 10**6).map(lambda number: number / 1000),
        match=st.builds(Match, of=TEXT, similarity=st.integers(0, 8).map(lambda number: number / 8)) | st.none(),
        error=st.builds(Problem, kind=st.sampled_from(Kind), message=TEXT, status=st.integers(100, 599) | st.none()) | st.none(),
        metadata=st.just({"a": 1}),
    )
)
def test_a_result_comes_back_as_the_line_that_it_was(result: Result) -> None:
    record = prompt(1, metadata={"a": 1})
    back = restored(stored(result), record)
    assert back is not None
    assert back.as_dict() == result.as_dict()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"status": "great"}', '{"status": "ok", "images": 5}', '{"status": "ok", "usage": 1}']
)
def test_a_row_that_a_stranger_spoilt_is_no_result(text: str) -> None:
    assert restored(text, prompt(1)) is None
