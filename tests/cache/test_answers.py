from __future__ import annotations

import errno
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.cache import answers as module
from headrace.cache import store as store_module
from headrace.cache.answers import Answers
from headrace.cache.store import Store
from headrace.errors import OutputError
from headrace.offload import Threads, inline
from headrace.records import Answer, Prompt, Strategy, Trail, Vector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from headrace.cache.entry import Entry

    Make = Callable[..., Entry]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        with trio.fail_after(1e6):
            await test()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def question(kept: Entry, vector: Vector | None = None) -> Prompt:
    return Prompt(
        seq=0,
        id=kept.origin,
        request=kept.request,
        namespace=kept.namespace,
        scope=kept.scope,
        key=kept.key,
        leads=(kept.key,),
        vector=vector,
    )


def answer(kept: Entry) -> Answer:
    return Answer(
        prompt=question(kept),
        request=kept.request,
        strategy=Strategy.PRIMARY,
        pictures=kept.pictures,
        usage=kept.usage,
        cost_usd=kept.cost_usd,
        trail=Trail(),
    )


def edit(path: Path) -> None:
    """Other content of the same size, where the file lies."""
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, (1e9, 1e9))


def test_what_was_kept_is_found_now_and_in_the_next_run_under_every_name(store: Store, root: Path, entry: Make) -> None:
    async def test() -> None:
        kept = entry(root)
        vector = Vector("e", b"1234")
        answers = Answers(store, root, inline)
        assert await answers.find(kept.key) is None
        await answers.keep(question(kept, vector), answer(kept))
        for each in (answers, Answers(store, root, inline)):
            found = [await each.find(kept.key), await each.find_canonical(kept.canonical), await each.find_number(1)]
            assert [one and (one.number, one.request, one.pictures, one.origin) for one in found] == [
                (1, kept.request, kept.pictures, kept.origin)
            ] * 3
        assert store._db.execute("select * from vector").fetchall() == [(1, "e", b"1234")]

    run(test)


def test_a_prompt_that_is_not_to_be_kept_is_not(store: Store, root: Path, entry: Make) -> None:
    async def test() -> None:
        kept = entry(root)
        asked = question(kept)
        for lacking in (attrs.evolve(asked, key=None), attrs.evolve(asked, scope=None), attrs.evolve(asked, namespace=None)):
            await Answers(store, root, inline).keep(lacking, answer(kept))
        assert list(store.entries()) == []

    run(test)


def test_what_was_found_is_below_the_root(store: Store, root: Path, tmp_path: Path, entry: Make) -> None:
    async def test() -> None:
        kept = store.put(entry(root), root)
        answers = Answers(store, tmp_path / "elsewhere", inline)
        for _ in range(2):
            found = await answers.find(kept.key)
            assert found is not None
            assert (tmp_path / "elsewhere" / found.pictures[0].path).is_file()
            (tmp_path / "elsewhere" / found.pictures[0].path).unlink()

    run(test)


