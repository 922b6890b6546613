from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from headrace.admission.memory import MeterMemory, PoolMemory
from headrace.learnt import FILE, Entry, LearntFile
from headrace.simulator import SimulatedPool, SimulatorSettings, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Headrace = Callable[..., CompletedProcess[str]]

ADMIN = "sk-admin-canary-0123456789"
CHEAPEST = "a grey dot"


@pytest.fixture(scope="session")
def limited(on_loopback: Callable[[World], str], key: str, second_key: str) -> tuple[str, World]:
    """An API with limits and administration: 250 images a minute, told in headers, for one key; one picture in all for the other."""
    pools = (
        SimulatedPool(name="studio", keys=(key,), images_per_minute=250, max_concurrency=None, project="proj_studio"),
        SimulatedPool(name="empty", keys=(second_key,), images_per_minute=0.001, max_concurrency=None),
    )
    world = World(SimulatorSettings(pools=pools, latency_s=0, pictures="template", limit_headers=True, admin_keys=(ADMIN,)))
    return on_loopback(world), world


@pytest.fixture
def configured(tmp_path: Path, environ: dict[str, str], limited: tuple[str, World], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``configured(text)`` writes the configuration of pools at the limited API."""
    monkeypatch.setenv("SECOND_KEY", "sk-canary-second-0123456789")
    monkeypatch.setenv("ADMIN_KEY", ADMIN)
    monkeypatch.setenv("COLUMNS", "120")
    environ["OPENAI_BASE_URL"] = limited[0]

    def write(*pools: str) -> None:
        (tmp_path / "headrace.toml").write_text("\n".join(f"[[pool]]\n{pool}" for pool in pools))

    return write


STUDIO = 'name = "studio"\ntier = 3'


def report(ended: CompletedProcess[str]) -> dict[str, Any]:
    assert len(ended.stdout.splitlines()) == 1
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def known(pool: dict[str, Any]) -> dict[str, tuple[float | None, str]]:
    return {each["resource"]: (each["limit"], each["source"]) for each in pool["limits"]}


def entry(api: str, **fields: Any) -> Entry:
    meter = MeterMemory(resource="images", named=50, limit=40, source="refusal", level=20, recent=(), offered=None)
    values: dict[str, Any] = {"meters": (meter,), "calls": 24, "owners": ("org-1/proj_1",), "refusals": ("Limit 40, Used 40",)} | fields
    return Entry(api=api, written=time.time() - 7_200 - 60, memory=PoolMemory(name="studio", **values))


def test_every_limit_has_its_number_and_where_it_came_from(headrace: Headrace, configured: Callable[..., None], key: str) -> None:
    configured(f'{STUDIO}\nmax_concurrency = 9\nmodels = ["gpt-image-2*"]')
    ended = headrace("limits", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    (pool,) = report(ended)["pools"]
    assert known(pool) == {"images": (50, "tier 3"), "tokens": (800_000, "tier 3"), "calls": (9, "settings")}
    assert (pool["keys"], pool["models"], pool["learnt_s_ago"], pool["refusals"]) == (["default"], ["gpt-image-2*"], None, [])
    assert key not in ended.stdout
    table = headrace("limits").stdout
    assert [word for word in ("studio", "800,000", "tier 3", "9 at once", "settings", "gpt-image-2*") if word not in table] == []
    assert "nothing learnt so far" in table


def test_a_tier_is_for_pools_that_name_no_limit(headrace: Headrace, configured: Callable[..., None]) -> None:
    configured('name = "studio"')
    assert known(report(headrace("limits", "--json"))["pools"][0]) == {"images": (None, "unknown"), "calls": (None, "unknown")}
    assert known(report(headrace("limits", "--json", "--tier", "1"))["pools"][0])["images"] == (5, "tier 1")


def test_what_a_run_learnt_is_shown_with_its_age(
    headrace: Headrace, configured: Callable[..., None], limited: tuple[str, World], tmp_path: Path
) -> None:
    configured(STUDIO)
    LearntFile(tmp_path / ".cache" / "headrace").write([entry(limited[0])])
    ended = headrace("limits", "--json")
    (pool,) = report(ended)["pools"]
    assert known(pool)["images"] == (40, "refusal")
    assert known(pool)["calls"] == (24, "refusals")
    assert (pool["owners"], pool["refusals"]) == (["org-1/proj_1"], ["Limit 40, Used 40"])
    assert 7_200 < pool["learnt_s_ago"] < 7_400
    table = headrace("limits").stdout
    assert [word for word in ("a refusal's text", "50%", "2 h old", "org-1/proj_1", "Limit 40, Used 40") if word not in table] == []


def test_what_a_server_said_cannot_move_the_cursor(
    headrace: Headrace, configured: Callable[..., None], limited: tuple[str, World], tmp_path: Path
) -> None:
    configured(STUDIO)
    LearntFile(tmp_path / ".cache" / "headrace").write([entry(limited[0], refusals=("\x1b[2J[bold]x",), owners=("\u202eorg",))])
    table = headrace("limits").stdout
    assert "\x1b" not in table
    assert "\u202e" not in table
    assert "[bold]x" in table


def test_the_limits_of_a_project_are_those_of_its_administration(headrace: Headrace, configured: Callable[..., None]) -> None:
    configured(f'{STUDIO}\nproject = "proj_studio"\nadmin_env = "ADMIN_KEY"')
    ended = headrace("limits", "--json")
    (pool,) = report(ended)["pools"]
    assert pool["project"] == "proj_studio"
    assert [each["offered"] for each in pool["limits"]] == [250, None, None]
    assert "the API speaks of 250 images a minute, the settings allow 50" in headrace("limits").stdout
    assert ADMIN not in ended.stdout


def test_an_administration_that_does_not_tell_is_a_warning(headrace: Headrace, configured: Callable[..., None]) -> None:
    configured(f'{STUDIO}\nproject = "proj_none"\nadmin_env = "ADMIN_KEY"')
    ended = headrace("limits", "--json")
    assert ended.returncode == 0
    assert known(report(ended)["pools"][0])["images"] == (50, "tier 3")
    assert "admin_limits_unknown" in ended.stderr


def test_nothing_is_asked_unless_it_is_said(headrace: Headrace, configured: Callable[..., None], limited: tuple[str, World]) -> None:
    configured(STUDIO)
    before = limited[1].bill[CHEAPEST]
    headrace("limits")
    assert limited[1].bill[CHEAPEST] == before


def test_a_probe_says_what_it_costs_then_makes_one_call_and_keeps_what_it_learnt(
    headrace: Headrace, configured: Callable[..., None], limited: tuple[str, World], tmp_path: Path, key: str
) -> None:
    configured('name = "studio"')
    before = limited[1].bill[CHEAPEST]
    ended = headrace("limits", "--probe", "--json")
    assert ended.returncode == 0
    assert limited[1].bill[CHEAPEST] == before + 1
    assert "1 x one picture of gpt-image-2.5-flare" in ended.stderr
    assert "$0.0017 in all" in ended.stderr
    (answer,) = report(ended)["probe"]
    assert (answer["outcome"], answer["status"], answer["organisation"], answer["project"]) == ("ok", 200, "org-studio", "proj_studio")
    assert (answer["levels"][0]["resource"], answer["levels"][0]["limit"]) == ("images", 250)
    assert 0 < answer["cost_usd"] < 0.002
    assert known(report(ended)["pools"][0])["images"] == (250, "header")
    (after,) = report(headrace("limits", "--json"))["pools"]
    assert (known(after)["images"], after["owners"]) == ((250, "header"), ["org-studio/proj_studio"])
    assert key not in (tmp_path / ".cache" / "headrace" / FILE).read_text()


def test_a_larger_limit_than_the_settings_allow_is_remembered(headrace: Headrace, configured: Callable[..., None]) -> None:
    configured(STUDIO)
    assert "images 2" in headrace("limits", "--probe").stdout
    table = headrace("limits").stdout
    assert "the API speaks of 250 images a minute, the settings allow 50" in table


def test_a_refusal_is_an_answer_with_its_numbers_and_is_not_asked_again(
    headrace: Headrace, configured: Callable[..., None], limited: tuple[str, World]
) -> None:
    configured('name = "empty"\n[[key]]\nname = "e"\npool = "empty"\nenv = "SECOND_KEY"')
    headrace("limits", "--probe")  # takes the one picture that there is
    before = limited[1].counts["rate_limited"]
    ended = headrace("limits", "--probe")
    assert ended.returncode == 0
    assert limited[1].counts["rate_limited"] == before + 1
    assert "asked empty: rate_limited (429)" in ended.stdout
    assert "refused for images" in ended.stdout
    assert "requested 1" in ended.stdout
    assert "refused: Rate limit reached" in headrace("limits").stdout


def test_a_key_that_is_refused_and_an_api_that_is_not_there_are_status_1(
    headrace: Headrace, configured: Callable[..., None], environ: dict[str, str]
) -> None:
    configured(STUDIO)
    environ["OPENAI_API_KEY"] = "sk-canary-nobody-0123456789"
    ended = headrace("limits", "--probe")
    assert ended.returncode == 1
    assert "asked studio: auth (401)" in ended.stdout
    assert "nobody" not in ended.stdout + ended.stderr
    environ["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"
    ended = headrace("limits", "--probe")
    assert ended.returncode == 1
    assert "asked studio: network (no answer)" in ended.stdout


@pytest.mark.parametrize("agreed", [True, False])
def test_on_a_terminal_a_probe_waits_for_a_yes(
    agreed: bool, headrace: Headrace, configured: Callable[..., None], limited: tuple[str, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(STUDIO)

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("typer.confirm", lambda *_, **__: agreed)
    before = limited[1].bill[CHEAPEST]
    ended = headrace("limits", "--probe", "--json")
    assert ended.returncode == 0
    assert limited[1].bill[CHEAPEST] == before + agreed
    assert len(report(ended)["probe"]) == agreed


def test_the_simulator_can_be_looked_at_and_asked_and_leaves_nothing(
    headrace: Headrace, configured: Callable[..., None], environ: dict[str, str], tmp_path: Path
) -> None:
    configured()
    del environ["OPENAI_API_KEY"]
    ended = headrace("limits", "--simulate", "--probe", "--json")
    assert [pool["name"] for pool in report(ended)["pools"]] == ["small", "medium", "large"]
    assert [answer["outcome"] for answer in report(ended)["probe"]] == ["ok"] * 3
    assert not (tmp_path / ".cache").exists()


def test_what_cannot_be_used_is_one_line(headrace: Headrace, configured: Callable[..., None], environ: dict[str, str]) -> None:
    configured('name = "studio"\nteir = 1')
    ended = headrace("limits")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    configured(STUDIO)
    del environ["OPENAI_API_KEY"]
    ended = headrace("limits", "--probe")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_the_help_says_what_a_probe_does(headrace: Headrace) -> None:
    text = " ".join(headrace("limits", "--help").stdout.split())
    assert "costs money" in text
    assert "elsewhere --probe is the yes" in text
