from __future__ import annotations

import hashlib
import logging
import re
from contextlib import ExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.cache import meaning as module
from headrace.cache.encoder import EncoderError
from headrace.cache.in_flight import InFlight, Leads
from headrace.cache.judge import Verdict
from headrace.cache.meaning import Meaning, Twin
from headrace.cache.search import Search
from headrace.cache.store import Store
from headrace.errors import UsageError
from headrace.offload import inline
from headrace.records import Hit, Prompt, Strategy, Vector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace.cache.encoder import Encoder
    from headrace.cache.entry import Entry
    from headrace.cache.words import Reading
    from headrace.offload import Offload, T, Ts

    Make = Callable[..., Entry]

DAY_S = 86_400.0
ENCODE_S = 0.5
LOAD_S = 3.0


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        # On the virtual clock: whoever hangs fails at once.
        with trio.fail_after(1e6):
            await test()

    trio.run(in_time, clock=MockClock(autojump_threshold=0))


@attrs.define
class Subjects:
    """An encoder for which the first word is nearly all that matters."""

    fingerprint: str = "subjects:1"
    spoil: Callable[[Sequence[str]], object] | None = None
    batches: list[list[str]] = attrs.field(factory=list)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(list(texts))
        if self.spoil is not None and (given := self.spoil(texts)) is not None:
            return given  # type: ignore[return-value]  # that is what is tried
        vectors = np.array([10 * _random(text.split()[0]) + _random(text) for text in texts], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]  # it is an array


def _random(text: str) -> NDArray[np.float32]:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])).standard_normal(32, dtype=np.float32)


class SameSubject:
    """Prompts of the same first word ask for the same picture."""

    strategy: ClassVar[Strategy] = Strategy.CACHE_VERIFIED
    floor = 0.6

    def __init__(self) -> None:
        self.refused: str | None = None

    def check(self, fingerprint: str) -> None:
        if fingerprint == self.refused:
            raise UsageError(f"not made for {fingerprint}")

    def possible(self, asked: Reading, known: Reading) -> bool:
        return asked.text.split()[:1] == known.text.split()[:1]

    def judge(self, asked: Reading, known: Reading, cosine: float) -> Verdict:
        same = self.possible(asked, known)
        return Verdict(same=same, rule="subject", detail="so it is", cosine=cosine, score=0.75, threshold=0.5)


