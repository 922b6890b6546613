from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from contextlib import ExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.assembly import open_race
from headrace.budget import Budget
from headrace.cache.answers import Answers
from headrace.cache.in_flight import InFlight
from headrace.cache.judge import Verdict
from headrace.cache.meaning import Meaning
from headrace.cache.search import Search
from headrace.cache.store import Store
from headrace.flow import flow
from headrace.offload import inline
from headrace.owners import simulated_owners, simulated_pools
from headrace.records import (
    Answer,
    CacheMode,
    Failure,
    Kind,
    Match,
    Picture,
    Problem,
    Prompt,
    Request,
    Result,
    Status,
    Strategy,
    Trail,
)
from headrace.settings import CacheSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings, World, make_app
from headrace.stages.dedupe import Dedupe
from headrace.stages.semantic import Semantic
from headrace.stages.settle import Settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.cache.encoder import Encoder
    from headrace.cache.words import Reading
    from headrace.flow import Running
    from headrace.offload import T, Ts

DAY_S = 86_400.0
CALL_S = 10.0
ENCODE_S = 0.25
REQUEST = Request(prompt="", model="gpt-image-2.5-flare", size="1024x1024", quality="low")
ABOUT_WORDS = (Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION, Kind.BAD_REQUEST, Kind.TOO_LARGE)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: a deadlock is a failure at once.
        with trio.fail_after(1e6):
            await main()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


def prompt(seq: int, text: str, **more: Any) -> Prompt:
    return Prompt(seq=seq, id=f"id-{seq}", request=attrs.evolve(REQUEST, prompt=text), metadata=seq, **more)


def _random(text: str) -> NDArray[np.float32]:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])).standard_normal(32, dtype=np.float32)


def subject(text: str) -> str:
    words: list[str] = re.findall(r"\w+", text.lower())
    return next(word for word in words if word not in ("please", "draw", "a", "the"))


@attrs.define
class Subjects:
    """An encoder for which the subject is nearly all that matters."""

    fingerprint: str = "subjects:1"
    broken: bool = False

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.broken:
            raise ZeroDivisionError
        vectors = np.array([10 * _random(subject(text)) + _random(text) for text in texts], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]  # it is an array


class SameSubject:
    """Prompts about the same subject ask for the same picture."""

    strategy: ClassVar[Strategy] = Strategy.CACHE_VERIFIED
    floor = 0.6

    def check(self, fingerprint: str) -> None:
        """Any will do."""

    def possible(self, asked: Reading, known: Reading) -> bool:
        return subject(asked.text) == subject(known.text)

    def judge(self, asked: Reading, known: Reading, cosine: float) -> Verdict:
        return Verdict(same=self.possible(asked, known), rule="subject", detail="so it is", cosine=cosine)