def test_an_answer_whose_picture_has_no_room_below_the_root_waits_for_it(
    store: Store, root: Path, tmp_path: Path, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    fetch = store.pictures.fetch

    def full_at_first(*given: Any) -> bool:
        tries.append(trio.current_time())
        if len(tries) < 3:
            raise OutputError("it cannot be written") from OSError(errno.ENOSPC, "No space left on device")
        return fetch(*given)

    async def test() -> None:
        kept = store.put(entry(root), root)
        monkeypatch.setattr(store.pictures, "fetch", full_at_first)
        found = await Answers(store, tmp_path / "elsewhere", inline).find(kept.key)
        assert found is not None
        assert len(tries) == 3

    trio.run(test, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("small", [True, False])
def test_where_there_is_no_answer_nothing_else_runs_meanwhile(
    small: bool, store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever finds none may lead at once: nobody else has come in between.
    if not small:
        monkeypatch.setattr(module, "_SMALL", 0)

    async def test() -> None:
        broken = store.put(entry(root), root)
        edit(root / broken.pictures[0].path)
        answers = Answers(store, root, inline)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await trio.lowlevel.checkpoint()
                ticks += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            await trio.lowlevel.checkpoint()
            before = ticks
            assert await answers.find("none") is None
            assert await answers.find_canonical("none") is None
            assert ticks == before
            seen = []
            look_up = store.get

            def last(key: str) -> Entry | None:
                seen.append(ticks)
                return look_up(key)

            monkeypatch.setattr(store, "get", last)
            assert await answers.find(broken.key) is None
            assert ticks == seen[-1]
            nursery.cancel_scope.cancel()

    run(test)


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("how", ["find", "find_canonical", "find_number"])
def test_a_broken_picture_is_noticed_and_its_answer_dropped(
    how: str, remembered: bool, store: Store, root: Path, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        answers = Answers(store, root, inline)
        kept = store.put(entry(root), root)
        name = {"find": kept.key, "find_canonical": kept.canonical, "find_number": kept.number}[how]
        if remembered:
            assert await getattr(answers, how)(name) is not None
        edit(root / kept.pictures[0].path)
        for _ in range(2):
            assert await getattr(answers, how)(name) is None
        assert list(store.entries()) == []
        assert caplog.text.count("cache_picture_broken") == 1
        again = entry(root)
        await answers.keep(question(again), answer(again))
        assert await answers.find(kept.key) is not None

    run(test)


def test_behind_a_broken_answer_of_the_same_content_another_one_is_found(store: Store, root: Path, entry: Make) -> None:
    async def test() -> None:
        older, latest = (store.put(entry(root, words, canonical="c"), root) for words in ("a fox", "the fox"))
        edit(root / latest.pictures[0].path)
        found = await Answers(store, root, inline).find_canonical("c")
        assert found is not None
        assert found.number == older.number

    run(test)


def test_a_picture_that_came_back_below_the_root_is_no_reason_to_trust_what_is_remembered(store: Store, root: Path, entry: Make) -> None:
    async def test() -> None:
        answers = Answers(store, root, inline)
        kept = store.put(entry(root), root)
        assert await answers.find(kept.key) is not None
        (root / kept.pictures[0].path).unlink()
        assert await answers.find(kept.key) is not None, "the cache has its own"
        assert (root / kept.pictures[0].path).read_bytes() == b"a fox"

    run(test)


def test_a_remembered_answer_grows_old_like_any_other(folder: Path, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 1e6

        def time(self) -> float:
            return self.now

    clock = Clock()
    for each in (module, store_module):
        monkeypatch.setattr(each, "time", clock)

    async def test() -> None:
        with closing(Store(folder, 10.0)) as store:
            answers = Answers(store, root, inline)
            kept = entry(root)
            await answers.keep(question(kept), answer(kept))
            clock.now += 9
            assert await answers.find(kept.key) is not None
            assert await answers.find_canonical(kept.canonical) is not None
            clock.now += 2
            assert await answers.find(kept.key) is None
            assert await answers.find_canonical(kept.canonical) is None

    run(test)


def test_only_so_many_are_remembered_and_the_least_used_goes_first(
    store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)

    async def test() -> None:
        answers = Answers(store, root, inline)
        made = [store.put(entry(root, words), root) for words in ("a", "b", "c")]
        for place in (0, 1, 0, 2):
            await answers.find(made[place].key)
        assert list(answers._recent) == [made[0].key, made[2].key]
        assert await answers.find(made[1].key) is not None

    run(test)


def test_hits_are_booked_when_there_are_many_and_at_the_end(store: Store, root: Path, entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOOKED", 4)

    async def test() -> None:
        answers = Answers(store, root, inline)
        kept = store.put(entry(root), root)

        def booked() -> int:
            found = store.get(kept.key)
            assert found is not None
            return found.hits

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answers.run)
            for expected in (0, 0, 0, 4, 4, 4, 4, 8, 8):
                await answers.find(kept.key)
                await wait_all_tasks_blocked()
                assert booked() == expected
            nursery.cancel_scope.cancel()
        answers.close()
        assert booked() == 9

    run(test)


def test_what_is_too_much_is_evicted_at_first_and_as_soon_as_it_is(store: Store, root: Path, entry: Make) -> None:

    async def test() -> None:
        for number in range(5):
            store.put(entry(root, f"old {number}"), root)
        answers = Answers(store, root, inline, max_entries=2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answers.run)
            await wait_all_tasks_blocked()
            assert len(list(store.entries())) == 2
            for number in range(3):
                kept = entry(root, f"new {number}")
                await answers.keep(question(kept), answer(kept))
                await wait_all_tasks_blocked()
                assert len(list(store.entries())) == 2
            nursery.cancel_scope.cancel()

    run(test)


def test_a_store_that_cannot_be_written_or_read_costs_nobody_an_answer(
    store: Store, root: Path, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        answers = Answers(store, root, inline, max_entries=0)
        store._db.execute("drop table picture")
        kept = entry(root)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answers.run)
            await answers.keep(question(kept), answer(kept))
            assert await answers.find(kept.key) is not None, "this run remembers it"
            assert await answers.find("another") is None
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        answers.close()
        assert "cache_unwritable" in caplog.text

    run(test)


def test_hits_that_come_while_others_are_booked_in_a_thread_are_not_lost(store: Store, root: Path, entry: Make) -> None:
    async def test() -> None:
        answers = Answers(store, root, Threads(1))
        made = [store.put(entry(root, str(number)), root) for number in range(20)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answers.run)
            for _ in range(100):
                for each in made:
                    await answers.find(each.key)
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        answers.close()
        assert [found.hits for found in store.entries()] == [100] * 20

    trio.run(test)
