from __future__ import annotations

from typing import TYPE_CHECKING

from reliability.hour import imagined
from reliability.simulation import chance
from reliability.soak import soak

from headrace.admission.bucket import Bucket

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SEEDS = range(0, 60, 2)


def test_no_random_hour_breaks_anything(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = soak(SEEDS)
    assert not outcome.failures
    assert outcome.trials == len(SEEDS)
    assert capsys.readouterr().err == ""


def test_a_client_that_does_not_keep_its_limits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "earliest", lambda _bucket, _cost, now: now)
    monkeypatch.setattr(Bucket, "ready", float("-inf"))
    assert any("in the 60 s before" in failure for failure in soak(range(11, 13)).failures)


def test_an_hour_follows_from_its_seed(tmp_path: Path) -> None:
    one, again, other = (imagined(chance(seed, "hour"), tmp_path) for seed in (1, 1, 2))
    assert (one.settings, one.api, one.items, one.lives_s) == (again.settings, again.api, again.items, again.lives_s)
    assert one.settings != other.settings


def test_progress_is_told_every_fifty_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reliability.soak._TOLD_EVERY", 1)
    soak(range(2))
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["1 of 2 runs", "2 of 2 runs"]