class Painter:
    """Stands for all between semantic and settle: takes ten seconds a picture, half of it a failure; counts what goes on at once."""

    def __init__(self, root: Path, fail: Callable[[Prompt], Kind | None] = lambda _: None, **made: Any) -> None:
        self._root = root
        self._fail = fail
        self._made = made
        self.painted: list[str] = []
        """The prompts that were asked for."""
        self.at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        """Of each subject."""

    async def run(self, source: MemoryReceiveChannel[Prompt | Result], sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        with source, sink:
            async with trio.open_nursery() as nursery:
                async for record in source:
                    if isinstance(record, Result):
                        await sink.send(record)
                    else:
                        nursery.start_soon(self._paint, record, sink)

    async def _paint(self, prompt: Prompt, sink: MemorySendChannel[Answer | Failure | Result]) -> None:
        text = prompt.request.prompt
        about = subject(text)
        self.painted.append(text)
        self.at_once[about] += 1
        self.most_at_once[about] = max(self.most_at_once[about], self.at_once[about])
        problem = self._fail(prompt)
        try:
            await trio.sleep(CALL_S / 2 if problem else CALL_S)
        finally:
            self.at_once[about] -= 1
        if problem is not None:
            await sink.send(Failure(prompt=prompt, problem=Problem(kind=problem, message="no"), trail=Trail(key="k", attempts=3)))
            return
        content = f"{prompt.id} {trio.current_time()}".encode()
        digest = hashlib.sha256(content).hexdigest()
        picture = Picture(path=f"images/{digest[:2]}/{digest}.png", sha256=digest, format="png", width=1, height=1, bytes=len(content))
        (self._root / picture.path).parent.mkdir(parents=True, exist_ok=True)
        (self._root / picture.path).write_bytes(content)
        answer = Answer(
            prompt=prompt,
            request=prompt.request,
            strategy=Strategy.PRIMARY,
            pictures=(picture,),
            usage=None,
            cost_usd=0.5,
            trail=Trail(key="k", attempts=1),
        )
        await sink.send(attrs.evolve(answer, **self._made))


async def slowly(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Blocking work that takes its time."""
    await trio.sleep(ENCODE_S)
    return function(*args)


@attrs.define
class House:
    """Lines that share a cache and what is in flight."""

    store: Store
    root: Path
    painter: Painter
    encoder: Encoder | None = attrs.field(factory=Subjects)
    """None where only content words decide."""
    flights: InFlight = attrs.field(factory=InFlight)
    meaning: Meaning | None = None
    answers: Answers = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.answers = Answers(self.store, self.root, inline)

    @asynccontextmanager
    async def services(self) -> AsyncIterator[None]:
        encoder = self.encoder
        if encoder is None:
            yield
            return
        self.meaning = Meaning(
            steps=[lambda: encoder],
            search=lambda encoder: Search(self.store.folder, encoder, SameSubject.floor, DAY_S),
            judge=SameSubject(),
            store=self.store,
            flights=self.flights,
            offload=slowly,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.meaning.run)
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def line(self, prompts: AsyncIterator[Prompt | Result]) -> AsyncIterator[Running[Result]]:
        with self.flights.line() as leads:
            stages = (
                flow(prompts)
                .then(Dedupe(self.answers, leads, "test", "default"))
                .then(Semantic(self.answers, leads, self.meaning))
                .then(self.painter)
                .then(Settle(self.answers, leads, Budget(None).line(), lambda _: None))
            )
            async with stages.open() as running:
                yield running

    async def results(self, prompts: Iterable[Prompt | Result], gap_s: float = 0.0) -> dict[int, Result]:
        async with self.line(stream(prompts, gap_s)) as running:
            results = [result async for result in running.results]
        assert len({result.seq for result in results}) == len(results)
        return {result.seq: result for result in results}


async def stream(prompts: Iterable[Prompt | Result], gap_s: float = 0.0) -> AsyncIterator[Prompt | Result]:
    for each in prompts:
        yield each
        await trio.sleep(gap_s)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    with ExitStack() as stores:

        def make(fail: Callable[[Prompt], Kind | None] = lambda _: None, *, made: dict[str, Any] | None = None, **options: Any) -> House:
            store = stores.enter_context(closing(Store(tmp_path / "cache", DAY_S)))
            return House(store, tmp_path, Painter(tmp_path, fail, **(made or {})), **options)

        yield make


House_ = Any
Make = Any


# By content


@pytest.mark.parametrize("by_meaning", [True, False])
def test_prompts_of_the_same_content_in_flight_share_one_picture(house: Make, by_meaning: bool) -> None:
    async def main() -> None:
        home: House = house() if by_meaning else house(encoder=None)
        texts = ["fox in snow", "Fox in snow!", "please draw a fox in snow", "fox in snow", "the fox in snow"]
        async with home.services():
            results = await home.results(prompt(seq, text) for seq, text in enumerate(texts))
        assert len(home.painter.painted) == 1
        assert Counter(str(result.strategy) for result in results.values()) == {"primary": 1, "coalesced": 4}
        assert all(result.match is None or (result.match.of, result.match.similarity) == ("id-0", 1.0) for result in results.values())
        assert len({result.images for result in results.values()}) == 1
        assert not home.flights._flights

    run(main)


def test_an_answer_of_the_same_content_is_a_hit_in_the_next_run(house: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="headrace")

    async def main() -> None:
        home: House = house(encoder=None)
        await home.results([prompt(0, "fox in snow")])
        again: House = house(encoder=None)
        result = (await again.results([prompt(1, "Fox, in snow")]))[1]
        assert (result.strategy, result.cost_usd, result.saved_usd) == (Strategy.CACHE_CANONICAL, 0.0, 0.5)
        assert result.match is not None
        assert (result.match.of, result.match.similarity, result.match.difference) == ("id-0", 1.0, None)
        assert again.painter.painted == []
        (event,) = [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg["event"] == "cache_hit"]
        assert (event["prompt"], event["tier"], event["of"]) == ("id-1", "cache_canonical", "id-0")

    run(main)


@pytest.mark.parametrize("again", range(3))  # the scheduler shuffles what happens at once
@pytest.mark.parametrize("ticks", range(14))
@pytest.mark.parametrize("text", ["Fox, in snow", "fox in rain"])
def test_a_prompt_that_comes_in_the_moment_its_like_is_answered_is_not_paid_for_again(
    house: Make, text: str, ticks: int, again: int
) -> None:
    async def main() -> None:
        assert again >= 0
        home: House = house(encoder=None) if text == "Fox, in snow" else house()

        async def just_in_time() -> AsyncIterator[Prompt | Result]:
            yield prompt(0, "fox in snow")
            await trio.sleep(CALL_S)
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            yield prompt(1, text)

        async with home.services(), home.line(just_in_time()) as running:
            assert [result.status async for result in running.results] == [Status.OK] * 2
        assert home.painter.painted == ["fox in snow"]

    run(main)


# By meaning


def test_prompts_that_mean_the_same_share_the_picture_of_the_first_and_say_what_differs(house: Make) -> None:
    async def main() -> None:
        home: House = house()
        async with home.services():
            results = await home.results([prompt(0, "fox in snow"), prompt(1, "fox in rain"), prompt(2, "owl"), prompt(3, "fox in rain")])
        assert sorted(home.painter.painted) == ["fox in snow", "owl"]
        for seq in (1, 3):
            follower = results[seq]
            assert (follower.strategy, follower.cost_usd, follower.saved_usd, follower.metadata) == (Strategy.COALESCED, 0.0, 0.5, seq)
            assert follower.match is not None
            assert (follower.match.of, follower.match.difference) == ("id-0", "rain -> snow")
            assert 0.9 < follower.match.similarity < 1
            assert follower.images == results[0].images
        async with home.services():
            hit = (await home.results([prompt(4, "fox in fog")]))[4]
        assert (hit.strategy, hit.saved_usd) == (Strategy.CACHE_VERIFIED, 0.5)
        assert hit.match is not None
        assert (hit.match.of, hit.match.difference) == ("id-0", "fog -> snow")
        assert not home.flights._flights

    run(main)


def test_a_chain_of_followers_of_every_kind_comes_out_with_one_result_each(house: Make) -> None:
    async def main() -> None:
        home: House = house()
        texts = ["fox in snow", "fox in rain", "Fox, in rain!", "Fox, in rain!", "the fox in rain", "fox in snow", "FOX in snow"]
        async with home.services():
            results = await home.results((prompt(seq, text) for seq, text in enumerate(texts)), gap_s=0.5)
        assert home.painter.painted == ["fox in snow"]
        assert sorted(results) == list(range(7))
        assert {result.status for result in results.values()} == {Status.OK}
        assert len({result.images for result in results.values()}) == 1
        assert [results[seq].match.of for seq in range(1, 7)] == ["id-0"] * 6  # type: ignore[union-attr]  # all are followers

    run(main)


def test_refresh_and_bypass_get_new_pictures_in_whatever_words(house: Make) -> None:
    async def main() -> None:
        home: House = house()
        async with home.services():
            await home.results([prompt(0, "fox in snow")])
            for mode in (CacheMode.REFRESH, CacheMode.BYPASS):
                for text in ("fox in snow", "Fox, in snow", "fox in rain"):
                    (result,) = (await home.results([prompt(1, text, cache=mode)])).values()
                    assert result.strategy is Strategy.PRIMARY
            assert len(home.painter.painted) == 7
            results = await home.results([prompt(2, "fox in fog"), prompt(3, "fox in fog", cache=CacheMode.BYPASS)])
            assert [results[seq].strategy for seq in (2, 3)] == [Strategy.CACHE_VERIFIED, Strategy.PRIMARY]

    run(main)


CHANGES: list[dict[str, Any]] = [
    {"size": "1024x1536"},
    {"quality": "high"},
    {"model": "gpt-image-2"},
    {"n": 2},
    {"output_format": "webp"},
    {"output_compression": 50},
    {"background": "opaque"},
    {"moderation": "low"},
]


@pytest.mark.parametrize("change", [*CHANGES, {"variation": 1}, {"namespace": "other"}])
@pytest.mark.parametrize("text", ["Fox, in snow", "fox in rain"])
def test_nothing_is_shared_across_parameters_in_flight_or_kept(house: Make, text: str, change: dict[str, Any]) -> None:
    async def main() -> None:
        home: House = house()
        fields = {name: value for name, value in change.items() if name not in ("variation", "namespace")}
        outer = {name: value for name, value in change.items() if name not in fields}
        other = prompt(1, text, **outer)
        other = attrs.evolve(other, request=attrs.evolve(other.request, **fields))
        async with home.services():
            results = await home.results([prompt(0, "fox in snow"), other])
            assert {result.strategy for result in results.values()} == {Strategy.PRIMARY}
            fresh = attrs.evolve(other, request=attrs.evolve(other.request, prompt="fox in fog"))
            (hit,) = (await home.results([attrs.evolve(fresh, seq=2)])).values()
            assert hit.match is not None
            assert hit.match.of == "id-1", "and within the same parameters it is"

    run(main)


# Leaders that fail or go


@pytest.mark.parametrize("kind", ABOUT_WORDS)
@pytest.mark.parametrize("content", [True, False])
def test_what_is_wrong_with_one_wording_frees_its_followers_one_after_another(house: Make, kind: Kind, content: bool) -> None:
    async def main() -> None:
        home: House = house(lambda _: kind)
        texts = [f"fox {number}" for number in range(6)] if not content else ["fox x", "Fox x", "fox x!", "FOX X", "the fox x", "Fox X."]
        async with home.services():
            results = await home.results(prompt(seq, text) for seq, text in enumerate(texts))
        assert sorted(home.painter.painted) == sorted(texts), "each wording is tried"
        assert home.painter.most_at_once == {"fox": 1}, "never two of them at once"
        assert [(results[seq].status, results[seq].attempts) for seq in range(6)] == [(Status.FAILED, 3)] * 6
        assert not home.flights._flights

    run(main)


def test_the_first_of_the_freed_that_gets_a_picture_shares_it_with_the_rest(house: Make) -> None:
    async def main() -> None:
        tried: list[str] = []

        def fail(prompt: Prompt) -> Kind | None:
            tried.append(prompt.id)
            return Kind.MODERATION_BLOCKED if len(tried) < 3 else None

        home: House = house(fail)
        async with home.services():
            results = await home.results(prompt(seq, f"fox {seq}") for seq in range(12))
        assert len(tried) == 3
        assert Counter(str(result.strategy) for result in results.values()) == {"None": 2, "primary": 1, "coalesced": 9}
        assert home.painter.most_at_once == {"fox": 1}

    run(main)


@pytest.mark.parametrize("kind", sorted(set(Kind) - set(ABOUT_WORDS)))
@pytest.mark.parametrize("content", [True, False])
def test_what_is_wrong_with_the_api_fails_the_followers_too(house: Make, kind: Kind, content: bool) -> None:
    async def main() -> None:
        home: House = house(lambda _: kind)
        texts = ["fox x", "Fox x", "fox x!", "FOX X"] if content else [f"fox {number}" for number in range(4)]
        async with home.services():
            results = await home.results(prompt(seq, text) for seq, text in enumerate(texts))
        assert home.painter.painted == [texts[0]]
        assert [results[seq].error.kind for seq in range(4)] == [kind] * 4  # type: ignore[union-attr]  # all failed
        assert [results[seq].attempts for seq in range(4)] == [3, 0, 0, 0]
        assert not home.flights._flights

    run(main)


@pytest.mark.parametrize("text", ["Fox, in snow", "fox in rain"])
@pytest.mark.parametrize("seconds", [0.1, 0.6, 1.1, 1.6, 4.0])
def test_where_the_line_of_a_leader_is_left_one_of_its_followers_takes_over(house: Make, text: str, seconds: float) -> None:
    async def main() -> None:
        home: House = house()
        async with home.services(), trio.open_nursery() as nursery:
            left = trio.CancelScope()

            async def leader() -> None:
                with left:
                    await home.results([prompt(0, "fox in snow")])

            nursery.start_soon(leader)
            await wait_all_tasks_blocked()
            texts = [f"{text} {'!' * seq}" if "," in text else f"{text} {seq}" for seq in range(8)]
            async with home.line(stream(prompt(seq, each) for seq, each in enumerate(texts))) as running:
                await trio.sleep(seconds)
                left.cancel()
                results = [result async for result in running.results]
        assert sorted(result.seq for result in results) == list(range(8))
        assert {result.status for result in results} == {Status.OK}
        assert len(home.painter.painted) == 2, "one of the eight leads now"
        assert home.painter.most_at_once == {"fox": 1}
        assert not home.flights._flights

    run(main)


def test_a_line_whose_consumer_stalls_holds_up_no_twins_in_another_line(house: Make) -> None:
    async def main() -> None:
        home: House = house()
        async with home.services(), home.line(stream(prompt(seq, f"{seq} in snow") for seq in range(6))) as stalled:
            await wait_all_tasks_blocked()
            with trio.fail_after(1_000):
                others = await home.results(prompt(seq, f"{seq} in rain") for seq in range(6))
            assert {result.strategy for result in others.values()} == {Strategy.COALESCED}
            assert len([result async for result in stalled.results]) == 6

    run(main)


def test_a_twin_whose_picture_is_gone_is_made_again(house: Make, tmp_path: Path) -> None:
    async def main() -> None:
        home: House = house()
        async with home.services():
            (image,) = (await home.results([prompt(0, "fox in snow")]))[0].images
            for folder in (tmp_path, tmp_path / "cache"):
                (folder / image.path).unlink()
            with trio.fail_after(100):
                results = await home.results([prompt(1, "fox in rain"), prompt(2, "fox in fog")])
        assert len(home.painter.painted) == 2, "one of the two is made, and the other waits for it"
        assert results[2].images == results[1].images != (image,)

    run(main)


@pytest.mark.parametrize("how", ["dropped", "cannot be dropped"])
def test_a_twin_that_vanishes_again_and_again_is_given_up(house: Make, tmp_path: Path, how: str) -> None:
    async def main() -> None:
        home: House = house()
        async with home.services():
            for number in range(8):
                await home.results([prompt(0, f"fox {number}", cache=CacheMode.REFRESH)])
            for folder in (tmp_path, tmp_path / "cache"):
                for path in (folder / "images").rglob("*.png"):
                    path.unlink()
            if how == "cannot be dropped":
                home.store._db.execute("pragma query_only=on")
            with trio.fail_after(1_000):
                results = await home.results([prompt(1, "fox in rain")])
        assert results[1].strategy is Strategy.PRIMARY
        assert home.painter.painted[8:] == ["fox in rain"]

    run(main)


def test_without_a_usable_encoder_prompts_are_matched_by_content_and_nobody_hangs(house: Make, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        home: House = house(encoder=Subjects(broken=True))
        texts = ["fox in snow", "fox in rain", "Fox, in snow", "Fox, in rain", "owl"]
        async with home.services():
            results = await home.results(prompt(seq, text) for seq, text in enumerate(texts))
        assert sorted(home.painter.painted) == ["fox in rain", "fox in snow", "owl"]
        assert {result.status for result in results.values()} == {Status.OK}
        assert caplog.text.count("encoder_unusable") == 1

    run(main)


# What a fallback made


def test_followers_of_a_prompt_that_got_a_similar_picture_are_told_what_it_is_of(house: Make) -> None:
    async def main() -> None:
        match = Match(of="old", similarity=0.85, difference="snow -> sand")
        home: House = house(made={"strategy": Strategy.CACHED_SIMILAR, "match": match, "cost_usd": 0.0})
        texts = ["fox in snow", "fox in snow", "Fox, in snow", "fox in rain"]
        async with home.services():
            results = await home.results(prompt(seq, text) for seq, text in enumerate(texts))
        for seq in range(4):
            found = results[seq].match
            assert results[seq].strategy is Strategy.CACHED_SIMILAR
            assert found is not None
            assert found.of == "old"
            assert found.similarity <= 0.85
            assert "snow -> sand" in (found.difference or "")
        assert "rain -> snow" in (results[3].match.difference or "")  # type: ignore[union-attr]  # as just seen
        assert list(home.store.entries()) == []

    run(main)


def test_what_a_fallback_made_is_shared_and_not_kept(house: Make) -> None:
    async def main() -> None:
        home: House = house(made={"strategy": Strategy.REDUCED_QUALITY})
        async with home.services():
            results = await home.results([prompt(0, "fox in snow"), prompt(1, "Fox, in snow"), prompt(2, "fox in rain")])
            assert [str(results[seq].strategy) for seq in range(3)] == ["reduced_quality", "coalesced", "coalesced"]
            assert list(home.store.entries()) == []
            await home.results([prompt(3, "fox in rain")])
        assert len(home.painter.painted) == 2

    run(main)


# In a whole line


class Items:
    """An input that knows how much of it was read."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = iter(texts)
        self.read = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        await trio.lowlevel.checkpoint()
        for text in self._texts:
            self.read += 1
            return text
        raise StopAsyncIteration


@pytest.mark.parametrize("max_in_flight", [1, 3, 20])
@pytest.mark.parametrize("ordered", [False, True])
def test_those_who_wait_for_their_twins_hold_slots_and_take_none_from_their_leaders(
    tmp_path: Path, max_in_flight: int, ordered: bool
) -> None:
    run_settings = RunSettings(out_dir=str(tmp_path / "out"), simulate=True, max_in_flight=max_in_flight, ordered=ordered)
    pools = (PoolSettings(name="only", images_per_minute=30, max_concurrency=2),)
    cache = CacheSettings(policy="cosine", cosine_threshold=0.9, dir=str(tmp_path / "cache"))
    world = World(SimulatorSettings(pools=simulated_pools(simulated_owners(pools, ())), pictures="template"))
    app = make_app(world)

    async def main() -> None:
        items = Items(f"{animal} {number}" for number in range(8) for animal in ("fox", "owl", "wolf", "bear", "cat"))
        async with open_race(
            Settings(pool=pools, cache=cache, run=run_settings), environ={}, offload=inline, app=app, encoder=Subjects()
        ) as race:
            assert race.cache is not None
            async with race.results(items) as results:
                await trio.sleep(3_600)
                assert items.read == max_in_flight
                await anext(results)
                await trio.sleep(3_600)
                assert items.read == max_in_flight + 1
                found = [result async for result in results]
            assert len(found) == 39
            assert not race.cache.in_flight._flights
        assert {result.status for result in found} == {Status.OK}
        assert Counter(text.split()[0] for text in world.bill.elements()) == {"fox": 1, "owl": 1, "wolf": 1, "bear": 1, "cat": 1}

    run(main)


# Everything at once


TEXTS = st.builds(
    lambda about, more, form: form.format(f"{about} in {more}"),
    st.sampled_from(["fox", "owl", "wolf"]),
    st.sampled_from(["snow", "rain", "fog"]),
    st.sampled_from(["{}", "{}", "{}!", "please draw a {}"]),
)
FAULTS = st.dictionaries(TEXTS, st.sampled_from([Kind.MODERATION_BLOCKED, Kind.SERVER_ERROR, Kind.NO_POOL]), max_size=3)
LINES = st.lists(
    st.tuples(
        st.lists(st.tuples(TEXTS, st.sampled_from(["use"] * 6 + ["refresh", "bypass"])), max_size=12),
        st.sampled_from([0.0, 0.1, 3.0]),
        st.none() | st.sampled_from([0.5, 4.0, 12.0]),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(lines=LINES, faults=FAULTS, encoder=st.sampled_from(["good", "good", "broken", "none"]))
def test_every_prompt_has_one_result_and_nothing_is_paid_twice_at_once_or_left_behind(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[list[tuple[str, str]], float, float | None]],
    faults: dict[str, Kind],
    encoder: str,
) -> None:
    folder = tmp_path_factory.mktemp("house")

    async def main() -> None:
        painter = Painter(folder, lambda prompt: faults.get(prompt.request.prompt))
        found: dict[int, dict[int, Result]] = {}

        async def one(number: int, prompts: list[tuple[str, str]], gap_s: float, left_after_s: float | None) -> None:
            with trio.move_on_after(left_after_s if left_after_s is not None else 1e5) as scope:
                asked = [prompt(seq, text, cache=CacheMode(mode)) for seq, (text, mode) in enumerate(prompts)]
                found[number] = await home.results(asked, gap_s)
            assert left_after_s is not None or not scope.cancelled_caught

        with closing(Store(folder / "cache", DAY_S)) as store:
            chosen = None if encoder == "none" else Subjects(broken=encoder == "broken")
            home = House(store, folder, painter, encoder=chosen)
            async with home.services():
                async with trio.open_nursery() as nursery:
                    for number, line in enumerate(lines):
                        nursery.start_soon(one, number, *line)
                assert not home.flights._flights
        for number, (prompts, _, left_after_s) in enumerate(lines):
            if left_after_s is not None and number not in found:
                continue
            assert sorted(found[number]) == list(range(len(prompts)))
            for seq, result in found[number].items():
                assert (result.id, result.prompt, result.metadata) == (f"id-{seq}", prompts[seq][0], seq)
                assert (result.status is Status.OK) is (len(result.images) == 1)
                fault = faults.get(prompts[seq][0])
                assert result.status is not Status.OK or prompts[seq][1] == "use" or fault is None
                if result.error is not None and fault != result.error.kind:
                    assert result.error.kind in (Kind.SERVER_ERROR, Kind.NO_POOL), "a wording is nobody else's fault"
        every = [each for prompts, *_ in lines for each in prompts]
        usual = not faults and all(left is None for *_, left in lines) and all(mode == "use" for _, mode in every)
        if usual and encoder == "good":
            assert Counter(subject(text) for text in painter.painted) == Counter({subject(text) for text, _ in every})
        if encoder == "good" and all(mode == "use" for _, mode in every):
            assert all(most == 1 for most in painter.most_at_once.values())

    run(main)
