from __future__ import annotations

import hashlib
import logging
import os
import shutil
from contextlib import ExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.budget import Budget
from headrace.cache.answers import Answers
from headrace.cache.in_flight import InFlight
from headrace.cache.store import Store
from headrace.flow import flow
from headrace.offload import inline
from headrace.records import (
    Answer,
    CacheMode,
    Failure,
    Kind,
    Picture,
    Problem,
    Prompt,
    Request,
    Result,
    Status,
    Strategy,
    Trail,
    Usage,
)
from headrace.stages.dedupe import Dedupe
from headrace.stages.settle import Settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.flow import Running

REQUEST = Request(prompt="a cat", model="gpt-image-2.5-flare", size="1024x1024", quality="low")
PARAMETERS: dict[str, Any] = {
    "prompt": "a dog",
    "model": "gpt-image-2",
    "size": "1024x1536",
    "quality": "medium",
    "n": 2,
    "output_format": "webp",
    "output_compression": 50,
    "background": "opaque",
    "moderation": "low",
}
CALL_S = 10.0


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def prompt(seq: int, request: Request = REQUEST, **more: Any) -> Prompt:
    return Prompt(seq=seq, id=f"id-{seq}", request=request, metadata={"row": [seq]}, **more)


async def source(records: Iterable[Prompt | Result], gap_s: float = 0.0) -> AsyncIterator[Prompt | Result]:
    for record in records:
        yield record
        await trio.sleep(gap_s)


class Painter:
    """Stands for all between dedupe and settle: takes ten seconds a picture, each in a task of its own."""

    def __init__(self, root: Path, problems: Iterable[Problem | None] = (), strategy: Strategy = Strategy.PRIMARY) -> None:
        self._root = root
        self._problems = list(problems)
        self._strategy = strategy
        self.painted: list[str] = []
        """Ids of the prompts that were asked for."""

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        with source, sink:
            async with trio.open_nursery() as nursery:
                async for record in source:
                    if isinstance(record, Result):
                        await sink.send(record)
                    else:
                        self.painted.append(record.id)
                        nursery.start_soon(self._paint, record, self._problems.pop(0) if self._problems else None, sink)

    async def _paint(self, prompt: Prompt, problem: Problem | None, sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        if problem is not None:
            await trio.sleep(CALL_S / 2)
            await sink.send(Failure(prompt=prompt, problem=problem, trail=Trail(key="k", attempts=3, latency_s=5.0, waited_s=1.0)))
            return
        await trio.sleep(CALL_S)
        content = f"picture of {prompt.id}".encode()
        digest = hashlib.sha256(content).hexdigest()
        path = f"images/{digest[:2]}/{digest}.png"
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).write_bytes(content)
        picture = Picture(path=path, sha256=digest, format="png", width=1, height=1, bytes=len(content))
        await sink.send(
            Answer(
                prompt=prompt,
                request=prompt.request,
                strategy=self._strategy,
                pictures=(picture,),
                usage=Usage(input_tokens=1, output_tokens=2),
                cost_usd=0.5,
                trail=Trail(key="k", attempts=1, latency_s=CALL_S, waited_s=2.0),
            )
        )


@attrs.frozen
class Lines:
    """Lines that share a cache and what is in flight."""

    answers: Answers
    painter: Painter
    in_flight: InFlight = attrs.field(factory=InFlight)

    @asynccontextmanager
    async def open(self, prompts: Iterable[Prompt | Result], gap_s: float = 0.0) -> AsyncIterator[Running[Result]]:
        with self.in_flight.line() as leads:
            line = (
                flow(source(prompts, gap_s))
                .then(Dedupe(self.answers, leads, "test", "default"))
                .then(self.painter)
                .then(Settle(self.answers, leads, Budget(None).line(), lambda _: None))
            )
            async with line.open() as running:
                yield running

    async def results(self, prompts: Iterable[Prompt | Result], gap_s: float = 0.0) -> dict[int, Result]:
        async with self.open(prompts, gap_s) as running:
            results = [result async for result in running.results]
        assert len({result.seq for result in results}) == len(results)
        return {result.seq: result for result in results}


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Callable[[Painter], Lines]]:
    with ExitStack() as stores:

        def make(painter: Painter) -> Lines:
            store = stores.enter_context(closing(Store(tmp_path / "cache", 1e6)))
            return Lines(Answers(store, tmp_path, inline), painter)

        yield make


