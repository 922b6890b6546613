from __future__ import annotations

import errno
import gc
import itertools
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

import headrace
from headrace.settings import CacheSettings, RunSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.simulator import World

PATIENCE_S = 20.0


class Prompts:
    """Prompts that are counted as they are read; at ``fails_at`` the reading fails."""

    def __init__(self, folder: Path, *, fails_at: int | None = None, marker: str = "") -> None:
        self._folder = folder
        self._fails_at = fails_at
        self._marker = marker
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.read == self._fails_at:
            raise LookupError("the database is gone")
        self.read += 1
        return f"{self._folder} {self.read}{self._marker}"


def until(condition: Callable[[], bool]) -> None:
    tick, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        tick.wait(0.005)


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "headrace"]


def test_texts_and_mappings_become_results(settings: Callable[..., Settings], tmp_path: Path) -> None:
    prompts = [f"{tmp_path} a", {"prompt": f"{tmp_path} b", "id": "row-2", "metadata": {"row": 2}}, {"prompt": ""}, 17]
    results = list(headrace.generate(prompts, settings(ordered=True)))  # type: ignore[arg-type]  # 17 is no prompt
    assert [result.seq for result in results] == [0, 1, 2, 3]
    assert [result.status for result in results] == ["ok", "ok", "failed", "failed"]
    assert (results[1].id, results[1].metadata) == ("row-2", {"row": 2})
    assert (tmp_path / "out" / results[0].images[0].path).is_file()


def test_a_line_that_cannot_begin_says_why(settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("headrace.threaded.trio.run", run)
    with pytest.raises(OSError, match="Too many open files"):
        list(headrace.generate(["a"], settings()))


def test_no_prompts_are_no_results(settings: Callable[..., Settings]) -> None:
    assert list(headrace.generate([], settings())) == []


def test_nothing_happens_before_the_first_result_is_asked_for(settings: Callable[..., Settings], tmp_path: Path) -> None:
    prompts = Prompts(tmp_path)
    headrace.generate(prompts, settings())
    assert prompts.read == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("max_in_flight", [1, 4])
def test_a_consumer_that_stalls_stops_the_reading(
    settings: Callable[..., Settings], tmp_path: Path, world: World, max_in_flight: int
) -> None:
    prompts = Prompts(tmp_path)
    results = headrace.generate(prompts, settings(max_in_flight=max_in_flight))
    next(results)
    # Everything that could be made ahead has been made.
    until(lambda: sum(world.bill[f"{tmp_path} {n + 1}"] for n in range(max_in_flight + 1)) == max_in_flight + 1)
    assert prompts.read <= max_in_flight + 1
    results.close()


def test_leaving_early_ends_everything(settings: Callable[..., Settings], tmp_path: Path, world: World) -> None:
    prompts = Prompts(tmp_path)
    for result in headrace.generate(prompts, settings(max_in_flight=3)):
        assert result.status == "ok"
        break
    read = prompts.read
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "headrace"])
    assert prompts.read == read <= 5
    assert sum(world.calls(f"{tmp_path} {n + 1}") for n in range(10)) <= 4


def test_an_exception_in_the_loop_ends_everything_and_comes_out_as_it_is(settings: Callable[..., Settings], tmp_path: Path) -> None:
    def consume() -> None:
        for _ in headrace.generate(Prompts(tmp_path, marker=" [[fault:slow_body]]"), settings(max_in_flight=2)):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()


def test_an_exception_in_the_prompts_comes_after_the_results_of_what_was_read(settings: Callable[..., Settings], tmp_path: Path) -> None:
    results = headrace.generate(Prompts(tmp_path, fails_at=7), settings(max_in_flight=3))
    found = []
    with pytest.raises(LookupError, match="the database is gone"):  # noqa: PT012 - after the last result
        for result in results:
            found.append(result.status)  # noqa: PERF401 - those before the error count
    assert found == ["ok"] * 7


def test_a_group_of_exceptions_in_the_prompts_is_not_taken_apart(settings: Callable[..., Settings], tmp_path: Path) -> None:
    error = ExceptionGroup("two sources", [LookupError("the database is gone")])

    def rows() -> Iterator[str]:
        yield f"{tmp_path} a"
        raise error

    results = headrace.generate(rows(), settings())
    assert next(results).status == "ok"
    with pytest.raises(ExceptionGroup) as raised:
        next(results)
    assert raised.value is error


def test_a_generator_that_nobody_holds_any_more_ends_everything(settings: Callable[..., Settings], tmp_path: Path) -> None:
    results = headrace.generate(Prompts(tmp_path), settings(max_in_flight=2))
    next(results)
    del results
    gc.collect()
    assert running() == []


