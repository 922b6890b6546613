"""Batches of a table through one line that runs on between them: what an actor of Ray does, without anything of Ray's.

Only for where ``pyarrow`` is installed.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

import attrs
import pyarrow as pa
import trio

from headrace import arrow
from headrace.errors import StoppedError, UsageError
from headrace.log import log
from headrace.observe.logs import audible
from headrace.parquet import rows_of
from headrace.records import Kind, Problem, Result, Status
from headrace.redis.client import UnusableError
from headrace.redis.link import GRACE_S, TRY_S, open_link
from headrace.shared_cache.copies import copies_of
from headrace.threaded import ThreadedLine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.columns import Columns
    from headrace.lines import Row
    from headrace.settings import Settings

PREFIX = "headrace_"
SEQ = f"{PREFIX}seq"
"""The column that numbers the rows: made once for the dataset, so that a batch that is run again has the same ids."""
SCHEMA = pa.schema([field.with_name(PREFIX + field.name) for field in arrow.SCHEMA if field.name not in ("prompt", "metadata")])
"""The columns that a worker adds: those of :data:`headrace.arrow.SCHEMA` but for what the table has itself."""
LOOK_S = 0.5
"""Between two looks whether a batch is still wanted."""


def refuse_taken(names: Sequence[str]) -> None:
    """See that a table has room for the columns of results.

    Raises:
        UsageError: it has a column of such a name.
    """
    if taken := set(names).intersection(SCHEMA.names):
        raise UsageError(f"the dataset has a column {min(taken)!r} already; rename it or drop it: results get columns of such names")


class Worker:
    """Adds to each batch what became of its prompts, a row each and in its order.

    Batches may come in several threads at once and do not wait for each other. Their rows go into one line, which has a thread of its own
    for as long as the worker lives: a line for each batch would stand idle until the batch's slowest picture is there.

    Warnings go to stderr unless the process has configured ``logging``. Where the store of ``[quota]`` does not answer, a worker waits for
    it as long as those at work go on without it.

    Args:
        settings: of the line.
        columns: which hold the prompts and the ids.
        cancelled: asked now and then, in the thread of a batch, whether nobody wants it any more; then the line ends.
    """

    def __init__(self, settings: Settings, columns: Columns, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._columns = columns
        self._cancelled = cancelled
        audible()
        with suppress(UsageError):  # the line says it, to whoever brings a batch
            trio.run(_store_answers, settings)
        self._rows: SimpleQueue[Row | None] = SimpleQueue()
        self._line = ThreadedLine(iter(self._rows.get, None), settings, None)
        self._promises = _Promises()
        _deal(self._line, self._promises)
        self._copies = copies_of(settings)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The batch with the columns of :data:`SCHEMA`; it needs one called :data:`SEQ`.

        Raises:
            UsageError: a column that was asked for is not there, or one of ours is already, or the line cannot be opened.
            OutputError: pictures cannot be written.
        """
        refuse_taken([name for name in batch.column_names if name != SEQ])
        rows = self._prompts(batch) if batch.num_rows else []
        promised = [self._promises.made() for _ in rows]
        for row, promise in zip(rows, promised, strict=True):
            row.fields["metadata"] = promise
            self._rows.put(row)
        while wait(promised, LOOK_S).not_done:
            if self._cancelled():
                self._line.end()
        results = [self._promises.kept(promise, row) for row, promise in zip(rows, promised, strict=True)]
        if self._copies is not None:
            self._copies.share(results)
        found = arrow.batch(results)
        batch = batch.drop_columns([SEQ]) if SEQ in batch.column_names else batch
        for field in SCHEMA:
            batch = batch.append_column(field, found[field.name.removeprefix(PREFIX)])
        return batch

    def close(self) -> None:
        """Cancel what is in flight, and wait until nothing runs."""
        self._line.end()
        self._rows.put(None)  # a thread that waits for a row lets go
        self._line.join()

    def __del__(self) -> None:
        # Ray tells an actor that it ends by letting go of this object, and in no other way.
        self.close()

    def _prompts(self, batch: pa.Table) -> list[Row]:
        layout = self._columns.layout(batch.column_names, "the dataset")
        taken = [(name, key) for name, key in zip(layout.names, layout.keys, strict=True) if key is not None]
        names, keys = zip(*taken, strict=True)
        layout = attrs.evolve(layout, names=names, keys=keys)
        rows = []
        for seq, row in zip(batch[SEQ].to_pylist(), rows_of(batch.select(names), layout), strict=True):
            row.fields.setdefault("id", str(seq))
            rows.append(attrs.evolve(row, number=seq, unit=SEQ))
        return rows


async def _store_answers(settings: Settings) -> None:
    """Wait for a store that is lost for the moment: a line cannot be opened without it."""
    told = False
    with trio.move_on_after(GRACE_S):
        while True:
            try:
                async with open_link(settings, os.environ):
                    return
            except UnusableError as error:
                if not told:
                    log.warning("quota_store_lost", error=str(error), next="a worker starts when it is back")
                told = True
            await trio.sleep(TRY_S)


class _Promises:
    """Results that rows are still to get, each from whichever thread has it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Future[Result]] = set()
        self._ended: BaseException | None = None
        self._stopped: Problem | None = None

    def made(self) -> Future[Result]:
        """A new one."""
        promise: Future[Result] = Future()
        with self._lock:
            if self._ended is None:
                self._open.add(promise)
                return promise
        promise.set_exception(self._ended)
        return promise

    def keep(self, result: Result) -> None:
        """Give a row its result."""
        if result.status is Status.SKIPPED:
            self._stopped = result.error
        with self._lock:
            self._open.discard(result.metadata)
        result.metadata.set_result(result)

    def end(self, error: BaseException) -> None:
        """Nothing comes any more."""
        with self._lock:
            self._ended = error
            left, self._open = self._open, set()
        for promise in left:
            promise.set_exception(error)

    def kept(self, promise: Future[Result], row: Row) -> Result:
        """What became of a row: a run that had to end early has passed it over, which is no reason to lose the others."""
        try:
            result = promise.result()
        except StoppedError as error:
            kind = Kind.NO_POOL if self._stopped is None else self._stopped.kind
            problem = Problem(kind=kind, message=str(error), retryable=True)
            result = Result(seq=row.number, id=str(row.fields["id"]), prompt=None, status=Status.SKIPPED, error=problem)
        return attrs.evolve(result, seq=row.number, metadata=None)


def _deal(line: ThreadedLine, promises: _Promises) -> None:
    """Take results as they come, in the line's own thread; of the worker it knows nothing, which ends when nobody holds it any more."""

    def deal(coming: Future[Result | None]) -> None:
        try:
            result = coming.result()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the results are taken
            promises.end(error)
            return
        if result is None:
            promises.end(RuntimeError("the worker was closed"))
            return
        promises.keep(result)
        line.following().add_done_callback(deal)

    line.following().add_done_callback(deal)