def test_prompts_equal_to_one_in_flight_wait_for_it_and_share_its_picture(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        results = await lines(painter).results(prompt(seq) for seq in range(4))
        assert painter.painted == ["id-0"]
        assert trio.current_time() == CALL_S
        assert results[0].strategy is Strategy.PRIMARY
        assert results[0].cost_usd == 0.5
        for seq in range(1, 4):
            follower = results[seq]
            assert (follower.id, follower.metadata, follower.status) == (f"id-{seq}", {"row": [seq]}, Status.OK)
            assert (follower.strategy, follower.cost_usd, follower.saved_usd, follower.attempts) == (Strategy.COALESCED, 0.0, 0.5, 0)
            assert follower.match is not None
            assert follower.match.of == "id-0"
            assert follower.images == results[0].images

    run(main)


def test_a_prompt_that_was_answered_before_is_not_asked_again(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        line = lines(painter)
        await line.results([prompt(0)])
        assert (await line.results([prompt(1)]))[1].strategy is Strategy.CACHE_EXACT
        fresh = attrs.evolve(line, answers=Answers(line.answers._store, tmp_path, inline))
        hit = (await fresh.results([prompt(5)]))[5]
        assert (hit.strategy, hit.saved_usd, hit.cost_usd, hit.id) == (Strategy.CACHE_EXACT, 0.5, 0.0, "id-5")
        assert painter.painted == ["id-0"]

    run(main)


def test_followers_of_a_failed_prompt_fail_with_its_reason_and_their_own_columns(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        blocked = Problem(kind=Kind.MODERATION_BLOCKED, message="no", status=400)
        results = await lines(Painter(tmp_path, [blocked])).results(prompt(seq) for seq in range(3))
        assert [results[seq].error for seq in range(3)] == [blocked] * 3
        assert (results[0].key, results[0].attempts, results[0].latency_s) == ("k", 3, 5.0)
        for seq in (1, 2):
            follower = results[seq]
            assert (follower.id, follower.metadata, follower.status) == (f"id-{seq}", {"row": [seq]}, Status.FAILED)
            assert (follower.key, follower.attempts, follower.latency_s, follower.waited_s) == (None, 0, None, 0.0)

    run(main)


def test_a_follower_in_another_line_with_the_same_number_is_told_from_its_leader(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        shared = lines(Painter(tmp_path, [Problem(kind=Kind.MODERATION_BLOCKED, message="no")]))
        found: dict[str, Result] = {}

        async def one(name: str) -> None:
            found[name] = (await shared.results([prompt(0)]))[0]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "leader")
            await trio.sleep(1)
            nursery.start_soon(one, "follower")
        assert (found["leader"].attempts, found["leader"].key) == (3, "k")
        assert (found["follower"].attempts, found["follower"].key) == (0, None)

    run(main)


@pytest.mark.parametrize("again", range(3))  # the scheduler shuffles what happens at once
@pytest.mark.parametrize("ticks", range(10))
def test_a_prompt_that_comes_in_the_moment_its_equal_is_answered_is_not_paid_for_again(
    tmp_path: Path, lines: Callable[[Painter], Lines], ticks: int, again: int
) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        assert again >= 0

        async def just_in_time() -> AsyncIterator[Prompt | Result]:
            yield prompt(0)
            await trio.sleep(CALL_S)
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            yield prompt(1)

        shared = lines(painter)
        with shared.in_flight.line() as leads:
            settle = Settle(shared.answers, leads, Budget(None).line(), lambda _: None)
            line = flow(just_in_time()).then(Dedupe(shared.answers, leads, "test", "default")).then(painter).then(settle)
            async with line.open() as running:
                assert [result.status async for result in running.results] == [Status.OK] * 2
        assert painter.painted == ["id-0"]

    run(main)


def test_a_failed_prompt_is_asked_again_when_it_comes_again(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path, [Problem(kind=Kind.SERVER_ERROR, message="down")])
        results = await lines(painter).results([prompt(0), prompt(1)], gap_s=CALL_S)
        assert painter.painted == ["id-0", "id-1"]
        assert results[1].status is Status.OK

    run(main)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_prompt_that_differs_in_any_parameter_is_another_one(tmp_path: Path, lines: Callable[[Painter], Lines], name: str) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        await lines(painter).results([prompt(0), prompt(1, attrs.evolve(REQUEST, **{name: PARAMETERS[name]}))])
        assert painter.painted == ["id-0", "id-1"]

    run(main)


def test_another_variation_is_another_picture_and_the_same_one_is_shared(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        await lines(painter).results(prompt(seq, variation=seq % 3) for seq in range(9))
        assert painter.painted == ["id-0", "id-1", "id-2"]

    run(main)


def test_prompts_that_differ_in_unicode_composition_alone_are_equal(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        composed, decomposed = attrs.evolve(REQUEST, prompt="caf\u00e9"), attrs.evolve(REQUEST, prompt="cafe\u0301")
        results = await lines(painter).results([prompt(0, composed), prompt(1, decomposed)])
        assert painter.painted == ["id-0"]
        assert results[1].prompt == "cafe\u0301", "each gets its own text back"

    run(main)


def test_bypass_neither_uses_nor_fills_nor_shares(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        line = lines(painter)
        await line.results([prompt(0, cache=CacheMode.BYPASS), prompt(1, cache=CacheMode.BYPASS), prompt(2)])
        assert painter.painted == ["id-0", "id-1", "id-2"]
        await line.results([prompt(3, cache=CacheMode.BYPASS)])
        assert painter.painted[3:] == ["id-3"]

    run(main)


def test_refresh_makes_a_new_picture_and_keeps_it(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        line = lines(painter)
        await line.results([prompt(0)])
        await line.results([prompt(1, cache=CacheMode.REFRESH)])
        assert painter.painted == ["id-0", "id-1"]
        hit = (await line.results([prompt(2)]))[2]
        assert hit.match is not None
        assert hit.match.of == "id-1"

    run(main)


def test_a_refresh_that_fails_harms_nobody_who_waits_for_an_equal_prompt_in_flight(
    tmp_path: Path, lines: Callable[[Painter], Lines]
) -> None:
    async def main() -> None:
        painter = Painter(tmp_path, [None, Problem(kind=Kind.SERVER_ERROR, message="down")])
        results = await lines(painter).results([prompt(0), prompt(1, cache=CacheMode.REFRESH), prompt(2)])
        assert [results[seq].status for seq in range(3)] == [Status.OK, Status.FAILED, Status.OK]
        assert painter.painted == ["id-0", "id-1"]

    run(main)


def test_after_a_refresh_failed_an_equal_prompt_still_waits_for_the_one_in_flight(
    tmp_path: Path, lines: Callable[[Painter], Lines]
) -> None:
    async def main() -> None:
        painter = Painter(tmp_path, [None, Problem(kind=Kind.SERVER_ERROR, message="down")])
        # One every 3 s: the refresh fails at 8 s, the last comes at 9 s, the first is answered at 10 s.
        other = prompt(2, attrs.evolve(REQUEST, prompt="a dog"))
        await lines(painter).results([prompt(0), prompt(1, cache=CacheMode.REFRESH), other, prompt(3)], gap_s=3)
        assert painter.painted == ["id-0", "id-1", "id-2"], "nothing is paid for twice"

    run(main)


def test_what_a_fallback_made_is_shared_but_not_kept(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path, strategy=Strategy.REDUCED_QUALITY)
        line = lines(painter)
        results = await line.results([prompt(0), prompt(1)])
        assert (results[0].strategy, results[1].strategy) == (Strategy.REDUCED_QUALITY, Strategy.COALESCED)
        await line.results([prompt(2)])
        assert painter.painted == ["id-0", "id-2"]

    run(main)


def test_a_follower_takes_over_where_the_line_of_its_leader_is_left(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        shared = lines(painter)
        async with trio.open_nursery() as nursery:
            left = trio.CancelScope()

            async def leader() -> None:
                with left:
                    await shared.results([prompt(7)])

            nursery.start_soon(leader)
            await wait_all_tasks_blocked()
            async with shared.open(prompt(seq) for seq in range(3)) as running:
                await trio.sleep(4)
                assert painter.painted == ["id-7"]
                left.cancel()
                results = [result async for result in running.results]
            assert len(painter.painted) == 2, "one of the three leads now"
            assert sorted(result.seq for result in results) == [0, 1, 2]
            assert {result.status for result in results} == {Status.OK}
            assert sorted(str(result.strategy) for result in results) == ["coalesced", "coalesced", "primary"]
            assert trio.current_time() == 14.0

    run(main)


def test_a_line_whose_consumer_stalls_does_not_hold_up_equal_prompts_of_another_line(
    tmp_path: Path, lines: Callable[[Painter], Lines]
) -> None:
    async def main() -> None:
        shared = lines(Painter(tmp_path))
        requests = [attrs.evolve(REQUEST, prompt=f"cat {n}") for n in range(6)]
        async with shared.open(prompt(n, request) for n, request in enumerate(requests)) as stalled:
            await wait_all_tasks_blocked()
            with trio.fail_after(1_000):
                other = await shared.results(prompt(n, request) for n, request in enumerate(requests))
            assert len(other) == 6
            assert len([result async for result in stalled.results]) == 6

    run(main)


def test_results_that_were_born_before_pass_untouched(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        bad = Result(seq=0, id="bad", prompt=None, status=Status.FAILED)
        assert (await lines(Painter(tmp_path)).results([bad]))[0] is bad

    run(main)


@pytest.mark.parametrize("name", PARAMETERS)
def test_what_was_kept_for_other_parameters_is_no_answer(tmp_path: Path, lines: Callable[[Painter], Lines], name: str) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        line = lines(painter)
        await line.results([prompt(0)])
        fresh = attrs.evolve(line, answers=Answers(line.answers._store, tmp_path, inline))
        results = await fresh.results([prompt(1, attrs.evolve(REQUEST, **{name: PARAMETERS[name]})), prompt(2)])
        assert (results[1].strategy, results[2].strategy) == (Strategy.PRIMARY, Strategy.CACHE_EXACT)

    run(main)


def test_prompts_of_different_namespaces_never_meet_and_one_without_has_that_of_the_settings(
    tmp_path: Path, lines: Callable[[Painter], Lines]
) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        line = lines(painter)
        names = [None, "default", "other", "another", None, "other"]
        for _ in range(2):
            results = await line.results(prompt(seq, namespace=name) for seq, name in enumerate(names))
            assert painter.painted == ["id-0", "id-2", "id-3"]
        assert [results[seq].match.of for seq in range(6)] == ["id-0", "id-0", "id-2", "id-3", "id-0", "id-2"]  # type: ignore[union-attr]  # all are hits

    run(main)


def edit(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)
    os.utime(path, (1e9, 1e9))


def truncate(path: Path) -> None:
    os.truncate(path, 3)


def lose(path: Path) -> None:
    path.unlink()


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("spoil", [edit, truncate, lose, replace_by_folder, replace_by_link])
def test_a_picture_that_broke_in_the_cache_is_made_again_and_nobody_gets_the_broken_one(
    tmp_path: Path, lines: Callable[[Painter], Lines], spoil: Callable[[Path], None], moved: bool, remembered: bool
) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        line = lines(painter)
        (image,) = (await line.results([prompt(0)]))[0].images
        if not remembered:
            line = attrs.evolve(lines(painter), painter=painter)
        if moved:  # the run writes into another folder by now
            shutil.rmtree(tmp_path / "images")
        spoil(tmp_path / "cache" / image.path)
        result = (await line.results([prompt(1)]))[1]
        assert result.status is Status.OK
        (shown,) = result.images
        assert hashlib.sha256((tmp_path / shown.path).read_bytes()).hexdigest() == shown.sha256
        untouched = not moved and spoil in (lose, replace_by_folder, replace_by_link)
        assert painter.painted == (["id-0"] if untouched else ["id-0", "id-1"])
        again = (await line.results([prompt(2)]))[2]
        assert again.strategy is Strategy.CACHE_EXACT
        assert again.images == result.images

    run(main)


def test_a_failure_is_never_kept(tmp_path: Path, lines: Callable[[Painter], Lines]) -> None:
    async def main() -> None:
        for kind in Kind:
            line = lines(Painter(tmp_path, [Problem(kind=kind, message="no")]))
            assert (await line.results([prompt(0)]))[0].status is not Status.OK
            assert list(line.answers._store.entries()) == []

    run(main)


@pytest.mark.parametrize("strategy", [Strategy.REDUCED_QUALITY, Strategy.ALTERNATIVE_API, Strategy.CACHED_SIMILAR])
def test_nothing_but_what_was_asked_for_is_kept(tmp_path: Path, lines: Callable[[Painter], Lines], strategy: Strategy) -> None:
    async def main() -> None:
        line = lines(Painter(tmp_path, strategy=strategy))
        for mode in (CacheMode.USE, CacheMode.REFRESH, CacheMode.BYPASS):
            assert (await line.results([prompt(0, cache=mode)]))[0].strategy is strategy
        assert list(line.answers._store.entries()) == []

    run(main)


def test_a_hit_is_an_event(tmp_path: Path, lines: Callable[[Painter], Lines], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="headrace")

    async def main() -> None:
        line = lines(Painter(tmp_path))
        await line.results([prompt(0)])
        await line.results([prompt(1)])
        (event,) = [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg["event"] == "cache_hit"]
        assert (event["prompt"], event["tier"], event["of"]) == ("id-1", "cache_exact", "id-0")

    run(main)


def test_where_the_line_of_a_leader_is_left_one_follower_of_each_of_its_keys_takes_over(
    tmp_path: Path, lines: Callable[[Painter], Lines]
) -> None:
    async def main() -> None:
        painter = Painter(tmp_path)
        shared = lines(painter)
        requests = [attrs.evolve(REQUEST, prompt=f"cat {number}") for number in range(3)]
        async with trio.open_nursery() as nursery:
            left = trio.CancelScope()

            async def leader() -> None:
                with left:
                    await shared.results(prompt(number, request) for number, request in enumerate(requests))

            nursery.start_soon(leader)
            await wait_all_tasks_blocked()
            async with shared.open(prompt(number, requests[number % 3]) for number in range(30)) as running:
                await trio.sleep(4)
                left.cancel()
                results = [result async for result in running.results]
        assert sorted(result.seq for result in results) == list(range(30))
        assert {result.status for result in results} == {Status.OK}
        assert len(painter.painted) == 6
        assert not shared.in_flight._flights

    run(main)
