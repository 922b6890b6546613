from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from headrace.simulator import World

    Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path) -> Run:
    """``run(lines, ...)``: the result lines, in the order of the prompts."""

    def lines(documents: list[dict[str, Any]], *arguments: str) -> list[dict[str, Any]]:
        (tmp_path / "in").write_text("".join(f"{json.dumps(document)}\n" for document in documents))
        return lines_of(headrace("run", "in", "--ordered", *arguments).stdout)

    return lines


@pytest.fixture(autouse=True)
def _pictures(tmp_path: Path) -> None:
    for name in ("red", "blue"):
        Image.new("RGB", (64, 64), name).save(tmp_path / f"{name}.png")
    Image.new("RGBA", (64, 64)).save(tmp_path / "mask.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "red.png").read_bytes())


@pytest.mark.parametrize("policy", ["exact", "canonical", "verified", "cosine"])
def test_the_same_words_about_another_picture_are_another_prompt_for_every_cache(run: Run, tmp_path: Path, policy: str) -> None:
    words = f"make it brighter {tmp_path}"
    documents: list[dict[str, Any]] = [
        {"prompt": words, "images": ["red.png"]},
        {"prompt": words, "images": ["blue.png"]},
        {"prompt": words, "images": ["red.png", "blue.png"]},
        {"prompt": words, "images": ["red.png"], "mask": "mask.png"},
        {"prompt": words},
        {"prompt": words, "images": ["copy.png"]},
    ]
    for fresh in ((), ("--fresh",)):
        lines = run(documents, "--cache", policy, *fresh)
        assert [line["status"] for line in lines] == ["ok"] * 6
        made = [line["images"][0]["sha256"] for line in lines]
        assert len(set(made)) == 5
        assert made[5] == made[0]
    assert {line["strategy"] for line in lines} == {"cache_exact"}


def test_a_picture_that_changed_between_two_runs_is_edited_anew(run: Run, tmp_path: Path, world: World) -> None:
    words = f"make it darker {tmp_path}"
    documents = [{"prompt": words, "images": ["red.png"]}]
    (first,) = run(documents)
    (again,) = run(documents)
    assert first == again
    (tmp_path / "red.png").write_bytes((tmp_path / "blue.png").read_bytes())
    (other,) = run(documents)
    assert (other["strategy"], other["images"] == first["images"]) == ("primary", False)
    assert world.bill[words] == 2


def test_an_input_picture_costs_tokens_and_a_bad_one_fails_its_line_alone(run: Run, tmp_path: Path) -> None:
    words = f"make it round {tmp_path}"
    plain, edit, bad = run([{"prompt": words}, {"prompt": words, "images": ["red.png"]}, {"prompt": words, "images": ["gone.png"]}])
    assert edit["usage"]["input_tokens"] - plain["usage"]["input_tokens"] == 64
    assert edit["cost_usd"] - plain["cost_usd"] == pytest.approx(64 * 8 / 1e6)
    assert (bad["status"], bad["error"]["kind"]) == ("failed", "bad_line")
    assert bad["error"]["message"].startswith("line 3: images[0]: gone.png cannot be read")
