from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.cache.features import NAMES, features
from headrace.cache.judge import Cosine, Verified
from headrace.cache.verifier import Verifier
from headrace.cache.words import read
from headrace.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

ENCODER = "all-MiniLM-L6-v2:53aa51172d142c89"
PAIRS = [
    ("a red cat on a mat", "on a mat there is a red cat"),
    ("two dogs near a sofa", "two dogs sitting beside a couch"),
    ("a man riding a horse", "a horse ridden by a man"),
    ("a cat", "a castle at night"),
]


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier.load()


@pytest.fixture
def table() -> Any:
    return json.loads(resources.files("headrace.cache").joinpath("verifier.json").read_text("utf-8"))


def write(folder: Path, table: Any) -> Path:
    path = folder / "verifier.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table), "utf-8")
    return path


def test_the_shipped_verifier_was_trained_with_the_default_encoder(verifier: Verifier) -> None:
    assert verifier.encoder == ENCODER
    verifier.check(ENCODER)
    assert {"data", "seed", "date", "pairs"} <= verifier.evidence.keys()


def test_it_is_small(verifier: Verifier) -> None:
    assert verifier.points
    assert len(resources.files("headrace.cache").joinpath("verifier.json").read_bytes()) <= 400_000


def test_another_encoder_is_refused(verifier: Verifier) -> None:
    with pytest.raises(UsageError, match="knows nothing of other:1"):
        verifier.check("other:1")


def test_a_smaller_budget_asks_for_more(verifier: Verifier) -> None:
    thresholds = [verifier.threshold(budget) for budget in (0.001, 0.005, 0.01)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > thresholds[2]
    assert verifier.threshold(0.009) == verifier.threshold(0.005)
    assert verifier.threshold(0.5) == verifier.threshold(0.01)


def test_a_budget_that_was_not_measured_is_refused(verifier: Verifier) -> None:
    with pytest.raises(ValueError, match=r"a false-hit budget is 0\.001 at the least, not 0\.0001"):
        verifier.threshold(0.0001)
    with pytest.raises(UsageError, match="at the least"):
        Verified(verifier, 0.0001)


def test_what_was_measured_keeps_the_budget(verifier: Verifier) -> None:
    for point in verifier.points:
        assert point.false_hit_rate <= point.budget
        assert 0 < point.recall < 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version"),
        ({"features": ["cosine"]}, "other features"),
        ({"trees": [[]]}, "empty"),
        ({"trees": [[[0, 0.5, 0], [1.0], [2.0]]]}, "leads nowhere"),
        ({"trees": [[[0, 0.5, 9], [1.0], [2.0]]]}, "leads nowhere"),
        ({"trees": [[[0, 0.5, 2], [1.0], [0, 0.5, 1]]]}, "leads nowhere"),
        ({"trees": [[[len(NAMES), 0.5, 2], [1.0], [2.0]]]}, "leads nowhere"),
        ({"trees": [[["x"]]]}, "no number"),
        ({"trees": 3}, "cannot be used"),
        ({"base": None}, "no number"),
        ({"base": float("nan")}, "no number"),
        ({"points": []}, "operating points"),
        ({"points": [{"budget": 0.001}]}, "missing"),
        ({"points": [3]}, "cannot be used"),
        ({"encoder": 3}, "encoder"),
        ({"evidence": 3}, "cannot be used"),
    ],
)
def test_a_strange_file_is_refused_in_one_line(table: Any, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        Verifier.load(write(tmp_path, {**table, **change}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{}", '{"version": 1}', "[" * 100_000, "\x00"])
def test_what_is_no_verifier_at_all_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        Verifier.load(write(tmp_path, text))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        Verifier.load(tmp_path / "none.json")


def test_a_file_of_ones_own_is_used(table: Any, tmp_path: Path) -> None:
    table.update(encoder="own:1", base=-1.0, trees=[[[0, 0.5, 2], [0.0], [3.0]]])
    own = Verifier.load(write(tmp_path, table))
    row = [0.0] * len(NAMES)
    assert own.encoder == "own:1"
    assert own.probability([0.5, *row[1:]]) == pytest.approx(0.2689, abs=1e-4)
    assert own.probability([0.6, *row[1:]]) == pytest.approx(0.8808, abs=1e-4)


@pytest.mark.parametrize(("asked", "known"), PAIRS)
def test_features_are_as_many_as_their_names_and_symmetric(asked: str, known: str) -> None:
    row = features(read(asked), read(known), 0.9)
    assert len(row) == len(NAMES)
    assert row == pytest.approx(features(read(known), read(asked), 0.9))


@settings(deadline=None)
@given(st.text(), st.text(), st.floats(-1, 1))
def test_any_two_texts_have_a_verdict(asked: str, known: str, cosine: float) -> None:
    judge = Verified(Verifier.load(), 0.005)
    verdict = judge.judge(read(asked), read(known), cosine)
    assert verdict.same == judge.judge(read(known), read(asked), cosine).same
    assert verdict.detail


def test_the_chain_names_what_decided(verifier: Verifier) -> None:
    judge = Verified(verifier, 0.005)

    def rule(asked: str, known: str, cosine: float) -> str:
        return judge.judge(read(asked), read(known), cosine).rule

    assert rule("a cat", "please draw a cat", 0.3) == "canonical"
    assert rule("a cat", "a dog", 0.79) == "floor"
    assert rule("a red cat", "a blue cat", 0.99) == "veto:colour"
    assert rule("a cat on a mat", "on a mat there is a cat", 0.95) == "verifier"


def test_the_same_picture_in_another_order_of_words_is_served(verifier: Verifier) -> None:
    verdict = Verified(verifier, 0.005).judge(read("a small boat next to a rock"), read("there is a small boat near a rock"), 0.97)
    assert verdict.same
    assert verdict.score is not None
    assert verdict.threshold is not None
    assert verdict.score >= verdict.threshold


def test_what_cannot_be_the_same_at_any_cosine_is_known_before_encoding(verifier: Verifier) -> None:
    judge = Verified(verifier, 0.005)
    assert not judge.possible(read("a red cat"), read("a blue cat"))
    assert judge.possible(read("a red cat"), read("a cat that is red"))


def test_cosine_alone_knows_no_words() -> None:
    judge = Cosine(0.92)
    judge.check("any:1")
    assert judge.possible(read("a red cat"), read("a blue cat"))
    assert judge.judge(read("a red cat"), read("a blue cat"), 0.93).same
    verdict = judge.judge(read("a red cat"), read("a blue cat"), 0.91)
    assert not verdict.same
    assert verdict.detail == "cosine below 0.92"


def test_a_pair_is_judged_in_less_than_a_millisecond(verifier: Verifier) -> None:
    pairs = [(read(asked), read(known)) for asked, known in PAIRS]
    start = time.perf_counter()
    for _ in range(50):
        for asked, known in pairs:
            verifier.probability(features(asked, known, 0.9))
    assert time.perf_counter() - start < 1.0


def test_the_longest_prompts_take_no_time_to_speak_of(verifier: Verifier) -> None:
    one, other = read("a red cat on a mat and " * 1400), read("a mat on a red cat and " * 1400)
    start = time.perf_counter()
    assert not Verified(verifier, 0.01).judge(one, other, 0.99).same
    assert time.perf_counter() - start < 2


def test_deciding_imports_no_model() -> None:
    code = "import sys; import headrace.cache.judge, headrace.cache.verifier as _; sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own interpreter