def test_a_generator_may_be_collected_in_the_thread_of_its_own_line(settings: Callable[..., Settings], tmp_path: Path) -> None:
    forgotten = threading.Event()

    class Rows(list[str]):
        """A list is read in the thread of the line itself."""

        def __iter__(self) -> Iterator[str]:
            yield f"{tmp_path} a"
            assert forgotten.wait(PATIENCE_S)
            gc.collect()
            yield f"{tmp_path} b"

    gc.disable()
    try:
        results = headrace.generate(Rows(), settings(max_in_flight=1))
        assert next(results).status == "ok"
        ring: list[object] = [results]
        ring.append(ring)
        del results, ring
        forgotten.set()
        until(lambda: running() == [])
    finally:
        gc.enable()


def test_a_fork_is_told_that_the_line_is_elsewhere_and_may_begin_its_own(tmp_path: Path, api: tuple[str, World]) -> None:
    # Nothing limits it.
    studio: dict[str, Any] = {"pool": [{"name": "studio"}], "key": [{"name": "a", "pool": "studio", "env": "OPENAI_API_KEY"}]}
    settings = {"provider": {"base_url": api[0]}, "cache": {"policy": "off"}, **studio}
    code = (
        "import os, headrace\n"
        f"settings = headrace.Settings.from_dict({settings!r})\n"
        f"results = headrace.generate([{str(tmp_path)!r} + ' ' + str(n) for n in range(3)], settings)\n"
        "print(next(results).status, flush=True)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try: next(results)\n"
        "    except headrace.UsageError as error: print(error)\n"
        f"    print(len(list(headrace.generate([{str(tmp_path)!r}], settings))))\n"
        "else:\n"
        "    os.waitpid(child, 0)\n"
        "    print(len(list(results)))\n"
    )
    environ = {"OPENAI_API_KEY": "sk-canary-any", "NO_PROXY": "127.0.0.1", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)  # noqa: S603 - our own command
    told = "this process was forked while headrace was at work; its results come in the process that began it"
    assert (ended.stdout.splitlines(), ended.returncode) == (["ok", told, "1", "2"], 0)


def test_two_at_once_in_one_program_do_not_mix_and_pay_for_equal_prompts_once_they_are_stored(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    one = headrace.generate([f"{tmp_path} one {n}" for n in range(10)], settings())
    other = headrace.generate([f"{tmp_path} other {n}" for n in range(10)], settings())
    pairs = list(zip(one, other, strict=True))
    assert len(pairs) == 10
    assert all("one" in (left.prompt or "") and "other" in (right.prompt or "") for left, right in pairs)
    assert list(one) == list(other) == []


def test_it_runs_in_any_thread(settings: Callable[..., Settings], tmp_path: Path) -> None:
    found: list[Any] = []
    own = settings()
    thread = threading.Thread(target=lambda: found.extend(headrace.generate([f"{tmp_path} a", f"{tmp_path} b"], own)))
    thread.start()
    thread.join(PATIENCE_S)
    assert [result.status for result in found] == ["ok", "ok"]


def test_it_runs_in_a_worker_thread_of_trio(settings: Callable[..., Settings], tmp_path: Path) -> None:
    own = settings()

    async def main() -> None:
        results = await trio.to_thread.run_sync(lambda: list(headrace.generate([f"{tmp_path} a"], own)))
        assert [result.status for result in results] == ["ok"]

    trio.run(main)


def test_in_the_event_loop_of_trio_it_is_refused_before_anything_is_paid(
    settings: Callable[..., Settings], tmp_path: Path, world: World
) -> None:
    prompts = Prompts(tmp_path)

    async def main() -> None:
        with pytest.raises((RuntimeError, headrace.UsageError)):
            next(headrace.generate(prompts, settings(max_in_flight=2)))

    trio.run(main)
    # Whatever it started has ended: nobody is there to take results.
    assert [thread.name for thread in threading.enumerate() if thread.name == "headrace"] == []
    assert prompts.read == 0
    assert sum(world.calls(f"{tmp_path} {n}") for n in range(4)) == 0


def test_the_end_of_the_budget_comes_after_the_last_result(settings: Callable[..., Settings], tmp_path: Path) -> None:
    found = []
    with pytest.raises(headrace.StoppedError, match="budget"):  # noqa: PT012 - after the last result
        for result in headrace.generate(Prompts(tmp_path), settings(max_cost_usd=0.02, max_in_flight=1)):
            found.append(result.status)  # noqa: PERF401 - those before the error count
    assert found == ["ok", "ok", "ok", "skipped"]


def test_pictures_and_cache_in_one_folder_are_refused(
    settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Evicting would remove the user's own pictures.
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "both").mkdir()
    both = attrs.evolve(settings(), run=RunSettings(out_dir=str(tmp_path / "both")), cache=CacheSettings(dir="~/both"))
    with pytest.raises(headrace.UsageError, match="the same folder"):
        list(headrace.generate(["a lighthouse"], both))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"key": ()}, "no API key"),
        ({"cache": CacheSettings(dir="/dev/null/cache")}, "cache"),
        ({"run": RunSettings(out_dir="/dev/null/out")}, "/dev/null/out"),
    ],
)
def test_what_cannot_be_used_is_said_when_the_first_result_is_asked_for(
    settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], complaint: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    prompts = Prompts(tmp_path)
    results = headrace.generate(prompts, attrs.evolve(settings(), **changes))
    with pytest.raises(headrace.HeadraceError, match=complaint):
        next(results)
    assert prompts.read == 0


