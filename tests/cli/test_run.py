from __future__ import annotations

import hashlib
import json
import socket
import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from headrace.records import Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from headrace.simulator import World

Run = Any
"""``run(prompts, *arguments)`` gives the result lines of a run that ended with 0, by ``seq``."""


@pytest.fixture
def run(headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path) -> Run:
    def call(prompts: list[str], *arguments: str) -> list[dict[str, Any]]:
        (tmp_path / "in").write_text("".join(f"{prompt}\n" for prompt in prompts))
        ended = headrace("run", "in", *arguments)
        assert ended.returncode == 0, ended.stderr
        return sorted(lines_of(ended.stdout), key=lambda line: int(line["seq"]))

    return call


def jsonl(*documents: object) -> list[str]:
    return [json.dumps(document) for document in documents]


def test_a_line_has_every_key_of_the_contract_and_its_picture_is_on_disk(run: Run, tmp_path: Path, key: str) -> None:
    (line,) = run([f"{tmp_path} a fox"])
    assert list(line) == list(Result(seq=0, id="0", prompt=None, status=Status.OK).as_dict())
    (image,) = line["images"]
    data = (tmp_path / "headrace-out" / image["path"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == image["sha256"]
    assert (len(data), image["format"], image["width"], image["height"]) == (image["bytes"], "png", 1024, 1024)
    assert stat.S_IMODE((tmp_path / "headrace-out" / image["path"]).stat().st_mode) == 0o600
    assert (line["key"], line["strategy"], line["attempts"], line["error"], line["match"]) == ("default", "primary", 1, None, None)
    assert line["cost_usd"] > 0
    assert key not in json.dumps(line)


def test_text_lines_are_prompts_as_they_are(run: Run, tmp_path: Path) -> None:
    lines = run([f"{tmp_path} a", '{"prompt": "not read"}', "", '"quoted"'])
    assert [line["prompt"] for line in lines] == [f"{tmp_path} a", '{"prompt": "not read"}', '"quoted"']


def test_jsonl_lines_are_texts_or_objects_and_metadata_comes_back_untouched(run: Run, tmp_path: Path) -> None:
    columns = {"row": [1, None, {"naïve \u2028 \u0000 \x7f": 1.5e-7}], "": True, "big": 2**70}
    lines = run(jsonl(f"{tmp_path} a", {"prompt": f"{tmp_path} b", "id": "row-1", "metadata": columns, "quality": "medium"}))
    assert [line["id"] for line in lines] == ["0", "row-1"]
    assert [line["metadata"] for line in lines] == [None, columns]
    assert lines[1]["quality"] == "medium"


def test_the_format_can_be_forced(run: Run) -> None:
    (line,) = run(['"a fox"'], "--format", "text")
    assert line["prompt"] == '"a fox"'


def test_a_number_that_json_cannot_hold_does_not_make_a_line_that_is_none(
    headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text('{"prompt": "a fox", "metadata": {"x": 1e999}}\n{"prompt": "a fox", "metadata": -1e999}\n')
    ended = headrace("run", "in")
    assert len(lines_of(ended.stdout)) == 2


def test_bad_lines_say_where_and_the_others_go_on(
    headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    deep = ['{"prompt": "x", "metadata": ' + "[" * depth + "]" * depth + "}" for depth in range(940, 1000)]
    good = f"{tmp_path} a fox"
    bad = ["[]", "17", "{", '{"prompt": ""}', '{"promt": "x"}', '{"prompt": "x", "size": "7x7"}', '{"prompt": "x", "n": 11}', '"\\ud800"']
    (tmp_path / "in").write_text("\n".join([json.dumps(good), "", *bad, *deep]) + "\n")
    ended = headrace("run", "in", "--ordered", "--size", "1024x1024")
    lines = lines_of(ended.stdout)
    assert ended.returncode == 1
    assert [line["seq"] for line in lines] == list(range(1 + len(bad) + len(deep)))
    failed = lines[1 : 1 + len(bad)]
    assert {line["status"] for line in failed} == {"failed"}
    assert all(line["error"]["message"] for line in failed)
    assert failed[0]["error"]["message"].startswith("line 3: ")
    assert "did you mean 'prompt'" in failed[4]["error"]["message"]


def test_ordered_lines_come_in_the_order_of_the_prompts(
    headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    prompts = [f"{tmp_path} {n}" + (" [[fault:slow_body]]" if n == 1 else "") for n in range(20)]
    (tmp_path / "in").write_text("\n".join(prompts))
    ended = headrace("run", "in", "--ordered", "-o", "out.jsonl")
    assert ended.stdout == ""
    lines = lines_of((tmp_path / "out.jsonl").read_text())
    assert [line["seq"] for line in lines] == list(range(20))
    assert [line["prompt"] for line in lines] == prompts
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600


def test_equal_prompts_are_paid_once_and_say_whose_picture_they_got(run: Run, world: World, tmp_path: Path) -> None:
    prompt = f"{tmp_path} [[fault:slow_body]]"
    lines = run(jsonl({"prompt": prompt, "id": "first"}, prompt, prompt))
    assert world.bill[prompt] == 1
    assert sorted(line["strategy"] for line in lines) == ["coalesced", "coalesced", "primary"]
    others = [line for line in lines if line["strategy"] == "coalesced"]
    assert [(line["match"]["of"], line["cost_usd"], line["saved_usd"] > 0) for line in others] == [("first", 0.0, True)] * 2
    assert len({line["images"][0]["path"] for line in lines}) == 1


def by_seq(line: dict[str, Any]) -> int:
    return int(line["seq"])


def test_the_same_command_again_pays_nothing_and_emits_every_line(run: Run, world: World, tmp_path: Path) -> None:
    prompts = [f"{tmp_path} {n}" for n in range(5)]
    first, second = run(prompts), run(prompts)
    assert sorted(second, key=by_seq) == sorted(first, key=by_seq)
    started_over = run(prompts, "--fresh")
    assert [line["strategy"] for line in started_over] == ["cache_exact"] * 5
    assert [line["images"] for line in sorted(started_over, key=by_seq)] == [line["images"] for line in sorted(first, key=by_seq)]
    assert [world.bill[prompt] for prompt in prompts] == [1] * 5


def test_without_the_cache_equal_prompts_are_paid_twice(run: Run, world: World, tmp_path: Path) -> None:
    run([f"{tmp_path} a fox"] * 2, "--cache", "off")
    assert world.bill[f"{tmp_path} a fox"] == 2
    run([f"{tmp_path} a fox"], "--cache", "off")
    assert world.bill[f"{tmp_path} a fox"] == 2
    run([f"{tmp_path} a fox"], "--cache", "off", "--fresh")
    assert world.bill[f"{tmp_path} a fox"] == 3


def test_a_prompt_may_refresh_go_round_or_vary_what_the_cache_has(run: Run, world: World, tmp_path: Path) -> None:
    prompt = f"{tmp_path} a fox"
    run([prompt])
    again = run(jsonl(*({"prompt": prompt} | extra for extra in ({"cache": "refresh"}, {"cache": "bypass"}, {"variation": 1}))))
    assert [line["strategy"] for line in again] == ["primary"] * 3
    assert world.bill[prompt] == 4
    assert [line["strategy"] for line in run(jsonl(prompt, {"prompt": prompt, "variation": 1}), "--fresh")] == ["cache_exact"] * 2


def test_profiles_ask_for_what_the_model_can_do_and_options_win(run: Run, tmp_path: Path) -> None:
    prompt = f"{tmp_path} a fox"
    (speed,) = run([prompt], "--profile", "speed")
    (quality,) = run([prompt], "--profile", "quality")
    (mixed,) = run([prompt], "--profile", "speed", "--quality", "medium", "--output-format", "png")
    assert (speed["quality"], speed["images"][0]["format"]) == ("low", "webp")
    assert (quality["quality"], quality["size"], quality["images"][0]["format"]) == ("high", "1024x1024", "png")
    assert (mixed["quality"], mixed["size"], mixed["images"][0]["format"]) == ("medium", speed["size"], "png")


def test_several_pictures_a_prompt(run: Run, tmp_path: Path) -> None:
    (line,) = run([f"{tmp_path} a fox"], "--n", "3")
    assert len(line["images"]) == 3


def test_the_live_line_stays_off_stdout(
    headrace: Callable[..., CompletedProcess[str]], lines_of: Callable[[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("\n".join(f"{tmp_path} {n}" for n in range(5)))
    ended = headrace("run", "in", "--progress", "always")
    assert ended.returncode == 0
    assert len(lines_of(ended.stdout)) == 5


def test_a_log_for_machines_is_json_line_by_line(headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, unlimited: Path) -> None:
    unlimited.unlink()
    (tmp_path / "in").write_text(f"{tmp_path} [[fault:moderation_blocked]]\n")
    ended = headrace("run", "in", "--log-level", "debug", "--log-format", "json")
    events = [json.loads(line) for line in ended.stderr.splitlines() if not line.startswith("headrace: ")]
    assert {event["event"] for event in events} == {"tier_assumed", "read", "waits", "call_sent", "call_failed", "result"}
    assert all({"level", "timestamp"} <= event.keys() for event in events)


def test_without_a_tier_the_lowest_is_taken_and_said(
    headrace: Callable[..., CompletedProcess[str]], tmp_path: Path, unlimited: Path
) -> None:
    unlimited.unlink()
    (tmp_path / "in").write_text(f"{tmp_path} a fox\n")
    assert headrace("run", "in").stderr.count("tier_assumed") == 1
    assert "tier_assumed" not in headrace("run", "in", "--tier", "2").stderr


def test_two_organisations_share_the_work_and_lines_show_the_names_of_their_keys(
    run: Run, headrace: Callable[..., CompletedProcess[str]], environ: dict[str, str], tmp_path: Path, key: str, second_key: str
) -> None:
    del environ["OPENAI_API_KEY"]
    for name, text in (("one.key", key), ("two.key", second_key)):
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)
    tables = "".join(
        f"[[pool]]\nname = '{name}'\nimages_per_minute = 600\nmax_concurrency = 2\n"
        f"[[key]]\nname = '{name}-a'\npool = '{name}'\nfile = '{name}.key'\n"
        for name in ("one", "two")
    )
    (tmp_path / "headrace.toml").write_text(tables)
    lines = run([f"{tmp_path} {n}" for n in range(12)])
    assert {line["key"] for line in lines} == {"one-a", "two-a"}
    (tmp_path / "two.key").chmod(0o644)
    ended = headrace("run", "in")
    assert ended.returncode == 2
    assert ended.stderr == "headrace: key two-a: two.key can be read by others; chmod 600 two.key\n"


def test_a_key_for_an_api_on_this_machine_is_not_sent_through_a_proxy(
    headrace: Callable[..., CompletedProcess[str]], environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A key travels in the clear only as far as this machine; a proxy from the environment is another one.
    seen: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as proxy:
        proxy.settimeout(20)

        def listen() -> None:
            while True:
                try:
                    connection, _ = proxy.accept()
                except OSError:
                    return
                with connection:
                    seen.append(connection.recv(4096))

        thread = threading.Thread(target=listen)
        thread.start()
        del environ["NO_PROXY"]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setattr("headrace.admission.retry.RetryPolicy.delay", lambda *_: None)
        (tmp_path / "in").write_text(f"{tmp_path} a fox\n")
        ended = headrace("run", "in")
        proxy.shutdown(socket.SHUT_RDWR)
        thread.join(20)
    assert seen == []
    assert ended.returncode == 0
