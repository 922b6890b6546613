"""One client's part in ``peers.py``: the job that it is given, and the loop that every asyncio client does it in.

Knows nothing but the standard library: LiteLLM and the official SDK of today cannot be installed side by side, so a client may run under
an interpreter that has nothing of headrace.
"""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key, and the limits of the organisation that it belongs to."""

    name: str
    secret: str = field(repr=False)
    per_minute: int
    """Images, and requests as well."""
    at_once: int
    """Calls at once: the limit where there is one, else what ``peers.py`` gives to clients that have to be told a number."""
    at_once_is_limit: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a client is to do."""

    url: str
    keys: tuple[Key, ...]
    request: dict[str, Any]
    """Parameters of every call but the prompt."""
    prompts: tuple[str, ...]
    bound_s: float
    folder: str
    """Where the pictures go."""
    how: str
    """Which form of the client."""

    def to_json(self) -> str:
        """The job as text for the client's process, keys and all."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a client did; everything else is in the books of the server."""

    answered: int
    """Prompts whose picture is in a file."""
    seconds: float
    """From the first prompt to the end of the last, or to the bound."""
    cpu_s: float
    """Of the process with its threads, within those seconds."""
    problems: dict[str, int]
    """Kind of error -> prompts that ended with it."""


@dataclass(frozen=True)
class Lane:
    """A way to get pictures, and how many prompts may be on it at once."""

    generate: Callable[[str], Awaitable[str]]
    """Prompt -> picture in base64; what it raises is a prompt without a picture."""
    at_once: int


def read_job() -> Job:
    """The job, from stdin."""
    given = json.load(sys.stdin)
    return Job(**{**given, "keys": tuple(Key(**key) for key in given["keys"]), "prompts": tuple(given["prompts"])})


def tell(report: Report) -> None:
    """Hand the report over: the last line of stdout, for libraries print there too."""
    print(f"\n{json.dumps(asdict(report))}", flush=True)


def clocks() -> tuple[float, float]:
    """CPU seconds of this process so far, and the time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


def take_part(lanes: Callable[[Job], AbstractAsyncContextManager[Iterable[Lane]]]) -> None:
    """Do the job of stdin over the lanes of an asyncio client and tell how it went."""
    job = read_job()

    async def main() -> Report:
        async with lanes(job) as opened:
            return await _race(job, opened)

    tell(asyncio.run(main()))


async def _race(job: Job, lanes: Iterable[Lane]) -> Report:
    answered = 0
    problems: Counter[str] = Counter()
    queue = enumerate(job.prompts)  # each worker takes the next

    async def worker(lane: Lane) -> None:
        nonlocal answered
        for number, prompt in queue:
            try:
                picture = await lane.generate(prompt)
            except Exception as problem:  # noqa: BLE001 - whatever a client gives up with is the answer to this prompt
                problems[type(problem).__name__] += 1
            else:
                _file(job, number, picture)
                answered += 1

    cpu_s, started = clocks()
    try:
        async with asyncio.timeout(job.bound_s), asyncio.TaskGroup() as tasks:
            for lane in lanes:
                for _ in range(lane.at_once):
                    tasks.create_task(worker(lane))
    except TimeoutError:
        problems["not answered in time"] = len(job.prompts) - answered - problems.total()
    used_s, ended = clocks()
    return Report(answered=answered, seconds=ended - started, cpu_s=used_s - cpu_s, problems=dict(problems))


def _file(job: Job, number: int, picture: str) -> None:
    Path(job.folder, f"{number}.webp").write_bytes(base64.b64decode(picture))