async def slowly(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Blocking work that takes its time: loading three seconds, everything else half of one."""
    await trio.sleep(LOAD_S if getattr(function, "__name__", "") == "loading" else ENCODE_S)
    return function(*args)


async def and_then_slowly(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Blocking work that is done long before its caller hears of it."""
    result = function(*args)
    await trio.sleep(LOAD_S if getattr(function, "__name__", "") == "loading" else ENCODE_S)
    return result


@attrs.define
class House:
    """A store, what is in flight, and who finds twins."""

    store: Store
    root: Path
    make: Make
    encoder: Subjects = attrs.field(factory=Subjects)
    judge: SameSubject = attrs.field(factory=SameSubject)
    flights: InFlight = attrs.field(factory=InFlight)
    offload: Offload = slowly
    loading: Callable[[], Encoder | None] | None = None
    meaning: Meaning = attrs.field(init=False)
    line: Leads = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        def loading() -> Encoder | None:
            return self.encoder if self.loading is None else self.loading()

        def search(encoder: Encoder) -> Search:
            return Search(self.store.folder, encoder, self.judge.floor, DAY_S)

        self.line = self.flights.line()
        self.meaning = Meaning(
            steps=[lambda: None, loading],
            search=search,
            judge=self.judge,
            store=self.store,
            flights=self.flights,
            offload=self.offload,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.meaning.run)
            yield nursery
            nursery.cancel_scope.cancel()

    def prompt(self, text: str, **fields: Any) -> Prompt:
        """A prompt that this line leads."""
        entry = self.make(self.root, text, **fields)
        self.line.lead(entry.key)
        return Prompt(seq=0, id=text, request=entry.request, scope=entry.scope, key=entry.key, namespace="", leads=(entry.key,))

    def keep(self, text: str, vector: Vector | None = None, **fields: Any) -> Entry:
        return self.store.put(self.make(self.root, text, **fields), self.root, vector)

    def landed(self, prompt: Prompt, outcome: Hit | None = None) -> None:
        self.line.land(prompt.key or "", outcome)

    async def ask(self, text: str, **fields: Any) -> Twin | None:
        twin, _ = await self.meaning.twin(self.prompt(text, **fields))
        return twin


@pytest.fixture
def house(folder: Path, root: Path, entry: Make) -> Iterator[Callable[..., House]]:
    with ExitStack() as stores:
        yield lambda **options: House(stores.enter_context(closing(Store(folder, DAY_S))), root, entry, **options)


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [record.msg for record in caplog.records if isinstance(record.msg, dict) and record.msg["event"] == name]


# Before the encoder is there


def test_prompts_that_can_have_no_twin_go_on_at_once_and_those_that_may_wait(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        async with home.open():
            assert await home.ask("fox in snow") is None
            assert await home.ask("wolf in snow") is None
            assert trio.current_time() == 0.0
            twin = await home.ask("fox in deep snow")
            assert twin is not None
            assert twin.flight is home.flights.flight(home.prompt("fox in snow").key)
            assert trio.current_time() >= LOAD_S

    run(test)


def test_the_encoder_is_loaded_beside_the_first_calls_only_after_a_second(house: Callable[..., House]) -> None:
    async def test() -> None:
        loaded: list[float] = []

        def loading() -> Encoder:
            loaded.append(trio.current_time())
            return home.encoder

        home = house(loading=loading)
        async with home.open():
            await trio.sleep(100)
            await home.ask("fox")
            await trio.sleep(module.BESIDE_S - 0.01)
            assert loaded == []
            await trio.sleep(20)
            assert len(loaded) == 1
            assert [batch for batch in home.encoder.batches if "fox" in batch], "the early one is known by now"
            before = trio.current_time()
            assert await home.ask("fox again") is not None
            assert trio.current_time() == before + ENCODE_S

    run(test)


@pytest.mark.parametrize("most", ["_FEW", "_SHORT"])
def test_where_many_answers_are_stored_prompts_wait_for_the_encoder_and_elsewhere_they_do_not(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    monkeypatch.setattr(module, most, 1)

    async def test() -> None:
        home = house()
        home.keep("fox in snow")
        home.keep("owl in snow")
        async with home.open():
            assert await home.ask("wolf", namespace="elsewhere") is None
            assert trio.current_time() == 0.0
            assert await home.ask("wolf") is None
            assert trio.current_time() >= LOAD_S

    run(test)


def test_a_scope_that_held_answers_before_is_searched_for_prompts_that_may_have_a_twin_there(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        kept = home.keep("fox in snow")
        async with home.open():
            assert await home.ask("wolf", namespace="elsewhere") is None
            assert await home.ask("wolf") is None
            assert trio.current_time() == 0.0, "nothing that is stored can be a twin of it"
            twin = await home.ask("fox in deep snow")
            assert twin is not None
            assert (twin.number, twin.flight) == (kept.number, None)

    run(test)


def test_an_early_prompt_that_was_kept_without_a_vector_is_found_later(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        async with home.open():
            early = home.prompt("fox in snow")
            assert await home.meaning.twin(early) == (None, None)
            kept = home.keep("fox in snow")
            home.landed(early)
            twin = await home.ask("fox in deep snow")
            assert twin is not None
            assert twin.number == kept.number

    run(test)


def test_early_prompts_that_are_still_in_flight_when_the_encoder_comes_are_found(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        async with home.open():
            early = [home.prompt(f"{subject} 1") for subject in ("fox", "wolf", "owl")]
            for each in early:
                assert await home.meaning.twin(each) == (None, None)
            await trio.sleep(60)
            for each in early:
                twin = await home.ask(each.request.prompt + " more")
                assert twin is not None
                assert twin.flight is home.flights.flight(each.key)

    run(test)


def test_an_early_prompt_that_is_kept_while_its_words_are_encoded_is_missed_by_nobody(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house(offload=and_then_slowly)
        twins: list[Twin | None] = []

        async def later() -> None:
            twins.append(await home.ask("fox in deep snow"))

        async with home.open() as nursery:
            early = home.prompt("fox in snow")
            assert await home.meaning.twin(early) == (None, None)
            nursery.start_soon(later)
            while ["fox in snow", "fox in deep snow"] not in home.encoder.batches:  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.1)
            assert twins == []
            kept = home.keep("fox in snow")
            home.landed(early, kept.hit(Strategy.COALESCED))
            await trio.sleep(60)
        assert len(twins) == 1
        assert twins[0] is not None, "it would be paid for twice"

    run(test)


# With an encoder


def test_a_twin_in_the_store_and_one_in_flight_are_told_with_cosine_and_difference(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        kept = home.keep("fox in snow")
        async with home.open():
            twin = await home.ask("fox in rain")
            assert twin is not None
            assert (twin.number, twin.difference) == (kept.number, "rain -> snow")
            assert 0.9 < twin.cosine < 1
            first = home.prompt("owl in snow")
            none, vector = await home.meaning.twin(first)
            assert none is None
            assert vector is not None
            assert vector.values == home.encoder.encode(["owl in snow"])[0].tobytes()
            twin = await home.ask("owl in rain")
            assert twin is not None
            assert (twin.number, twin.difference) == (0, "rain -> snow")
            assert twin.flight is home.flights.flight(first.key)

    run(test)


def test_of_prompts_that_come_at_once_all_but_one_have_a_twin(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        found: list[Twin | None] = []

        async def ask(number: int) -> None:
            found.append(await home.ask(f"fox {number}"))

        async with home.open():
            await home.ask("owl")
            await trio.sleep(60)
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(ask, number)
        assert sum(twin is None for twin in found) == 1
        assert all(len(batch) <= module._AT_ONCE for batch in home.encoder.batches)

    run(test)


def test_prompts_of_other_scopes_are_no_twins(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        home.keep("fox in snow", namespace="stored")
        async with home.open():
            for number in range(20):
                assert await home.ask("fox in rain", namespace=f"here {number}") is None
            assert await home.ask("fox in deep rain", namespace="here 7") is not None
            assert await home.ask("fox in deep rain", namespace="stored") is not None

    run(test)


@pytest.mark.parametrize("outcome", ["kept", "failed", "left"])
def test_a_prompt_that_is_in_flight_no_more_is_soon_forgotten(outcome: str, house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        async with home.open():
            first = home.prompt("fox in snow")
            await home.meaning.twin(first)
            await trio.sleep(60)
            if outcome == "kept":
                home.landed(first, home.keep("fox in snow").hit(Strategy.COALESCED))
            elif outcome == "failed":
                home.landed(first)
            else:
                home.line.__exit__(None, None, None)
            twin = await home.ask("fox in rain")
            assert (twin is not None) is (outcome == "kept")
            assert twin is None or twin.number

    run(test)


def test_what_lands_while_a_search_is_under_way_is_missed_by_nobody(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house(offload=and_then_slowly)
        twins: list[Twin | None] = []

        async def later() -> None:
            twins.append(await home.ask("fox in rain"))

        async with home.open() as nursery:
            first = home.prompt("fox in snow")
            await home.meaning.twin(first)
            await trio.sleep(60)
            nursery.start_soon(later)
            await trio.sleep(ENCODE_S / 2)
            assert ["fox in rain"] in home.encoder.batches
            home.landed(first, home.keep("fox in snow").hit(Strategy.COALESCED))
            await trio.sleep(60)
        assert len(twins) == 1
        assert twins[0] is not None
        assert twins[0].flight is not None
        assert twins[0].flight.outcome is not None

    run(test)


def test_prompts_that_all_landed_before_the_encoder_was_there_are_no_question_to_it(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        async with home.open():
            first = home.prompt("fox in snow")
            await home.meaning.twin(first)
            home.landed(first, home.keep("fox in snow").hit(Strategy.COALESCED))
            await trio.sleep(60)
            assert [] not in home.encoder.batches
            twin = await home.ask("fox in rain")
            assert twin is not None
            assert twin.number

    run(test)


def test_two_prompts_never_wait_for_each_other(house: Callable[..., House]) -> None:
    # Both went on once, because nearer ones stood between them; then their line was left, and another line leads both.
    async def test() -> None:
        home = house()
        async with home.open():
            await home.ask("owl")
            await trio.sleep(60)
            texts = ("fox one", "fox two")
            prompts = [home.prompt(text) for text in texts]
            same, home.judge.possible = home.judge.possible, lambda *_: False  # type: ignore[method-assign]  # for this moment
            for prompt in prompts:
                assert await home.meaning.twin(prompt) != (None, None)
            home.judge.possible = same  # type: ignore[method-assign]  # as it was
            home.line.__exit__(None, None, None)
            found: dict[str, Twin | None] = {}

            async def again(text: str) -> None:
                found[text] = await home.ask(text)
                while (twin := found[text]) is not None and twin.flight is not None:
                    assert await twin.flight.follow() is None
                    found[text] = await home.ask(text)

            home.line = home.flights.line()
            with trio.move_on_after(1_000):
                async with trio.open_nursery() as nursery:
                    for text in texts:
                        nursery.start_soon(again, text)
            waiting = [text for text in texts if found.get(text) is not None or text not in found]
            assert len(waiting) <= 1, "one of them has to lead"

    run(test)


def test_the_nearest_stored_answer_is_similar_unless_texts_counts_or_negations_differ(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        for text in ("fox without a hat", "fox with 3 hats", 'fox under the sign "OPEN"', "owl"):
            home.keep(text)
        async with home.open():
            for text in ("fox with a red hat", "fox with 4 hats", 'fox under the sign "SHUT"'):
                assert await home.meaning.similar(home.prompt(text), 0.8) is None
            kept = home.keep("fox with a green hat")
            twin = await home.meaning.similar(home.prompt("fox with a red hat"), 0.8)
            assert twin is not None
            assert (twin.number, twin.difference) == (kept.number, "red -> green")
            assert await home.meaning.similar(home.prompt("fox with a red hat"), 0.9999) is None
            assert await home.meaning.similar(home.prompt("fox with a red hat", namespace="elsewhere"), 0.8) is None

    run(test)


def test_what_is_similar_is_never_in_flight(house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        async with home.open():
            await home.ask("fox with a green hat")
            await trio.sleep(60)
            assert await home.meaning.similar(home.prompt("fox with a red hat"), 0.5) is None

    run(test)


# What goes wrong


def wrong(texts: Sequence[str]) -> None:
    raise ZeroDivisionError(f"{len(texts)} texts\x1b[2J\nare too many")


def missing() -> Encoder:
    raise EncoderError("there are no weights")


UNUSABLE: dict[str, dict[str, Any]] = {
    "cannot be loaded": {"loading": missing},
    "no encoder": {"loading": lambda: None},
    "a stranger's error while loading": {"loading": lambda: wrong([])},
    "raises at its first text": {"encoder": Subjects(spoil=wrong)},
    "raises at others": {"encoder": Subjects(spoil=lambda texts: wrong(texts) if texts != ["a first text"] else None)},
    "no number": {"encoder": Subjects(spoil=lambda texts: np.full((len(texts), 32), np.nan, np.float32) if len(texts[0]) < 9 else None)},
    "another shape": {"encoder": Subjects(spoil=lambda texts: np.eye(len(texts), 7, dtype=np.float32) if len(texts[0]) < 9 else None)},
    "too few": {"encoder": Subjects(spoil=lambda texts: np.zeros((0, 32), np.float32) if len(texts[0]) < 9 else None)},
    "not made for it": {"encoder": Subjects(fingerprint="another:1")},
}


@pytest.mark.parametrize("how", UNUSABLE)
@pytest.mark.parametrize("held", [True, False])
def test_without_a_usable_encoder_there_is_one_warning_and_nobody_waits(
    how: str, held: bool, house: Callable[..., House], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        home = house(**UNUSABLE[how])
        home.judge.refused = "another:1"
        if held:
            home.keep("fox in snow")
        found: list[Any] = []

        async def ask(text: str) -> None:
            found.append(await home.meaning.twin(home.prompt(text)))
            found.append(await home.meaning.twin(home.prompt(text + " again")))
            found.append(await home.meaning.similar(home.prompt(text), 0.5))

        async with home.open():
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(ask, f"fox {number}")
            before = trio.current_time()
            assert await home.ask("fox") is None
            assert trio.current_time() == before
        assert len(found) == 15
        assert all(each in (None, (None, None)) for each in found)
        (warning,) = events(caplog, "encoder_unusable")
        assert not re.search(r"[\x00-\x1f]", warning["error"])
        assert home.store._db.execute("select count(*) from vector").fetchone() == (0,)

    run(test)


def test_an_encoder_that_breaks_later_costs_one_warning_and_nobody_who_waits_hangs(
    house: Callable[..., House], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        home = house()
        async with home.open():
            await home.ask("fox")
            await trio.sleep(60)
            assert await home.ask("fox again") is not None
            home.encoder.spoil = wrong
            results: list[object] = []

            async def ask(number: int) -> None:
                results.append(await home.meaning.twin(home.prompt(f"fox {number}")))

            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(ask, number)
            assert results == [(None, None)] * 100
        assert len(events(caplog, "encoder_unusable")) == 1

    run(test)


@pytest.mark.parametrize("seconds", [0.1, 1.0, LOAD_S + 0.6, LOAD_S + 1.2, LOAD_S + 1.7, 60.0])
def test_who_is_cancelled_while_waiting_harms_nobody_else(seconds: float, house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        home.keep("fox in snow")
        found: list[Twin | None] = []

        async def other() -> None:
            found.append(await home.ask("fox in rain"))

        async with home.open() as nursery:
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as inside:
                    for number in range(5):
                        inside.start_soon(home.ask, f"fox {number}")
                    await trio.sleep(seconds / 2)
                    nursery.start_soon(other)
            await trio.sleep(60)
            assert await home.ask("fox again") is not None
        assert len(found) == 1
        assert found[0] is not None
        assert not home.meaning._questions

    run(test)


@pytest.mark.parametrize("seconds", [0.0, 0.1, 2.0, LOAD_S + 0.6, LOAD_S + 1.2, 60.0])
def test_it_can_be_left_at_any_moment(seconds: float, house: Callable[..., House]) -> None:
    async def test() -> None:
        home = house()
        home.keep("fox in snow")
        async with home.open() as nursery:
            nursery.start_soon(home.ask, "fox in rain")
            await trio.sleep(seconds)
        assert trio.current_time() <= seconds + LOAD_S

    run(test)


# What is told


def test_every_twin_and_every_near_miss_is_an_event_that_says_why_in_clean_words(
    house: Callable[..., House], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="headrace")
    caplog.set_level(logging.INFO, logger="headrace.prompts")

    async def test() -> None:
        home = house()
        home.judge.floor = -1.0
        home.keep("fox in snow\x1b[2J\u202e")
        home.keep("owl at night")
        async with home.open():
            await home.ask("fox in\x07 rain")
            await wait_all_tasks_blocked()
        (twin,) = events(caplog, "cache_twin")
        assert twin["prompt"] == "fox in\x07 rain", "ids are cleaned by the log itself"
        assert (twin["rule"], twin["score"], twin["because"]) == ("subject", 0.75, "so it is")
        assert 0.9 < twin["cosine"] <= 1
        assert (twin["asked"], twin["known"]) == ("fox in  rain", "fox in snow [2J")
        assert twin["difference"].startswith("rain -> snow")
        assert twin["difference"].isprintable()
        assert events(caplog, "cache_near_miss") == []

    run(test)


@pytest.mark.parametrize("shown", [True, False])
def test_a_near_miss_is_told_like_a_twin_and_its_words_where_prompts_are_logged(
    shown: bool, house: Callable[..., House], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="headrace")
    if shown:
        caplog.set_level(logging.INFO, logger="headrace.prompts")

    async def test() -> None:
        home = house(offload=inline)
        sure = home.judge.judge
        home.judge.judge = lambda *pair: attrs.evolve(sure(*pair), same=False)  # type: ignore[method-assign]
        home.keep("fox in snow")
        async with home.open():
            assert await home.ask("fox in rain") is None
        (miss,) = events(caplog, "cache_near_miss")
        assert (miss["prompt"], miss["rule"], miss["score"]) == ("fox in rain", "subject", 0.75)
        words = {name: miss.get(name) for name in ("asked", "known", "difference", "because")}
        told = {"asked": "fox in rain", "known": "fox in snow", "difference": "rain -> snow", "because": "so it is"}
        assert words == (told if shown else dict.fromkeys(told))

    run(test)