@pytest.mark.parametrize("prompts", ["a lighthouse", b"a lighthouse", {"prompt": "a lighthouse"}], ids=["text", "bytes", "mapping"])
def test_one_prompt_in_place_of_many_is_refused_and_not_paid_letter_by_letter(settings: Callable[..., Settings], prompts: Any) -> None:
    with pytest.raises((TypeError, headrace.UsageError)):
        list(headrace.generate(prompts, settings(max_cost_usd=0.0)))


def test_ctrl_c_ends_a_program_that_waits_for_a_result(tmp_path: Path, api: tuple[str, World]) -> None:
    prompt = f"{tmp_path} [[fault:stall]]"
    code = (
        "import headrace\n"
        f"settings = headrace.Settings.from_dict({{'provider': {{'base_url': {api[0]!r}}}, 'cache': {{'policy': 'off'}}}})\n"
        f"for _ in headrace.generate([{prompt!r}], settings): pass\n"
    )
    environ = {"OPENAI_API_KEY": "sk-canary-any", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        try:
            until(lambda: api[1].calls(prompt) == 1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"


def test_with_a_journal_a_job_that_was_left_goes_on_and_without_one_it_starts_over(
    settings: Callable[..., Settings], world: World, tmp_path: Path
) -> None:
    for journal, bill in ((True, 1), (False, 2)):
        prompts = [{"prompt": f"{tmp_path} {journal} {n}", "cache": "bypass", "metadata": n} for n in range(3)]
        for seen in (2, 3):
            results = headrace.generate(prompts, settings(journal=journal, max_in_flight=1))
            assert [result.metadata for result in itertools.islice(results, seen)] == list(range(seen))
            results.close()
        assert [world.bill[str(each["prompt"])] for each in prompts[:2]] == [bill] * 2


def test_a_budget_is_for_one_job_and_begins_anew_once_that_came_to_its_end(settings: Callable[..., Settings], tmp_path: Path) -> None:
    # A picture costs about 0.0061: there is enough for three.
    for name in ("first", "second"):
        prompts = [f"{tmp_path} {name} {n}" for n in range(3)]
        results = headrace.generate(prompts, settings(journal=True, max_cost_usd=0.02))
        assert [result.status for result in results] == ["ok"] * 3


def test_simulated_apis_of_lines_at_once_do_not_meet(tmp_path: Path) -> None:
    table = {"cache": {"policy": "off"}, "run": {"simulate": True, "out_dir": str(tmp_path)}}
    own = headrace.Settings.from_dict(table)
    lines = [headrace.generate([f"{name} {n}" for n in range(2)], own) for name in ("one", "other", "third")]
    assert [[result.status for result in at_once] for at_once in zip(*lines, strict=True)] == [["ok"] * 3] * 2


def test_settings_come_from_code_a_mapping_or_a_file(settings: Callable[..., Settings], tmp_path: Path) -> None:
    given = settings()
    toml = tmp_path / "headrace.toml"
    url, cache, out = given.provider.base_url, given.cache.dir, given.run.out_dir
    toml.write_text(
        f'[provider]\nbase_url = "{url}"\n[[pool]]\nname = "studio"\n[[key]]\nname = "studio-a"\npool = "studio"\nenv = "EMBEDDED_KEY"\n'
        f'[cache]\npolicy = "exact"\ndir = "{cache}"\n[run]\nout_dir = "{out}"\n'
    )
    table = {
        "provider": {"base_url": url},
        "pool": [{"name": "studio"}],
        "key": [{"name": "studio-a", "pool": "studio", "env": "EMBEDDED_KEY"}],
        "cache": {"policy": "exact", "dir": cache},
        "run": {"out_dir": out},
    }
    assert given == Settings.from_dict(table) == Settings.load(toml)
    # Absent settings are those of ./headrace.toml.
    for each in (given, None):
        assert [result.status for result in headrace.generate([f"{tmp_path} a"], each)] == ["ok"]
