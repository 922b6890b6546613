from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from reliability import matrix
from reliability.bad_input import INPUTS, bad_input
from reliability.door import Call
from reliability.invariants import lost, overspent, unbalanced, unexplained, unjournalled
from reliability.matrix import KEY_FAULTS, http_fault, key_fault
from reliability.simulation import Items, Line

from headrace.admission.permit import Permit
from headrace.api import Api
from headrace.records import Kind, Problem, Result, Status
from headrace.simulator.faults import FAULTS

if TYPE_CHECKING:
    from pathlib import Path

STATUS: dict[str, Any] = {
    **dict.fromkeys(("failed", "skipped", "unfinished"), 0),
    "prompts": 1,
    "ok": 1,
    "attempts": {"paid": 1, "spoilt": 0, "unpaid": 0, "unknown": 0, "open": 0},
    "in_doubt": [],
    "perhaps_paid": [],
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_under_any_fault_of_the_api(fault: str, seed: int) -> None:
    assert not http_fault(fault, seed)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("fault", KEY_FAULTS)
def test_every_prompt_has_its_picture_whatever_happens_to_one_of_two_pools(fault: str, seed: int) -> None:
    assert not key_fault(fault, seed)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", INPUTS)
def test_good_lines_do_not_suffer_from_bad_ones(name: str, seed: int) -> None:
    assert not bad_input(name, seed)


def test_a_permit_that_leaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Permit, "succeeded", lambda _permit, _usage, _told: None)
    assert any("permits out" in each for seed in range(6) for each in http_fault("reset", seed))


def test_a_result_that_never_comes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Api, "_delay", lambda *_: float("inf"))
    assert any("hangs" in each for each in http_fault("server_error", 0))


def test_failures_name_what_repeats_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "_KINDS", (("API", ("reset", "stall"), lambda _fault, seed: [f"seed {seed}: broken"]),))
    (outcome,) = matrix.outcomes(short=True)
    assert (outcome.trials, outcome.failures[0], outcome.failures[-1]) == (4, "reset, seed 0: broken", "stall, seed 1: broken")


def line(read: int, *seqs: int) -> Line:
    line = Line(items=Items([]))
    line.items.read = read
    line.results.extend(Result(seq=seq, id=str(seq), prompt="a cat", status=Status.OK) for seq in seqs)
    return line


@pytest.mark.parametrize(
    ("came", "options", "found"),
    [
        (line(2, 1, 0), {}, None),
        (line(2, 0), {}, "no result"),
        (line(2, 0), {"whole": False}, None),
        (line(2, 0, 1, 1), {"whole": False}, "more than one"),
        (line(1, 0, 1), {}, "no prompt"),
        (line(2, 1, 0), {"ordered": True}, "out of order"),
    ],
)
def test_one_result_a_prompt_is_what_is_looked_for(came: Line, options: dict[str, Any], found: str | None) -> None:
    broken = list(lost(came, **options))
    assert (not broken) if found is None else found in broken[0]


def test_a_result_has_its_pictures_or_its_reason(tmp_path: Path) -> None:
    fine = Result(seq=0, id="0", prompt="a", status=Status.FAILED, error=Problem(kind=Kind.TIMEOUT, message="no answer"))
    assert not list(unexplained([fine], tmp_path))
    assert len(list(unexplained([attrs.evolve(fine, error=None), attrs.evolve(fine, status=Status.OK)], tmp_path))) == 2


def call(**other: Any) -> Call:
    fields: dict[str, Any] = {
        "at": 0.0,
        "life": 1,
        "pool": "p",
        "key": "k",
        "prompt": "a",
        "images": 1,
        "estimated": 9,
        "used": 9,
        "usd": 0.01,
        "ended": 1.0,
        "outcome": "ok",
        "billed": True,
        "answered": True,
        "request_id": "headrace-1",
        **other,
    }
    return Call(**fields)


@pytest.mark.parametrize(
    ("calls", "said", "balanced"),
    [
        ([call()], 0.01, True),
        ([call()], 0.0, False),
        ([call(billed=False)], 0.01, False),
        ([call(), call(answered=False)], 0.01, True),
        ([call(), call(answered=False)], 0.02, True),
        ([call(), call(answered=False)], 0.03, False),
    ],
)
def test_results_say_what_was_billed(calls: list[Call], said: float, balanced: bool) -> None:
    result = Result(seq=0, id="0", prompt="a", status=Status.OK, cost_usd=said)
    assert (not list(unbalanced(calls, [result]))) is balanced


@pytest.mark.parametrize(
    ("calls", "changes", "found"),
    [
        ([call()], {}, None),
        ([], {}, "0 calls were billed"),
        ([call(), call(answered=False)], {"attempts": STATUS["attempts"] | {"unknown": 1}}, "not named"),
        ([call()], {"ok": 2}, "1 prompts in the journal"),
        (
            [call(), call(answered=False)],
            {"attempts": STATUS["attempts"] | {"open": 1}, "in_doubt": [{"request_id": "headrace-1"}]},
            None,
        ),
    ],
)
def test_the_journal_agrees_with_the_bill(calls: list[Call], changes: dict[str, Any], found: str | None) -> None:
    broken = list(unjournalled(calls, STATUS | changes))
    assert (not broken) if found is None else found in broken[0]


def test_without_a_journal_there_is_nothing_to_agree_with() -> None:
    assert not list(unjournalled([call()], None))


def test_what_is_in_flight_may_be_more_than_the_budget_and_nothing_else() -> None:
    beside, behind = [call(), call(), call()], [call(), call(at=1.0, ended=2.0), call(at=2.0, ended=3.0)]
    assert not list(overspent(beside, 0.01))
    assert list(overspent(behind, 0.01))
    assert not list(overspent(behind, None))
