"""What one process tells the others of a pool, and what it makes of what they say."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from headrace.admission.booking import Cost
from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.models import Limits
from headrace.quota.exchange import Answer
from headrace.quota.learning import Learning, fingerprint
from headrace.records import Kind, Problem
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

PRINTS = {"a": "1111", "b": "2222"}


def answer(news: Mapping[str, str], stamp: int = 1) -> Answer:
    return Answer(granted=False, wait_s=0, slot_us=0, opened=1, workers=2, binding=0, calls=0, pause_s=0, stamp=stamp, news=news, totals=())


@attrs.define
class Process:
    prints: Mapping[str, str] = attrs.field(factory=lambda: PRINTS)
    limits: Limits = attrs.field(factory=Limits)
    pool: Pool = attrs.field(init=False)
    learning: Learning = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pool = Pool("studio", self.limits, [Key("a"), Key("b")])
        self.learning = Learning(self.pool, self.prints)
        self.hear({})

    def hear(self, news: Mapping[str, str]) -> bool:
        self.learning.told()
        return self.learning.heard(answer(news), 0.0)

    def taught(self) -> dict[str, str]:
        taught: dict[str, str] = self.learning.told()["taught"]
        self.learning.heard(answer({}), 0.0)
        return taught

    def fails(self, kind: Kind) -> None:
        booking = self.pool.take(Cost(images=1, tokens=1), 0.0)
        self.pool.failed(booking, Problem(kind=kind, message="sk-secret of somebody@example.com", status=401), 0.0)


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.FORBIDDEN])
def test_a_key_that_the_api_does_not_take_is_benched_in_the_other_processes_and_said_once(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "headrace")
    first, second = Process(), Process()
    first.fails(kind)
    taught = first.taught()
    assert list(taught) == ["bench a 1111"]
    assert first.taught() == {}
    assert "secret" not in str(taught)
    assert [second.hear(taught) for _ in range(2)] == [True, False]
    benched = [key.benched for key in second.pool.keys]
    assert benched[1] is None
    assert str(kind) in str(benched[0])
    (event,) = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert (event["event"], event["pool"], event["key"], event["because"]) == ("benched_elsewhere", "studio", "a", str(kind))
    assert second.taught() == {}  # it was not told so itself


def test_a_pool_without_money_is_benched_in_the_other_processes() -> None:
    first, second = Process(), Process()
    first.fails(Kind.BILLING)
    assert second.hear(first.taught())
    assert not second.pool.alive
    assert "billing" in str(second.pool.benched)


def test_a_server_that_fails_here_benches_nothing_elsewhere() -> None:
    first = Process()
    for _ in range(50):
        first.fails(Kind.SERVER_ERROR)
    first.pool.benched = "the last 10 probes failed"
    assert first.taught() == {}


def test_an_address_that_is_not_found_here_benches_nothing_elsewhere() -> None:
    first = Process()
    first.fails(Kind.NOT_FOUND)
    assert first.pool.keys[0].benched
    assert first.taught() == {}


def test_a_key_of_the_same_name_with_another_secret_stays_in_use() -> None:
    first, second = Process(), Process(prints={"a": "9999", "b": "2222"})
    first.fails(Kind.AUTH)
    assert not second.hear(first.taught())
    assert second.pool.keys[0].benched is None


def test_a_run_that_starts_after_a_bench_asks_for_itself() -> None:
    first = Process()
    first.fails(Kind.BILLING)
    late = Pool("studio", Limits(), [Key("a")])
    learning = Learning(late, PRINTS)
    learning.told()
    assert not learning.heard(answer(first.taught()), 0.0)
    assert late.alive


def test_a_fingerprint_tells_keys_apart_by_16_bits() -> None:
    one, other = Secret("sk-one"), Secret("sk-other")
    found = {fingerprint("x", "a", one), fingerprint("x", "a", other), fingerprint("y", "a", one), fingerprint("x", "b", one)}
    assert len(found) == 4
    assert fingerprint("x", "a", one) == fingerprint("x", "a", Secret("sk-one"))
    assert {len(each) for each in found} == {4}


def test_what_the_settings_say_is_no_news_until_it_was_something_else() -> None:
    process = Process(limits=Limits(images_per_minute=600))
    meter = process.pool.meters.by_name["images"]
    assert process.taught() == {}
    meter.learn(300.0, "header", 0.0)
    (lesson,) = process.taught().values()
    assert json.loads(lesson)["limit"] == 300
    meter.learn(600.0, "header", 0.0)
    assert json.loads(process.taught()["images 600"])["limit"] == 600


def test_what_the_store_has_lost_is_told_again() -> None:
    process = Process()
    process.pool.meters.meter("images").learn(300.0, "header", 0.0)
    before = process.taught()
    assert process.taught() == {}
    process.learning.forgotten()
    assert process.taught() == before


def test_a_bench_is_not_told_again_where_the_store_has_lost_it() -> None:
    process = Process()
    process.fails(Kind.AUTH)
    assert process.taught()
    process.learning.forgotten()
    assert process.taught() == {}  # whoever has come since may have a key that was mended


def test_of_two_that_learnt_at_once_the_second_goes_on_with_what_the_first_says() -> None:
    first, second = Process(), Process()
    first.pool.meters.meter("images").learn(300.0, "header", 0.0)
    second.pool.meters.meter("images").learn(400.0, "guess", 0.0)
    taught, _ = first.taught(), second.learning.told()
    assert second.learning.heard(answer(taught), 1.0)
    meter = second.pool.meters.by_name["images"]
    assert (meter.limit, meter.source) == (300.0, "header")
    assert second.taught() == {}


@pytest.mark.parametrize(
    "document",
    ["", "{}", "[[[", '{"kind": "nonsense", "by": "x"}', "NaN"]
    + [
        json.dumps(
            {
                "resource": "images",
                "named": None,
                "limit": limit,
                "source": "x",
                "standing": {"level": level, "good": 1.0, "held": 1.0, "step": 0.1, "needed": 1, "searching": False},
            }
        )
        for limit, level in ((-1.0, 1.0), (1.0, float("nan")), (float("inf"), 1.0), (None, 1.0), (1e-9, 1.0), (10**400, 1.0))
    ],
)
def test_what_no_process_has_written_changes_nothing(document: str) -> None:
    process = Process()
    assert not process.hear({"images ": document, "bench a 1111": document})
    assert process.pool.alive
    assert process.pool.meters.by_name["images"].limit is None


def test_what_is_written_of_a_source_is_fit_to_be_shown() -> None:
    first, second = Process(), Process()
    first.pool.meters.meter("images").learn(300.0, "\x1b[31m" + "x" * 1_000, 0.0)
    assert second.hear(first.taught())
    source = second.pool.meters.by_name["images"].source
    assert "\x1b" not in source
    assert len(source) < 30


def test_a_request_that_was_too_large_is_let_in_where_another_process_learnt_of_more() -> None:
    first, second = Process(), Process()
    for process in (first, second):
        process.pool.meters.meter("images").largest = 20.0
    first.pool.meters.meter("images").learn(300.0, "header", 0.0)
    assert second.hear(first.taught())
    assert second.pool.too_large(Cost(images=30, tokens=1)) is None


def test_what_settings_name_is_not_exceeded_whatever_others_say() -> None:
    loose: dict[str, Any] = {"exceed": True}
    other = Pool("studio", Limits(images_per_minute=100), [Key("a")], **loose)
    other.meters.by_name["images"].learn(500.0, "header", 0.0)
    learning = Learning(other, PRINTS)
    process = Process(limits=Limits(images_per_minute=100))
    process.hear(learning.told()["taught"])
    meter = process.pool.meters.by_name["images"]
    assert meter.limit == meter.pace.level == 100
    assert process.taught() == {}
