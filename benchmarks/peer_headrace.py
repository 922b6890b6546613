"""headrace as a client of ``peers.py``: its library, told the limits of its pools.

It does what ``headrace run`` does: a journal, pictures checked and filed by their sha256, a line a prompt. ``how`` is the policy of its
cache.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from peer_job import Job, Report, clocks, read_job, tell

from headrace.assembly import open_race
from headrace.journal.outputs import output_file
from headrace.output import LineWriter
from headrace.settings import Settings

if TYPE_CHECKING:
    from headrace.race import Race


def _settings(job: Job) -> Settings:
    pools: list[dict[str, Any]] = []
    for key in job.keys:
        pools.append({"name": key.name, "images_per_minute": key.per_minute, "requests_per_minute": key.per_minute})
        if key.at_once_is_limit:
            pools[-1]["max_concurrency"] = key.at_once
    return Settings.from_dict(
        {
            "request": job.request,
            "provider": {"base_url": job.url},
            "pool": pools,
            "key": [{"name": key.name, "pool": key.name, "env": _variable(key.name)} for key in job.keys],
            "cache": {"dir": f"{job.folder}/cache", "policy": job.how},
            "run": {"out_dir": job.folder, "journal": True},
        },
    )


def _variable(name: str) -> str:
    return f"KEY_{name.upper()}"


async def _race(job: Job) -> Report:
    async with open_race(_settings(job), environ={_variable(key.name): key.secret for key in job.keys}) as race:
        path = Path(job.folder, "lines.jsonl")
        writer = LineWriter(path, lambda: None)  # a failure is raised at the end
        try:
            return await _run(job, race, writer, path)
        finally:
            writer.close()


async def _run(job: Job, race: Race, writer: LineWriter, path: Path) -> Report:
    if race.journal is None:
        raise SystemExit("there is no journal")
    file = output_file(race.journal, path, writer.handle, "peers")
    writer.start(file, race.disk)
    ended: Counter[str] = Counter()
    cpu_s, started = clocks()
    with trio.move_on_after(job.bound_s) as bound:
        async with race.results(job.prompts, write=writer.write, output=file) as results:
            async for result in results:
                ended["ok" if result.error is None else result.error.kind.value] += 1
        await race.journal.writer.durable()
    used_s, now = clocks()
    if writer.error is not None:
        raise writer.error
    answered = ended.pop("ok", 0)
    if bound.cancelled_caught:
        ended["not answered in time"] = len(job.prompts) - answered - ended.total()
    return Report(answered=answered, seconds=now - started, cpu_s=used_s - cpu_s, problems=dict(ended))


if __name__ == "__main__":
    tell(trio.run(_race, read_job()))
