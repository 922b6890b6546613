from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import resources
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def in_another_folder(folder: Path, code: str) -> str:
    """What Python prints elsewhere, with nothing but what is installed."""
    command = [sys.executable, "-c", code]
    environ = {"PATH": "/usr/bin"}
    ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 - our own command
    return ended.stdout


@pytest.fixture(scope="module")
def setuptools() -> dict[str, Any]:
    """What pyproject.toml says of packages."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return table


def test_every_folder_with_modules_is_a_package_of_the_wheel(setuptools: dict[str, Any]) -> None:
    folders = {path.parent for root in ("pipeline", "stages") for path in (ROOT / root).rglob("*.py")}
    named = {
        ".".join(("headrace", *folder.relative_to(ROOT).parts[0 if folder.parts[len(ROOT.parts)] == "stages" else 1 :]))
        for folder in folders
    }
    assert named == set(setuptools["packages"])
    assert setuptools["package-dir"] == {"headrace": "pipeline", "headrace.stages": "stages"}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_both_packages_import_from_anywhere(tmp_path: Path) -> None:
    code = "import headrace, headrace.stages.intake; print(headrace.generate.__module__, headrace.stages.intake.Intake.__module__)"
    assert in_another_folder(tmp_path, code) == "headrace.embed headrace.stages.intake\n"


@pytest.mark.parametrize("name", ["pipeline", "stages", "tests", "benchmarks", "examples"])
def test_no_other_name_is_installed(tmp_path: Path, name: str) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    assert in_another_folder(tmp_path, code) == "None\n"


def test_modules_of_a_user_with_the_same_names_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("NAME = 'mine'")
    (tmp_path / "stages.py").write_text("NAME = 'mine'")
    code = "import pipeline, stages, headrace.assembly; print(pipeline.NAME, stages.NAME)"
    assert in_another_folder(tmp_path, code) == "mine mine\n"


def test_data_files_come_with_the_packages(setuptools: dict[str, Any]) -> None:
    patterns = setuptools["package-data"]["*"]
    for package, name in (
        ("headrace", "models.toml"),
        ("headrace", "py.typed"),
        ("headrace.cli", "template.toml"),
        ("headrace.cache", "verifier.json"),
        ("headrace.quota", "exchange.lua"),
        ("headrace.shared_cache", "claims.lua"),
        *(("headrace.report", name) for name in ("template.html", "report.css", "report.js")),
    ):
        assert resources.files(package).joinpath(name).is_file()
        assert any(Path(name).match(pattern) for pattern in patterns)
    others = {path.suffix for root in ("pipeline", "stages") for path in (ROOT / root).rglob("*") if path.is_file()} - {".py", ".pyc"}
    assert others <= {".json", ".toml", ".typed", ".html", ".css", ".js", ".lua"}


def test_the_command_is_installed() -> None:
    (script,) = distribution("headrace").entry_points.select(group="console_scripts")
    assert (script.name, script.value) == ("headrace", "headrace.cli.main:main")


def test_everything_public_can_be_imported_and_nothing_else_is_there() -> None:
    code = (
        "import headrace\n"
        "assert sorted(headrace.__all__) == headrace.__all__\n"
        "print([name for name in headrace.__all__ if getattr(headrace, name) is None])\n"
        "try: headrace.Gate\n"
        "except AttributeError as error: print(error)"
    )
    assert in_another_folder(ROOT / "tests", code) == "[]\nmodule 'headrace' has no attribute 'Gate'\n"
