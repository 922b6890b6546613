"""headrace as a stage of a Ray Data job (``headrace[ray]``)."""

from __future__ import annotations

import math
import os
import secrets
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import attrs
import trio

from headrace.assembly import open_race
from headrace.columns import Columns
from headrace.errors import HeadraceError, UsageError, lone
from headrace.settings import KeySettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.data import Dataset

T = TypeVar("T")

ROWS = 16
"""In a batch: what an actor that dies was at is run again, batch by batch."""
MOST_BATCHES = 256
"""In an actor at once; each has a thread."""
TRIAL_S = 300.0
"""A cluster may have to start a machine first, and to install what ``runtime_env`` says."""
_WHERE = ("accelerator_type", "label_selector", "memory", "num_gpus", "resources", "runtime_env", "scheduling_strategy")
"""Options that say on which machines and in which environment actors are."""


def generate(
    dataset: Dataset,
    settings: Settings | None = None,
    *,
    concurrency: int = 1,
    prompt_column: str = "prompt",
    id_column: str | None = None,
    **options: Any,
) -> Dataset:
    """The dataset with what became of each prompt, in columns named ``headrace_...`` (docs/cluster.md); failures are rows as well.

    Each of ``concurrency`` actors has one line in a thread of its own, and many batches of at most 16 rows are in it at once, so that none
    waits for another. Several actors share their limits through ``[quota] store``, and their pictures through ``[cache] shared``: then a
    batch that Ray runs again, because its actor died, finds what was paid for. Rows come in Ray's order; sort by ``headrace_seq`` for
    that of the input.

    A dataset is lazy: whatever looks at the result runs it, and pays. Write it, or ``materialize()`` it, once.

    Args:
        dataset: a row a prompt. Columns named like keys of the input contract (``size``, ``quality``, ...) are taken as such; all come
            back as they were.
        settings: ``Settings.load()`` where absent. Keys are looked up by the actors; paths are relative to the folder of this process.
        concurrency: actors.
        prompt_column: the column of the prompts.
        id_column: the column of the caller's names for them; by default ``id``, and where there is none numbers are made.
        options: of the actors, as ``Dataset.map_batches`` takes them: ``num_cpus`` (0.5 where absent), ``resources``, ``runtime_env``, ...

    Raises:
        UsageError: the extra is not installed, a column is not there, an actor could not work with these settings, or the cluster has no
            room for one.
    """
    try:
        import ray.data  # noqa: F401, PLC0415 - an extra, and a second

        import headrace.worker  # noqa: PLC0415 - pyarrow
    except ImportError:
        raise UsageError("headrace.ray needs an extra; install it with: pip install 'headrace[ray]'") from None
    settings = _for_actors(settings or Settings.load(), concurrency)
    columns = Columns(prompt=prompt_column, id=id_column, option="{}_column")
    # What is not known yet is not asked for: that would run the dataset.
    if (schema := dataset.schema(fetch_if_missing=False)) is not None:
        columns.layout(schema.names, "the dataset")
        headrace.worker.refuse_taken(schema.names)
    room = _room(settings, {name: options[name] for name in _WHERE if name in options})
    return _planned(dataset, (settings, columns, _cancelled), room, concurrency, {"num_cpus": 0.5} | options)


def _room(settings: Settings, where: dict[str, Any]) -> int:
    """How many prompts a line has room for; it is opened and closed on the cluster."""
    import ray  # noqa: PLC0415 - an extra
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError  # noqa: PLC0415 - as above

    trial = ray.remote(num_cpus=0, **where)(_tried).remote(settings)
    try:
        room: int | str = ray.get(trial, timeout=TRIAL_S)
    except GetTimeoutError:
        ray.cancel(trial)  # not by force: that ends this process where the task ends in the same moment (Ray 2.60)
        asked = f" for {', '.join(where)} as asked" if where else ""
        raise UsageError(
            f"no line could be tried on the cluster within {TRIAL_S:g} s; 'ray status' shows whether it has room{asked}, if it has, see "
            "whether the folders of the settings answer on its machines"
        ) from None
    except RayError as error:
        if isinstance(error, RayTaskError) and not isinstance(error.cause, RayError | ImportError):
            raise
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UsageError(f"no actor can work on this cluster with these options ({type(error).__name__}): {said[-1]}") from None
    if isinstance(room, str):
        raise UsageError(room)
    return room


