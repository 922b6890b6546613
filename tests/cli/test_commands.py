from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import attrs
import httpx
import pytest

from headrace.models import catalogue
from headrace.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess, Popen

    from headrace.simulator import World

    Headrace = Callable[..., CompletedProcess[str]]

GRACE_S = 15.0


def test_the_version_is_that_of_the_distribution(headrace: Callable[..., CompletedProcess[str]]) -> None:
    ended = headrace("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"headrace {version('headrace')}\n", "")


@pytest.mark.parametrize("command", [(), ("run",), ("simulate",), ("init",), ("models",), ("doctor",), ("cache",)])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(headrace: Callable[..., CompletedProcess[str]], command: tuple[str, ...], flag: str) -> None:
    ended = headrace(*command, flag)
    assert ended.returncode == 0
    assert re.match(rf"Usage: .*{' '.join(('headrace', *command))} ", ended.stdout)
    assert ended.stderr == ""


def test_the_help_of_run_has_every_option_of_the_contract(headrace: Callable[..., CompletedProcess[str]]) -> None:
    text = headrace("run", "--help").stdout
    options = (
        "--output --out-dir --pictures-to --shards --config --format --prompt-column --id-column --model --size --quality "
        "--n --output-format --profile --tier --simulate --ordered --max-cost --max-in-flight --cache --drain --progress "
        "--log-level --log-format"
    )
    assert [option for option in options.split() if not re.search(rf"{option}\b", text)] == []


def test_help_waits_for_no_library_that_only_a_run_needs() -> None:
    code = (
        "import sys; sys.argv = ['headrace', *sys.argv[1:]]\n"
        "from headrace.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('trio', 'httpx', 'PIL', 'rich', 'attrs', 'structlog', 'sqlite3') if name in sys.modules])"
    )
    for arguments in (("--help",), ("run", "--help"), ("--version",)):
        command = [sys.executable, "-c", code, *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=GRACE_S, check=True)  # noqa: S603 - our own command
        assert ended.stdout.splitlines()[-1] == "[]"


def test_models_lists_every_model_with_its_end_of_life(
    headrace: Callable[..., CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    ended = headrace("models")
    assert ended.returncode == 0
    assert all(name in ended.stdout for name in catalogue().models)
    assert "2026-10-23" in ended.stdout
    assert "\x1b" not in ended.stdout


# ---- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("rnu", "there is no command 'rnu' (did you mean 'run'?); 'headrace --help' says what there is"),
        ("cache whi", "there is no command 'whi' (did you mean 'why'?); 'headrace cache --help' says what there is"),
        ("run --qualty low", "there is no option --qualty (did you mean '--quality'?); 'headrace run --help' says what there is"),
        ("run -z", "there is no option -z; 'headrace run --help' says what there is"),
        (
            "run --format jsnl",
            (
                "--format is 'jsnl'; it can be auto, text, jsonl, csv, tsv, parquet (did you mean 'jsonl'?); "
                "'headrace run --help' says what there is"
            ),
        ),
        ("run --cache verfied", "--cache is 'verfied'; it can be off, exact, canonical, verified, cosine (did you mean 'verified'?)"),
        ("run --profile sped", "there is no profile 'sped'; there are speed, balanced, quality (did you mean 'speed'?)"),
        ("run --max-in-flight 0", "--max-in-flight is 0; it has to be from 1 to 100000"),
        ("run --drain x", "--drain: input should be a valid number, unable to parse string as a number; "),
        ("run --model", "option '--model' requires an argument; "),
        ("run a b", "got unexpected extra argument(s) (b); "),
        ("cache why a", "missing argument 'B'; "),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_valid_name(headrace: Headrace, command: str, line: str) -> None:
    ended = headrace(*command.split())
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith(f"headrace: {line}")


@pytest.mark.parametrize("command", ["run", "estimate"])
@pytest.mark.parametrize(
    ("options", "table", "said"),
    [
        ("--quality hihg", "", "has no quality 'hihg'; of low, medium, high, xhigh, max the nearest is 'high'"),
        ("--size 1536x1024x", "", "cannot make size '1536x1024x'; the nearest is '1536x1024'"),
        ("--model gpt-image-2", "quality = 'max'", "gpt-image-2 has no quality 'max'; of low, medium, high the nearest is 'high'"),
        ("", "background = 'transparent'\noutput_format = 'jpeg'", "a transparent background needs png or webp, not jpeg"),
    ],
)
def test_what_no_prompt_could_be_given_is_refused_before_any_is_read(
    headrace: Headrace, tmp_path: Path, command: str, options: str, table: str, said: str
) -> None:
    (tmp_path / "headrace.toml").write_text(f"[request]\n{table}\n")
    ended = headrace(command, "nothing-there", *options.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("headrace: the options and [request] ask for what cannot be made: ")
    assert ended.stderr.endswith(f"{said}\n")


def test_a_model_that_is_not_known_is_asked_for_anything(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a fox\n")
    ended = headrace("estimate", "in", "--model", "mine", "--quality", "finest", "--json")
    assert ended.returncode == 0


def test_a_mistake_repeats_neither_a_key_nor_a_control_character(headrace: Headrace, key: str) -> None:
    for arguments in ((key,), ("run", f"--{key}"), ("run", "--format", key), ("run", "--format", "\x1b[2J\nx"), ("\x1b[2Jrnu\nx",)):
        ended = headrace(*arguments)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert not [unwanted for unwanted in (key, "\x1b") if unwanted in ended.stderr]


def test_no_command_at_all_shows_the_help(headrace: Headrace) -> None:
    for arguments in ((), ("cache",)):
        ended = headrace(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("Usage: headrace ")


def test_a_model_that_is_nearly_another_is_asked_for_with_a_warning_that_names_it(headrace: Headrace, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a fox\n")
    ended = headrace("run", "in", "--simulate", "--model", "gpt-image-2.5-flar", "--log-format", "json")
    (warning,) = [event for event in map(json.loads, _events(ended.stderr)) if event["event"] == "model_unknown"]
    assert (warning["model"], warning["nearest"]) == ("gpt-image-2.5-flar", "gpt-image-2.5-flare")


def _events(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("{")]


# ---- init -----------------------------------------------------------------------------------------------------------


def test_init_writes_a_configuration_that_runs_as_it_is(
    headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path, world: World
) -> None:
    assert headrace("init", "new.toml").returncode == 0
    (tmp_path / "in").write_text(f"{tmp_path} a fox\n")
    simulated = headrace("run", "in", "-c", "new.toml", "--simulate", "--cache", "off")
    assert [line["status"] for line in lines_of(simulated.stdout)] == ["ok"]
    assert world.bill[f"{tmp_path} a fox"] == 0
    real = headrace("run", "in", "-c", "new.toml")
    assert [line["status"] for line in lines_of(real.stdout)] == ["ok"]
    assert world.bill[f"{tmp_path} a fox"] == 1


def test_every_example_in_the_configuration_can_be_used(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    assert headrace("init", "new.toml").returncode == 0
    text = re.sub(r"^# (?=\S+ = |\[)", "", (tmp_path / "new.toml").read_text(), flags=re.MULTILINE)
    for unfit in ('background = "transparent"', "output_compression = 85", 'verifier = "verifier.json"'):
        assert unfit in text
        text = text.replace(unfit, "")
    text = text.replace("metrics_port = 9464", "metrics_port = 0")
    assert {"pool", "key", "fallback"} <= tomllib.loads(text).keys()
    (tmp_path / "new.toml").write_text(text)
    (tmp_path / "in").write_text("")
    ended = headrace("run", "in", "-c", "new.toml", "--simulate")
    assert ended.returncode == 0, ended.stderr


def test_every_setting_is_in_the_configuration(headrace: Headrace, tmp_path: Path) -> None:
    assert headrace("init", "new.toml").returncode == 0
    text = (tmp_path / "new.toml").read_text()
    assert [name for name in _settings(Settings) if not re.search(rf"\b{name}\b", text)] == []


def _settings(kind: Any) -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in attrs.fields(kind):
        yield field.name
        for inner in (hints[field.name], *get_args(hints[field.name])):
            if attrs.has(inner):
                yield from _settings(inner)


def test_init_names_the_key_that_is_there_and_never_writes_it(
    headrace: Headrace, environ: dict[str, str], tmp_path: Path, key: str
) -> None:
    ended = headrace("init", "new.toml")
    assert "OPENAI_API_KEY for one of tier 1" in ended.stderr
    assert "headrace doctor -c new.toml" in ended.stderr
    settings = Settings.load(tmp_path / "new.toml")
    assert [(pool.name, pool.tier) for pool in settings.pool] == [("default", 1)]
    assert [(each.name, each.pool, each.env) for each in settings.key] == [("default", "default", "OPENAI_API_KEY")]
    assert key not in (tmp_path / "new.toml").read_text()
    assert headrace("doctor", "-c", "new.toml").returncode == 0
    del environ["OPENAI_API_KEY"]
    ended = headrace("init", "none.toml")
    assert "OPENAI_API_KEY is not set" in ended.stderr
    assert Settings.load(tmp_path / "none.toml") == Settings()


def test_init_keeps_a_file_that_is_there_unless_it_is_forced(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "new.toml").write_text("mine")
    ended = headrace("init", "new.toml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "headrace: new.toml is there already; choose another name or add --force\n"
    assert (tmp_path / "new.toml").read_text() == "mine"
    assert headrace("init", "new.toml", "--force").returncode == 0
    assert "[request]" in (tmp_path / "new.toml").read_text()


def test_init_that_cannot_write_is_74(headrace: Callable[..., CompletedProcess[str]]) -> None:
    ended = headrace("init", "missing/new.toml")
    assert (ended.returncode, ended.stderr) == (74, "headrace: missing/new.toml cannot be written: No such file or directory\n")
    assert headrace("init", "/dev/full", "--force").returncode == 74


# ---- simulate -------------------------------------------------------------------------------------------------------


def listening(process: Popen[str]) -> int:
    assert process.stderr is not None
    found = re.search(r"127\.0\.0\.1:(\d+)", process.stderr.readline())
    assert found is not None
    return int(found[1])


def post(port: int, prompt: str) -> Any:
    body = json.dumps({"prompt": prompt, "model": "gpt-image-2.5-flare", "quality": "low"}).encode()
    headers = {"Authorization": "Bearer sk-any-key", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/images/generations", body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=GRACE_S) as answer:
        return json.load(answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_answers_until_it_is_stopped(started: Callable[..., Any], number: signal.Signals) -> None:
    with started("simulate", "--port", "0", "--time-scale", "0") as process:
        port = listening(process)
        assert len(post(port, "a fox")["data"]) == 1
        with pytest.raises(urllib.error.HTTPError, match="429"):
            post(port, "[[fault:insufficient_quota]]")
        process.send_signal(number)
        out, err = process.communicate(timeout=GRACE_S)
    assert process.returncode in (0, 128 + number, -number if number is signal.SIGTERM else 0)
    assert out == ""
    assert "Traceback" not in err


def test_a_port_that_is_in_use_is_one_line(started: Callable[..., Any], base_url: str) -> None:
    port = base_url.partition("127.0.0.1:")[2].partition("/")[0]
    with started("simulate", "--port", port) as process:
        out, err = process.communicate(timeout=GRACE_S)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"headrace: port {port} cannot be used: ")


@pytest.mark.parametrize(
    "fault", ["server_error", "server_error=often", "server_error=2", "server_error=-1", "server_error=nan", "no_such=0.1"]
)
def test_a_fault_that_cannot_be_is_one_line(
    headrace: Callable[..., CompletedProcess[str]], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was served")

    monkeypatch.setattr("trio.run", never)
    ended = headrace("simulate", "--port", "0", "--fault", fault)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_simulate_takes_the_pools_and_the_keys_of_a_configuration_and_no_others(tmp_path: Path) -> None:
    config = tmp_path / "two.toml"
    config.write_text(
        """[[pool]]
name = "studio"
images_per_minute = 1
[[key]]
name = "studio-a"
pool = "studio"
env = "STUDIO_KEY"
"""
    )
    environment = {**os.environ, "STUDIO_KEY": "sk-canary-0123456789abcdefXYZ"}
    command = [sys.executable, "-m", "headrace", "simulate", "-c", str(config), "--port", "0", "--time-scale", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:  # noqa: S603 - our own
        assert process.stderr is not None
        port = process.stderr.readline().split("127.0.0.1:")[1].split(";")[0]
        answers = []
        for key in ("sk-canary-0123456789abcdefXYZ", "sk-canary-0123456789abcdefXYZ", "sk-somebody-else"):
            answer = httpx.post(
                f"http://127.0.0.1:{port}/v1/images/generations",
                headers={"Authorization": f"Bearer {key}"},
                json={"prompt": "a fox", "model": "gpt-image-2"},
                trust_env=False,
            )
            answers.append(answer.status_code)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert answers == [200, 429, 401]
