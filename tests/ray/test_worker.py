"""What an actor does, without Ray."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from headrace import arrow
from headrace.columns import Columns
from headrace.errors import UsageError
from headrace.records import Picture, Result, Status, Strategy
from headrace.shared_cache.copies import Copies
from headrace.worker import SCHEMA, SEQ, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.settings import Settings
    from tests.conftest import RedisServer


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("headrace") and thread not in before] == []


def batch(first: int, prompts: list[Any], **columns: list[Any]) -> pa.Table:
    return pa.table({"prompt": prompts, **columns, SEQ: pa.array(range(first, first + len(prompts)), pa.int64())})


def column(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table[name].to_pylist()
    return values


def test_every_row_comes_back_in_its_place_with_what_became_of_it(settings: Callable[..., Settings], tmp_path: Path) -> None:
    given = batch(40, [b"a fox", b"", None, b"\xff", b"a hen"], sku=[1, 2, 3, 4, 5], size=["816x816", None, "", "816x816", "9x9"])
    with closing(Worker(settings(), Columns())) as worker:
        found = worker(given)
    assert found.schema.equals(pa.schema([*given.schema.remove(3), *SCHEMA]))
    assert found.select(["prompt", "sku", "size"]).equals(given.select(["prompt", "sku", "size"]))
    assert (column(found, SEQ), column(found, "headrace_id")) == ([40, 41, 42, 43, 44], ["40", "41", "42", "43", "44"])
    assert column(found, "headrace_status") == ["ok", "failed", "failed", "failed", "failed"]
    assert column(found, "headrace_size")[0] == "816x816"
    (picture,) = column(found, "headrace_images")[0]
    assert (tmp_path / "out" / picture["path"]).is_file()
    messages = [error and error["message"] for error in column(found, "headrace_error")]
    assert messages[:4] == [
        None,
        "headrace_seq 41: the prompt is empty",
        "headrace_seq 42: prompt is missing",
        "headrace_seq 43: column 'prompt' cannot be read: it is bytes that are no UTF-8",
    ]


def test_the_columns_are_the_same_whatever_the_rows(settings: Callable[..., Settings]) -> None:
    with closing(Worker(settings(), Columns())) as worker:
        schemas = {worker(table).schema for table in (batch(0, []), batch(0, [""]), batch(0, ["a fox"]))}
        assert worker(pa.table({})).schema.equals(SCHEMA)
    assert schemas == {pa.schema([pa.field("prompt", kind), *SCHEMA]) for kind in (pa.null(), pa.string())}
    assert {name.removeprefix("headrace_") for name in SCHEMA.names} == set(arrow.SCHEMA.names) - {"prompt", "metadata"}


def test_batches_do_not_wait_for_each_other_nor_the_end_for_what_is_in_flight(settings: Callable[..., Settings]) -> None:
    with ThreadPoolExecutor(8) as threads, closing(Worker(settings(cache={"policy": "off"}), Columns())) as worker:
        stuck = threads.submit(worker, batch(0, ["a fox [[fault:stall]]"]))
        others = [threads.submit(worker, batch(100 * n, [f"fox {n}.{row}" for row in range(16)])) for n in range(1, 7)]
        found = [future.result(20) for future in others]
        assert not stuck.done()
        assert [column(table, SEQ)[0] for table in found] == [100, 200, 300, 400, 500, 600]
        assert {status for table in found for status in column(table, "headrace_status")} == {"ok"}
        worker.close()
        with pytest.raises(RuntimeError, match="the worker was closed"):
            stuck.result(20)


def test_what_only_this_machine_kept_is_put_where_all_find_it(
    settings: Callable[..., Settings], redis: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    with closing(Worker(settings(), Columns())) as worker:
        worker(batch(0, ["a fox of this machine"]))
    shared = settings(cache={"shared": str(tmp_path / "shared")}, quota={"store": redis.url.reveal(), "namespace": "ray-worker"})
    with closing(Worker(shared, Columns())) as worker:
        found = worker(batch(0, ["a fox of this machine"]))
    assert column(found, "headrace_strategy") == ["cache_exact"]
    assert (tmp_path / "shared" / column(found, "headrace_images")[0][0]["path"]).is_file()


def test_a_shared_place_that_fails_or_hangs_is_said_once_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on, asked = threading.Event(), []

    class Broken:
        def has(self, name: str, _: int) -> bool:
            asked.append(name)
            if name == "hangs":
                go_on.wait(20)
            raise ConnectionResetError("it went away")

    def hit(path: str) -> Result:
        picture = Picture(path=path, sha256="0" * 64, format="png", width=1, height=1, bytes=1)
        return Result(seq=0, id="0", prompt=None, status=Status.OK, strategy=Strategy.CACHE_EXACT, images=(picture,))

    for name, why in (("fails", "it went away"), ("hangs", "it does not answer")):
        copies = Copies(Broken(), tmp_path)  # type: ignore[arg-type]  # as much of a place as is asked
        monkeypatch.setattr("headrace.shared_cache.copies.PATIENCE_S", 20.0 if name == "fails" else 0.01)
        copies.share([hit(name), hit("another")])
        copies.share([hit(name)])
        assert asked.pop() == name
        assert not asked
        assert [record.msg["error"] for record in caplog.records if isinstance(record.msg, dict)] == [why]
        caplog.clear()
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "headrace-copies":
            thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of coredis, where nobody answers it
def test_a_worker_waits_for_a_store_that_is_lost_as_it_starts(
    settings: Callable[..., Settings], own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headrace.worker.TRY_S", 0.05)
    own_redis.kill()
    with ThreadPoolExecutor(1) as threads:
        coming = threads.submit(Worker, settings(quota={"store": own_redis.url.reveal()}), Columns())
        while "quota_store_lost" not in caplog.text:
            assert not coming.done()
            time.sleep(0.01)
        own_redis.start()
        with closing(coming.result(20)) as worker:
            assert column(worker(batch(0, ["a fox"])), "headrace_status") == ["ok"]


def test_warnings_are_heard_where_nothing_is_configured() -> None:
    code = (
        "import logging; from headrace.log import log; from headrace.observe.logs import audible\n"
        "log.warning('before'); audible(); log.warning('benched', key='sk-canary-0123456789abcdef'); log.info('no'); audible()\n"
        "logging.getLogger('headrace').handlers[:] = [logging.NullHandler()]; logging.getLogger().addHandler(logging.NullHandler())\n"
        "audible(); log.warning('after')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - our own command
    assert [word for word in ("before", "benched", "no ", "after") if word in ended.stderr] == ["benched"]
    assert "canary" not in ended.stderr


def test_a_batch_that_nobody_wants_ends_the_line(settings: Callable[..., Settings]) -> None:
    with closing(Worker(settings(), Columns(), lambda: True)) as worker, pytest.raises(RuntimeError, match="the worker was closed"):
        worker(batch(0, ["a fox [[fault:stall]]"]))


def test_results_are_not_written_over(settings: Callable[..., Settings]) -> None:
    with closing(Worker(settings(), Columns())) as worker, pytest.raises(UsageError, match="has a column 'headrace_id' already"):
        worker(batch(0, ["a fox"], headrace_id=["mine"]))


def test_rows_have_the_ids_of_the_column_and_the_others_their_number(settings: Callable[..., Settings]) -> None:
    with closing(Worker(settings(), Columns(prompt="caption", id="sku"))) as worker:
        given = batch(7, ["a fox", "a hen"], sku=["red", None]).rename_columns(["caption", "sku", SEQ])
        assert column(worker(given), "headrace_id") == ["red", "8"]


def test_a_run_that_has_to_end_skips_the_rows_that_are_left(settings: Callable[..., Settings]) -> None:
    with closing(Worker(settings(run={"max_cost_usd": 0.02}), Columns())) as worker, ThreadPoolExecutor(4) as threads:
        found = [threads.submit(worker, batch(100 * n, [f"a fox, no. {n}.{row}" for row in range(16)])) for n in range(4)]
        tables = [future.result(20) for future in found] + [worker(batch(900, ["one more"]))]
    statuses = [status for table in tables for status in column(table, "headrace_status")]
    assert (len(statuses), set(statuses)) == (65, {"ok", "skipped"})
    assert {error["kind"] for table in tables for error in column(table, "headrace_error") if error} == {"over_budget"}


def test_what_cannot_be_opened_is_said_where_the_rows_are(settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTORS_KEY")
    with closing(Worker(settings(), Columns())) as worker:
        for _ in range(2):
            with pytest.raises(UsageError, match="key studio-a: the environment variable ACTORS_KEY is not set"):
                worker(batch(0, ["a fox"]))


def test_a_worker_that_nobody_holds_has_ended(settings: Callable[..., Settings]) -> None:
    worker = Worker(settings(), Columns())
    assert column(worker(batch(5, ["a fox"])), "headrace_status") == ["ok"]
    assert "headrace" in {thread.name for thread in threading.enumerate()}
    del worker