def _planned(dataset: Dataset, worker: tuple[Any, ...], room: int, actors: int, options: dict[str, Any]) -> Dataset:
    from ray.data import ActorPoolStrategy  # noqa: PLC0415 - an extra
    from ray.data.expressions import monotonically_increasing_id  # noqa: PLC0415 - as above

    from headrace.worker import SEQ, Worker  # noqa: PLC0415 - pyarrow

    # Twice what a line has room for: half of a batch is there before its slowest picture is.
    batches = min(MOST_BATCHES, 2 * math.ceil(room / ROWS) + 1)
    pool = ActorPoolStrategy(
        size=actors, max_concurrent_calls_per_actor=batches, max_tasks_in_flight_per_actor=batches, enable_true_multi_threading=True
    )
    numbered = dataset.with_column(SEQ, monotonically_increasing_id()).repartition(target_num_rows_per_block=ROWS)
    return numbered.map_batches(
        Worker,
        batch_size=ROWS,
        batch_format="pyarrow",
        compute=pool,
        fn_constructor_args=worker,
        udf_modifying_row_count=False,
        **options,
    )


def _for_actors(settings: Settings, concurrency: int) -> Settings:
    """The settings as actors get them."""
    if concurrency < 1:
        raise UsageError(f"concurrency is {concurrency}; it is at least 1")
    for problem in _problems(settings, concurrency):
        raise UsageError(problem)
    cache, run, other = settings.cache, settings.run, settings.fallback.alternative
    if cache.shared is not None and cache.job is None:
        cache = attrs.evolve(cache, job=f"ray-{secrets.token_hex(8)}")
    if other is not None:
        other = _anchored(other, "pool", "key")
    return attrs.evolve(
        _anchored(settings, "pool", "key"),
        cache=_anchored(cache, "dir", "shared", "verifier"),
        run=attrs.evolve(run, out_dir=os.path.abspath(run.out_dir), ordered=False),  # noqa: PTH100 - no link is followed
        fallback=attrs.evolve(settings.fallback, alternative=other),
    )


def _anchored(table: T, *names: str) -> T:
    """The table with these paths, and those in tables of these names, as whole paths: an actor may work in another folder."""
    anyhow: Any = table
    anchored: T = attrs.evolve(anyhow, **{name: _here(getattr(table, name)) for name in names})
    return anchored


def _here(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_anchored(each, "file" if isinstance(each, KeySettings) else "admin_file") for each in value)
    # The home may be another one there, and a URL is whole.
    return value if value is None or value.startswith("~") or "://" in value else os.path.abspath(value)  # noqa: PTH100 - no link is followed


def _problems(settings: Settings, concurrency: int) -> Iterator[str]:
    run = settings.run
    if urlsplit(settings.quota.store or "").password is not None:
        yield "[quota] store holds a password, which would lie in Ray's object store; name the variable that has it as password_env"
    if run.journal:
        yield "[run] journal is for one process and one folder; with Ray leave it out, [cache] shared does what it is for"
    if concurrency == 1:
        return
    if settings.quota.store is None and not run.simulate:
        yield f"{concurrency} actors would each take the whole of the limits; name a Redis as store in [quota], or say concurrency=1"
    if run.max_cost_usd is not None:
        yield "[run] max_cost_usd is kept by each process alone; say concurrency=1, or see with 'headrace estimate' what it costs"
    if run.metrics_port:
        yield f"[run] metrics_port is {run.metrics_port}, which one actor a machine can have; 0 gives each a free one"


def _cancelled() -> bool:
    """Whether whoever takes the rows has left; a thread of an actor cannot be told otherwise."""
    import ray  # noqa: PLC0415 - an extra

    return bool(ray.get_runtime_context().is_canceled())


def _tried(settings: Settings) -> int | str:
    """How many prompts a line has room for, or why none can be opened; run where actors will be."""

    async def open_and_close() -> int:
        async with open_race(settings) as race:
            return race.max_in_flight

    try:
        return trio.run(open_and_close)
    except (HeadraceError, BaseExceptionGroup) as error:
        if isinstance(cause := lone(error), HeadraceError):
            return str(cause)
        raise
