from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.forecast import survey
from headrace.forecast.report import estimated
from headrace.settings import RequestSettings, Settings
from headrace.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Estimate = Callable[..., dict[str, Any]]

FLARE = "gpt-image-2.5-flare"
LOW, HIGH = 196, 1756
POOL = {"name": "p", "images_per_minute": 60}


@pytest.fixture
def estimate(tmp_path: Path) -> Estimate:
    """``estimate(*lines, profiles=..., **tables)``: what is told of a job with these lines."""

    def told(*lines: object, profiles: dict[str, RequestSettings] | None = None, **tables: Any) -> dict[str, Any]:
        source = tmp_path / "in.jsonl"
        source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        tables = {"pool": [POOL], "cache": {"policy": "canonical", "dir": str(tmp_path / "cache")}} | tables

        async def main() -> dict[str, Any]:
            return await estimated(Settings.from_dict(tables), Source(str(source), "jsonl"), {}, profiles=profiles)

        return trio.run(main)

    return told


def named(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_repeats_are_free_by_tier_and_the_rest_is_counted(estimate: Estimate) -> None:
    found = estimate("a red fox", "a red fox", "A red fox!", {"prompt": "a red fox", "quality": "high"}, {"prompt": "a fox", "n": 2})
    assert (found["prompts"], found["bad"]) == (5, 0)
    assert found["free"] == [{"tier": "exact", "in_file": 1, "on_disk": 0}, {"tier": "canonical", "in_file": 1, "on_disk": 0}]
    assert (found["paid"]["prompts"], found["paid"]["images"]) == (3, 4)
    assert found["paid"]["output_tokens"] == 3 * LOW + HIGH
    assert found["without_cache"]["output_tokens"] == 5 * LOW + HIGH
    saved = found["without_cache"]["cost_usd"] - found["paid"]["cost_usd"]
    assert found["saved_usd"] == pytest.approx(saved) == pytest.approx((2 * LOW * 30 + (9 + 11) * 5) / 1e6, rel=0.05)


def test_the_policy_says_which_repeats_are_free(estimate: Estimate) -> None:
    lines = ("a red fox", "a red fox", "A red fox!")
    assert estimate(*lines, cache={"policy": "off"})["paid"]["prompts"] == 3
    assert estimate(*lines, cache={"policy": "exact"})["paid"]["prompts"] == 2


def test_modes_of_the_cache_are_kept(estimate: Estimate) -> None:
    modes = [{"prompt": "a fox", "cache": mode} for mode in ("bypass", "use", "refresh", "use")]
    found = estimate(*modes)
    assert (found["paid"]["prompts"], found["free"]) == (3, [{"tier": "exact", "in_file": 1, "on_disk": 0}])


def test_what_no_run_can_do_is_listed_by_its_line(estimate: Estimate) -> None:
    lines = ("", "fox", {"prompt": "fox", "colour": 1}, {"prompt": "fox", "size": "7x7"}, {"prompt": "fox", "n": 9}, {"prompt": 5})
    pool = {"name": "p", "models": ["gpt-image-2.5*"], "images_per_minute": 5}
    found = estimate(*lines, {"prompt": "fox", "model": "gpt-image-2"}, pool=[pool])
    assert (found["prompts"], found["bad"]) == (1, 6)
    reasons = (
        "the prompt is empty",
        "unknown key colour",
        "cannot make size '7x7'",
        "9 images, and pool p allows 5",
        "prompt",
        "no pool is for",
    )
    assert [line["line"] for line in found["bad_lines"]] == [1, 3, 4, 5, 6, 7]
    assert all(reason in line["message"] for reason, line in zip(reasons, found["bad_lines"], strict=True))
    assert not any(line["message"].startswith("line ") for line in found["bad_lines"])


def test_of_many_bad_lines_the_first_are_kept(estimate: Estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "KEPT", 2)
    found = estimate(*[""] * 5)
    assert (found["bad"], [line["line"] for line in found["bad_lines"]], found["time"]["seconds"]) == (5, [1, 2], 0)


def test_kinds_are_bounded_and_nothing_goes_uncounted(estimate: Estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MOST_KINDS", 3)
    found = estimate(*[{"prompt": f"fox {n}", "n": n} for n in range(1, 9)])
    assert found["paid"]["prompts"] == 8
    assert any("kinds of requests" in note for note in found["notes"])


def test_a_profile_changes_what_lines_leave_out(estimate: Estimate) -> None:
    lines = ("fox", {"prompt": "wolf", "quality": "low"}, {"prompt": "bear", "model": "gpt-image-1.5", "size": "1024x1024"})
    profiles = {"quality": RequestSettings(quality="high"), "odd": RequestSettings(quality="xhigh")}
    found = estimate(*lines, profiles=profiles)
    by_name = named(found["profiles"])
    output = HIGH * 30 + LOW * 30 + 4160 * 32
    assert by_name["quality"]["cost_usd"] == pytest.approx(output / 1e6, rel=0.01)
    assert by_name["quality"]["refused"] == 0
    assert by_name["odd"]["refused"] == 1


def test_each_rung_is_told_as_if_everything_went_down_to_it(estimate: Estimate) -> None:
    other = {"base_url": "https://other.example/v1", "model": "gpt-image-1.5", "pool": [{"name": "o", "images_per_minute": 5}]}
    lines = [{"prompt": f"fox {i}", "quality": "high"} for i in range(100)]
    found = estimate(*lines, fallback={"ladder": ["reduced_quality", "cached_similar", "alternative_api"], "alternative": other})
    rows = named(found["ladder"])
    assert list(rows) == [
        "reduced_quality: the next lower quality",
        "reduced_quality: the lowest quality and the fewest tokens",
        "alternative_api",
    ]
    costs = [rows[name]["cost_usd"] for name in rows]
    assert costs[1] < costs[0] < found["paid"]["cost_usd"] < costs[2]
    assert rows["alternative_api"]["seconds"] > 99 * 60 / 5
    assert estimate(*lines, fallback={"ladder": []})["ladder"] == []


def test_every_living_model_and_quality_has_a_row(estimate: Estimate) -> None:
    found = estimate({"prompt": "fox", "size": "2048x2048"}, pool=[POOL | {"models": ["gpt-image-2.5*"]}])
    rows = {(row["name"], row["quality"]): row for row in found["models"]}
    assert rows[FLARE, "low"]["cost_usd"] == found["paid"]["cost_usd"]
    assert rows[FLARE, "max"]["cost_usd"] > rows[FLARE, "high"]["cost_usd"] > rows[FLARE, "low"]["cost_usd"]
    assert rows[FLARE, "low"]["seconds"] is not None
    assert rows["gpt-image-2", "low"]["seconds"] is None
    assert ("gpt-image-1", "low") not in rows


def test_a_price_that_nobody_knows_makes_no_cost(estimate: Estimate) -> None:
    found = estimate("fox", {"prompt": "wolf", "model": "somebody-elses"})
    assert (found["paid"]["cost_usd"], found["saved_usd"]) == (None, None)
    assert any("somebody-elses" in note for note in found["notes"])


def test_limits_tell_where_they_are_from_and_unknown_ones_are_said_to_be(estimate: Estimate) -> None:
    found = estimate("fox", pool=[{"name": "p", "tier": 3, "images_per_minute": 7}, {"name": "q"}])
    first, second = found["time"]["pools"]
    assert {each["resource"]: (each["limit"], each["source"]) for each in first["limits"]} == {
        "images": (7, "settings"),
        "tokens": (800_000, "tier 3"),
    }
    assert second["used"] == {}
    assert any("no limit of pool q is known" in note for note in found["notes"])


def test_several_pools_need_no_key_and_files_of_keys_are_not_read(estimate: Estimate) -> None:
    found = estimate("fox", pool=[POOL, {"name": "q", "images_per_minute": 60, "project": "proj_q", "admin_env": "NOT_SET"}])
    assert [pool["name"] for pool in found["time"]["pools"]] == ["p", "q"]
    keys = [{"name": "k", "pool": "p", "file": "/nowhere"}]
    assert [pool["name"] for pool in estimate("fox", key=keys)["time"]["pools"]] == ["p"]
