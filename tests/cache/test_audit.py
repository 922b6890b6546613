from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest

from headrace.cache.audit import Audit, Ruling, Stored
from headrace.cache.judge import Verdict
from headrace.cache.search import Search
from headrace.records import CacheMode, Prompt, Request, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from headrace.cache.encoder import Encoder
    from headrace.cache.entry import Entry
    from headrace.cache.store import Store
    from headrace.cache.words import Reading

DAY_S = 86_400.0
REQUEST = Request(prompt="", model="gpt-image-2", size="1024x1024", quality="low")


class SameLastWord:
    """Prompts of the same last word ask for the same picture."""

    strategy: ClassVar[Strategy] = Strategy.CACHE_VERIFIED
    floor = 0.3

    def check(self, fingerprint: str) -> None:
        """Any will do."""

    def possible(self, asked: Reading, known: Reading) -> bool:
        return asked.text.split()[-1] == known.text.split()[-1]

    def judge(self, asked: Reading, known: Reading, cosine: float) -> Verdict:
        return Verdict(same=self.possible(asked, known), rule="last", detail="", cosine=cosine, score=cosine, threshold=0.5)


def rulings(audit: Audit, *texts: str | tuple[str, dict[str, Any]]) -> list[Ruling]:
    prompts = []
    for seq, each in enumerate(texts):
        text, fields = each if isinstance(each, tuple) else (each, {})
        prompts.append(Prompt(seq=seq, id=str(seq), request=Request(prompt=text, model="m", size="1x1", quality="low"), **fields))
    return list(audit.rule(prompts))


def tiers(found: Sequence[Ruling]) -> list[str | None]:
    return [ruling.tier for ruling in found]


@pytest.fixture
def audit(encoder: Encoder) -> Audit:
    return Audit(encoder, SameLastWord(), "default")


def test_each_prompt_is_ruled_about_as_if_those_before_it_had_been_answered(audit: Audit) -> None:
    found = rulings(audit, "a red fox", "a red fox", "A red fox!", "the very red fox", "a red wolf", "a red fox")
    assert tiers(found) == [None, "exact", "canonical", "verified", None, "exact"]
    assert [ruling.known for ruling in found] == [None, None, None, "a red fox", "a red fox", None]
    assert [ruling.verdict is not None for ruling in found] == [False, False, False, True, True, False]
    assert found[4].verdict is not None
    assert not found[4].verdict.same


def test_batches_make_no_difference(encoder: Encoder) -> None:
    texts = [f"a {colour} {animal}" for animal in ("fox", "wolf", "fox") for colour in ("red", "grey", "Red", "red")]
    whole = rulings(Audit(encoder, SameLastWord(), "default"), *texts)
    audit = Audit(encoder, SameLastWord(), "default")
    assert [ruling for text in texts for ruling in rulings(audit, text)] == whole


def test_without_an_encoder_letters_and_content_decide() -> None:
    found = rulings(Audit(None, None, "default"), "a red fox", "a red fox", "A red fox!", "the very red fox")
    assert tiers(found) == [None, "exact", "canonical", None]


@pytest.mark.parametrize("fields", [{"variation": 1}, {"namespace": "other"}])
def test_prompts_that_never_meet_share_nothing(audit: Audit, fields: dict[str, Any]) -> None:
    found = rulings(audit, "a red fox", ("a red fox", fields), ("A red fox", fields), "the very red fox", ("a very red fox", fields))
    assert tiers(found) == [None, None, "canonical", "verified", "verified"]


@pytest.mark.parametrize("mode", [CacheMode.REFRESH, CacheMode.BYPASS])
def test_who_wants_a_new_picture_is_paid_for(audit: Audit, mode: CacheMode) -> None:
    found = rulings(audit, "a red fox", ("a red fox", {"cache": mode}), ("the very red fox", {"cache": mode}))
    assert tiers(found) == [None, None, None]


def test_what_was_made_beside_the_cache_is_nobody_elses(audit: Audit) -> None:
    found = rulings(audit, ("a red fox", {"cache": CacheMode.BYPASS}), "a red fox", "a red fox")
    assert tiers(found) == [None, None, "exact"]


def test_many_prompts_of_one_scope_are_found_again(audit: Audit) -> None:
    texts = [f"{number} {number} x{number}" for number in range(300)]
    assert set(tiers(rulings(audit, *texts))) == {None}
    assert set(tiers(rulings(audit, *(f"{number} once more {number} x{number}" for number in range(300))))) == {"verified"}


def test_a_prompt_without_a_namespace_has_that_of_the_settings(audit: Audit) -> None:
    assert tiers(rulings(audit, "a red fox", ("a red fox", {"namespace": "default"}))) == [None, "exact"]


def test_what_was_made_anew_is_there_for_others_by_its_meaning_too(audit: Audit) -> None:
    assert tiers(rulings(audit, ("a red fox", {"cache": CacheMode.REFRESH}), "the very red fox")) == [None, "verified"]


def test_answers_in_the_store_are_told_from_those_of_the_stream(
    store: Store, root: Path, entry: Callable[..., Entry], encoder: Encoder
) -> None:
    store.put(entry(root, "a red fox"), root)
    asked = ("a red fox", "A red fox!", "one very red fox", "a blue owl", "a blue owl", "a green owl")
    prompts = [Prompt(seq=seq, id=str(seq), request=attrs.evolve(REQUEST, prompt=text)) for seq, text in enumerate(asked)]
    with closing(Search(store.folder, encoder, SameLastWord.floor, DAY_S)) as search:
        stored = Stored(store=store, search=search)
        found = list(Audit(encoder, SameLastWord(), api="test", stored=stored).rule(prompts))
        elsewhere = list(Audit(encoder, SameLastWord(), api="other", stored=stored).rule(prompts[:1]))
    assert tiers(found) == ["exact", "canonical", "verified", None, "exact", "verified"]
    assert [ruling.stored for ruling in found] == [True, True, True, False, False, False]
    assert tiers(elsewhere) == [None]
    by_key = Audit(None, None, api="test", stored=Stored(store=store, search=None))
    assert tiers(list(by_key.rule(prompts))) == ["exact", "canonical", None, None, "exact", None]


def test_no_more_are_compared_by_meaning_than_there_is_memory_for(encoder: Encoder) -> None:
    audit = Audit(encoder, SameLastWord(), most=2)
    found = rulings(audit, "a red fox", "a blue owl", "a blue fox", "a red fox")
    assert tiers(found) == [None, None, None, "exact"]
    assert [ruling.compared for ruling in found] == [True, True, False, True]
