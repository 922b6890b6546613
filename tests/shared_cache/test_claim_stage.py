"""Lines of several processes from dedupe to settle, in virtual time, over one store that is a fake and one folder."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import asynccontextmanager, closing
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from headrace.budget import Budget
from headrace.cache.answers import Answers
from headrace.cache.in_flight import InFlight
from headrace.cache.store import Store
from headrace.disk import Disk
from headrace.flow import flow
from headrace.offload import inline
from headrace.places import Folder
from headrace.records import Answer, Failure, Kind, Picture, Problem, Prompt, Request, Result, Status, Strategy, Trail
from headrace.settings import Settings
from headrace.shared_cache.cache import SharedCache
from headrace.shared_cache.claims import LOOK_S, Claims
from headrace.shared_cache.opening import open_shared_cache
from headrace.shared_cache.pictures import SharedPictures
from headrace.stages.claim import Claim
from headrace.stages.dedupe import Dedupe
from headrace.stages.semantic import Semantic
from headrace.stages.settle import Settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from trio import MemoryReceiveChannel, MemorySendChannel

    from tests.shared_cache.conftest import FakeLink, FakeStore

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
TTL_S = 1e6


class Painter:
    """Stands for all between claim and settle: each picture takes as long as its words say, or fails after that."""

    def __init__(self, root: Path, takes_s: float, problem: Problem | None, strategy: Strategy) -> None:
        self._strategy = strategy
        self._root = root
        self._takes_s = takes_s
        self._problem = problem
        self.painted: list[str] = []

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        with source, sink:
            async with trio.open_nursery() as nursery:
                async for record in source:
                    if isinstance(record, Result):
                        await sink.send(record)
                    else:
                        nursery.start_soon(self._paint, record, sink)

    async def _paint(self, prompt: Prompt, sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        self.painted.append(prompt.request.prompt)
        await trio.sleep(self._takes_s)
        if self._problem is not None:
            await sink.send(Failure(prompt=prompt, problem=self._problem))
            return
        content = f"picture of {prompt.request.prompt}".encode()
        digest = hashlib.sha256(content).hexdigest()
        path = f"images/{digest[:2]}/{digest}.png"
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).write_bytes(content)
        picture = Picture(path=path, sha256=digest, format="png", width=1, height=1, bytes=len(content))
        fields = {"strategy": self._strategy, "pictures": (picture,), "usage": None, "cost_usd": 0.5, "trail": Trail(attempts=1)}
        await sink.send(Answer(prompt=prompt, request=prompt.request, **fields))  # type: ignore[arg-type]  # as they are


@attrs.frozen(kw_only=True)
class Worker:
    """One process."""

    shared: SharedCache
    link: FakeLink
    painter: Painter
    root: Path
    in_flight: InFlight = attrs.field(factory=InFlight)

    async def results(self, words: Iterable[str]) -> list[tuple[float, Result]]:
        """When each result came, and which."""
        prompts = (Prompt(seq=seq, id=str(seq), request=attrs.evolve(REQUEST, prompt=each)) for seq, each in enumerate(words))
        found = []
        answers = self.shared.answers
        async with self.alive():
            with self.in_flight.line() as leads:
                async with self.shared.line() as mine:
                    line = (
                        flow(source(prompts))
                        .then(Dedupe(answers, leads, "test", "default"))
                        .then(Semantic(answers, leads, None))
                        .then(Claim(mine, leads))
                        .then(self.painter)
                        .then(Settle(answers, leads, Budget(None).line(), lambda _: None, None, mine))
                    )
                    async with line.open() as running:
                        async for result in running.results:
                            found.append((trio.current_time(), result))
                            assert all((self.root / each.path).is_file() for each in result.images)
        return found

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.shared.claims.keep)
            nursery.start_soon(self.shared.claims.look)
            yield
            nursery.cancel_scope.cancel()


async def source(prompts: Iterable[Prompt]) -> AsyncIterator[Prompt]:
    for prompt in prompts:
        yield prompt


@pytest.fixture
def worker(store: FakeStore, link_to: Callable[[FakeStore], FakeLink], tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """``worker(takes_s, problem, strategy)``: a process with folders of its own."""
    (tmp_path / "place").mkdir()
    numbers, opened = count(), []

    def make(takes_s: float, problem: Problem | None = None, strategy: Strategy = Strategy.PRIMARY) -> Worker:
        folder = tmp_path / f"worker{next(numbers)}"
        root = folder / "out"
        root.mkdir(parents=True)
        kept, link, tokens = Store(folder / "cache", TTL_S), link_to(store), count()
        opened.append(kept)
        shared = SharedCache(
            claims=Claims(link, "test", TTL_S, Random(1)),  # type: ignore[arg-type]  # as much of a link as is used
            pictures=SharedPictures(Folder(tmp_path / "place"), "place", root, inline, Disk(inline)),
            answers=Answers(kept, root, inline),
            ttl_s=TTL_S,
            job=None,
            api="test",
            namespace="default",
            token=lambda: f"{folder.name}:{next(tokens)}",
        )
        return Worker(shared=shared, link=link, painter=Painter(root, takes_s, problem, strategy), root=root)

    yield make
    for each in opened:
        with closing(each):
            pass


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e5):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def flights(store: FakeStore) -> list[str]:
    return [key for key in store.values if ":flight:" in key and store.get(key) is not None]


def test_who_waits_for_another_process_holds_up_nobody_and_all_who_follow_get_its_picture(worker: Callable[..., Worker]) -> None:
    one, other = worker(100.0), worker(10.0)
    found: dict[str, list[tuple[float, Result]]] = {}

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def pays() -> None:
                found["one"] = await one.results(["a fox"])

            nursery.start_soon(pays)
            await trio.sleep(1)
            found["other"] = await other.results(["a fox", "a cat", "a fox", "A fox!"])

    run(main)
    assert one.painter.painted == ["a fox"]
    assert other.painter.painted == ["a cat"]
    (cat_at, cat), *foxes = found["other"]
    assert (cat.prompt, cat.strategy) == ("a cat", Strategy.PRIMARY)
    assert cat_at < 12
    (paid_at, paid) = found["one"][0]
    for at, result in foxes:
        assert at < paid_at + 2 * LOOK_S
        assert result.images == paid.images
        assert (result.cost_usd, result.saved_usd) == (0.0, 0.5)
        assert result.match is not None
        assert (result.match.of, result.match.prompt) == ("0", "a fox")
    assert len(foxes) == 3


def test_a_prompt_that_another_process_failed_is_paid_for_here(worker: Callable[..., Worker], store: FakeStore) -> None:
    one, other = worker(30.0, Problem(kind=Kind.MODERATION_BLOCKED, message="no")), worker(10.0)
    found: dict[str, Result] = {}

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def fails() -> None:
                ((_, found["one"]),) = await one.results(["a fox"])

            nursery.start_soon(fails)
            await trio.sleep(1)
            ((_, found["other"]),) = await other.results(["a fox"])
            assert trio.current_time() < 42

    run(main)
    assert found["one"].status is Status.FAILED
    assert found["other"].strategy is Strategy.PRIMARY
    assert flights(store) == []


def test_a_line_that_is_cancelled_leaves_no_flight_wherever_its_prompts_are(worker: Callable[..., Worker], store: FakeStore) -> None:
    one, other, third = worker(1000.0), worker(10.0), worker(10.0)

    async def hangs(*_: object) -> bool:
        await trio.sleep_forever()
        return True

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.results, ["a fox"])
            await trio.sleep(1)
            with trio.move_on_after(50), pytest.MonkeyPatch.context() as patch:
                # The fox waits, the cat is painted and never gets to the place.
                patch.setattr(other.shared.pictures, "put", hangs)
                await other.results(["a fox", "a cat"])
            assert len(flights(store)) == 2
            assert not other.in_flight._flights
            ((_, cat),) = await third.results(["a cat"])
            assert cat.strategy is Strategy.PRIMARY
            nursery.cancel_scope.cancel()
        assert flights(store) == []

    run(main)


def test_without_the_store_everything_is_answered_here(worker: Callable[..., Worker], store: FakeStore) -> None:
    one, other = worker(10.0), worker(10.0)

    async def main() -> None:
        store.up = False
        for each in (one, other):
            results = await each.results([f"fox {n}" for n in range(5)])
            assert {result.strategy for _, result in results} == {Strategy.PRIMARY}
        assert trio.current_time() < 25

    run(main)
    assert not store.values


def test_what_was_answered_meanwhile_is_in_the_own_cache_first(worker: Callable[..., Worker], store: FakeStore) -> None:
    one = worker(10.0)

    async def main() -> None:
        await one.results(["a fox"])
        store.calls.clear()
        ((_, again),) = await one.results(["a fox"])
        assert again.strategy is Strategy.CACHE_EXACT
        assert "claim" not in store.calls

    run(main)


def test_what_a_fallback_made_lies_at_the_place_and_is_nobody_elses_answer(
    worker: Callable[..., Worker], store: FakeStore, tmp_path: Path
) -> None:
    one, other = worker(10.0, None, Strategy.REDUCED_QUALITY), worker(10.0)

    async def main() -> None:
        await one.results(["a fox"])
        assert not store.values
        ((_, result),) = await other.results(["a fox"])
        assert result.strategy is Strategy.PRIMARY

    run(main)
    assert len([*tmp_path.glob("place/images/*/*.png")]) == 1


def changed(store: FakeStore, **fields: Any) -> None:
    for key, (text, ends) in store.values.items():
        if ":answer:" in key:
            store.values[key] = json.dumps(json.loads(text) | fields), ends


@pytest.mark.parametrize("how", ["another prompt's", "too many pictures", "too old", "as it was"])
def test_an_answer_that_is_none_to_this_prompt_is_paid_for(worker: Callable[..., Worker], store: FakeStore, how: str) -> None:
    one, other = worker(10.0), worker(10.0)

    async def main() -> None:
        await one.results(["a fox"])
        text = next(json.loads(text) for key, (text, _) in store.values.items() if ":answer:" in key)
        if how == "another prompt's":
            changed(store, prompt="a cat")
        elif how == "too many pictures":
            changed(store, pictures=text["pictures"] * 2)
        elif how == "too old":
            changed(store, created=time.time() - TTL_S - 1)
        ((_, result),) = await other.results(["a fox"])
        assert result.strategy is (Strategy.CACHE_EXACT if how == "as it was" else Strategy.PRIMARY)

    run(main)


def test_who_cannot_get_at_the_place_pays_and_waits_for_nobody(worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, third = worker(10.0), worker(10.0), worker(1000.0)

    def fails(_: Picture) -> bytes:
        raise OSError("stale file handle")

    async def main() -> None:
        await one.results(["a fox"])
        monkeypatch.setattr(other.shared.pictures, "_read", fails)
        monkeypatch.setattr(other.shared.pictures, "put", never)
        ((_, result),) = await other.results(["a fox"])
        assert result.strategy is Strategy.PRIMARY
        async with trio.open_nursery() as nursery:
            nursery.start_soon(third.results, ["a cat"])
            await trio.sleep(1)
            began = trio.current_time()
            ((at, result),) = await other.results(["a cat"])
            assert result.strategy is Strategy.PRIMARY
            assert at < began + 11
            nursery.cancel_scope.cancel()

    async def never(_: object) -> bool:
        return False

    run(main)


def test_a_run_that_ends_tells_first_what_the_store_has_missed(
    store: FakeStore, link_to: Callable[[FakeStore], FakeLink], tmp_path: Path
) -> None:
    (tmp_path / "place").mkdir()
    tables = {"cache": {"shared": str(tmp_path / "place")}, "quota": {"store": "redis://none"}, "run": {"out_dir": str(tmp_path)}}
    link = link_to(store)

    async def main() -> None:
        with closing(Store(tmp_path / "cache", TTL_S)) as kept:
            answers, disk = Answers(kept, tmp_path, inline), Disk(inline)
            opening = open_shared_cache(Settings.from_dict(tables), link, answers, "test", tmp_path, inline, disk, Random(1))  # type: ignore[arg-type]  # as much of a link as is used
            async with opening as shared:
                await trio.sleep(1)
                store.up = False
                await shared.claims.end("", "", ["a"], "an answer")
                # Back, and nobody has noticed yet.
                store.up = link.up = True
            assert store.get("{headrace:cache}:answer:a") == "an answer"

    run(main)
