from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    Headrace = Callable[..., CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _azure(tmp_path: Path, environ: dict[str, str], base_url: str) -> None:
    environ["OPENAI_BASE_URL"] = base_url.removesuffix("/v1")
    (tmp_path / "headrace.toml").write_text("[request]\nmodel = 'gpt-image-2'\n[provider]\nkind = 'azure'\n[[pool]]\nname = 'resource'\n")


def test_a_run_asks_azure_and_its_lines_are_as_ever(
    headrace: Headrace, lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path, key: str
) -> None:
    (tmp_path / "in").write_text(f"{tmp_path} a fox\n{tmp_path} [[fault:content_policy_violation]]\n")
    ended = headrace("run", "in", "--ordered")
    made, refused = lines_of(ended.stdout)
    assert (made["status"], made["model"], made["strategy"]) == ("ok", "gpt-image-2", "primary")
    assert (tmp_path / "headrace-out" / made["images"][0]["path"]).is_file()
    assert (refused["error"]["kind"], refused["attempts"]) == ("content_policy_violation", 1)
    assert key not in ended.stdout + ended.stderr


def test_doctor_asks_azure_for_its_models_and_does_not_take_them_for_deployments(headrace: Headrace, tmp_path: Path) -> None:
    def checks(name: str) -> list[str]:
        return [each["state"] for each in json.loads(headrace("doctor", "--json").stdout)["checks"] if each["check"] == name]

    assert checks("provider") == ["ok"]
    (tmp_path / "headrace.toml").write_text("[request]\nmodel = 'ours'\n[provider]\nkind = 'azure'\n")
    assert checks("provider") == ["ok"]
    assert all("lists no model" not in line for line in headrace("doctor").stdout.splitlines())


def test_a_probe_calls_a_deployment(headrace: Headrace) -> None:
    (answer,) = json.loads(headrace("limits", "--probe", "--json").stdout)["probe"]
    assert (answer["outcome"], answer["status"]) == ("ok", 200)
