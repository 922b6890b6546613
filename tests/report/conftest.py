from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from PIL import Image
from trio.testing import MockClock, wait_all_tasks_blocked

from headrace.admission.books import Known, PoolStatistics
from headrace.disk import Disk
from headrace.journal.journal import Wait, open_journal
from headrace.journal.line import journal_line
from headrace.models import Limits
from headrace.observe.recorder import Recorder
from headrace.observe.watcher import Snapshot
from headrace.offload import inline
from headrace.records import Kind, Match, Picture, Problem, Prompt, Request, Result, Status, Strategy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from headrace.journal.journal import Journal
    from headrace.journal.line import JournalLine

URL = "https://api.example.com/v1"
START = 1_800_000_000.0


@attrs.define
class Wall:
    """The clock on the wall, in seconds since 1970."""

    now: float = START


class Job:
    """One run as the journal sees it: what a test does with it is what a run would have written."""

    def __init__(self, root: Path, wall: Wall, journal: Journal, line: JournalLine, asked: dict[str, Any]) -> None:
        self.root = root
        self.wall = wall
        self.pools: dict[str, PoolStatistics] = {}
        self._journal = journal
        self._line = line
        self._seq = 0
        self.recorder = Recorder(journal, asked, self._snapshot)

    async def read(self, words: str = "a fox", name: str | None = None, quality: str = "low", model: str = "m") -> Prompt:
        """A prompt comes in."""
        request = Request(prompt=words, model=model, size="1024x1024", quality=quality)
        prompt = Prompt(seq=self._seq, id=name or str(self._seq), named=name is not None, request=request)
        self._seq += 1
        record = await self._line.recall(prompt)
        assert isinstance(record, Prompt)
        return record

    async def call(self, prompt: Prompt, took_s: float, problem: Problem | None = None, **given: Any) -> None:
        """A call goes out, and comes back with this problem; without one it stays out."""
        assert prompt.item is not None
        wait = Wait(given.get("pool", "studio"), given.get("waited_s", 0.0), given.get("waited_for"))
        intent = await self._journal.intend(prompt.item, given.get("key", "studio-a"), given.get("cost_usd", 0.25), wait)
        self.wall.now += took_s
        if problem is not None:
            self._journal.failed(intent, problem)

    async def pay(
        self, words: str = "a fox", *pictures: Picture, took_s: float = 2.0, cost_usd: float | None = 0.25, **given: Any
    ) -> Prompt:
        """A prompt comes in, is asked for, answered and paid."""
        fields = {name: given.pop(name) for name in ("name", "quality", "model") if name in given}
        prompt = await self.read(words, **fields)
        await self.call(prompt, took_s, cost_usd=cost_usd, **given)
        result = self.result(prompt, Strategy.PRIMARY, pictures, cost_usd=cost_usd, latency_s=took_s, key=given.get("key", "studio-a"))
        await self._line.answered(result, cost_usd, ())
        return prompt

    async def hit(
        self, words: str, strategy: Strategy, match: Match, *pictures: Picture, saved_usd: float = 0.25, name: str | None = None
    ) -> None:
        """A prompt is given what is there."""
        prompt = await self.read(words, name)
        await self._line.ended(self.result(prompt, strategy, pictures, saved_usd=saved_usd, match=match))

    async def fail(self, words: str, kind: Kind, message: str, name: str | None = None, status: Status = Status.FAILED) -> None:
        """A prompt gets no picture."""
        prompt = await self.read(words, name)
        problem = Problem(kind=kind, message=message)
        await self._line.ended(attrs.evolve(self.result(prompt, None, ()), status=status, strategy=None, error=problem))

    def result(self, prompt: Prompt, strategy: Strategy | None, pictures: tuple[Picture, ...], **more: Any) -> Result:
        """Its result."""
        request = prompt.request
        given: dict[str, Any] = {"model": request.model, "size": request.size, "quality": request.quality} | more
        return Result(
            seq=prompt.seq,
            id=prompt.id,
            prompt=request.prompt,
            status=Status.OK,
            strategy=strategy,
            images=pictures,
            item=prompt.item,
            **given,
        )

    def picture(self, colour: str = "red", size: tuple[int, int] = (40, 30)) -> Picture:
        """A picture file in the folder."""
        file = BytesIO()
        Image.new("RGB", size, colour).save(file, "PNG")
        return self.file(file.getvalue(), size)

    def file(self, data: bytes, size: tuple[int, int] = (40, 30)) -> Picture:
        """Whatever file, under the name of a picture."""
        digest = hashlib.sha256(data).hexdigest()
        path = f"images/{digest[:2]}/{digest}.png"
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)
        return Picture(path=path, sha256=digest, format="png", width=size[0], height=size[1], bytes=len(data))

    def pool(self, name: str = "studio", *, images: float | None = 60.0, scale: float = 1.0, **given: Any) -> None:
        """The books of a pool from here on."""
        known = (Known(resource="images", limit=images, source="settings", scale=scale),)
        values: dict[str, Any] = {
            "limits": Limits(),
            "keys": (f"{name}-a",),
            "admitted": {"images": 1, "tokens": 100, "requests": 1},
            "in_flight": 0,
            "busy_s": 2.0,
            "calls": 1,
            "refused": 0,
            "first_at": 0.0,
            "last_at": 1.0,
            "state": "ready",
            "known": known,
        }
        self.pools[name] = PoolStatistics(name=name, **values | given)
        self.recorder.write()

    def _snapshot(self) -> Snapshot:
        pools = tuple(self.pools.values())
        return Snapshot(pools=pools, depths={}, in_flight=0, max_in_flight=1, spent_usd=0.0, max_cost_usd=None)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """The clock that journals look at."""
    clock = Wall()
    monkeypatch.setattr("time.time", lambda: clock.now)
    return clock


@pytest.fixture
def folder_of(tmp_path: Path, wall: Wall) -> Callable[..., Path]:
    """``folder_of(run)``: the output folder of a job whose run was ``run(job)``; again in the same folder for its next run."""

    def write(run: Callable[[Job], Awaitable[None]], name: str = "job", simulated: bool = False, **asked: Any) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)

        async def main() -> None:
            with open_journal(root, Disk(inline), fresh=False, hold=False, simulated=simulated) as journal:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(journal.writer.run)
                    async with journal_line(journal, URL, None) as line:
                        job = Job(
                            root, wall, journal, line, {"model": "m", "quality": "low", "size": "1024x1024", "cache": "verified"} | asked
                        )
                        nursery.start_soon(job.recorder.run)
                        await wait_all_tasks_blocked()
                        await run(job)
                        job.recorder.write()
                        await journal.writer.durable()
                    nursery.cancel_scope.cancel()

        trio.run(main, clock=MockClock(autojump_threshold=0))
        return root

    return write
