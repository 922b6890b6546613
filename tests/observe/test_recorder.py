from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

from headrace.assembly import open_race
from headrace.journal.database import FILE
from headrace.offload import inline
from headrace.owners import simulated_owners, simulated_pools
from headrace.settings import CacheSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from pathlib import Path

POOLS = (PoolSettings(name="studio", images_per_minute=20),)


def rows(folder: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / FILE)) as db:
        return db.execute(question).fetchall()


def run_line(folder: Path, prompts: list[str], *, leave_after: int | None = None) -> None:
    settings = Settings(
        pool=POOLS,
        cache=CacheSettings(policy="off", dir=str(folder / "cache")),
        run=RunSettings(simulate=True, journal=True, out_dir=str(folder), max_in_flight=9),
    )
    app = make_app(World(SimulatorSettings(pools=simulated_pools(simulated_owners(POOLS, ())), pictures="template")))

    async def main() -> None:
        async with open_race(settings, offload=inline, app=app) as race, race.results(prompts) as results:
            count = 0
            async for _ in results:
                count += 1
                if count == leave_after:
                    break

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_run_leaves_what_it_was_asked_and_every_pools_books_as_they_were_at_its_end(tmp_path: Path) -> None:
    run_line(tmp_path, [f"a fox number {n}" for n in range(30)])
    ((number, asked, books),) = rows(tmp_path, "select number, settings, books from run")
    (studio,) = json.loads(books)
    assert number == 1
    assert (studio["name"], studio["calls"], studio["in_flight"], studio["admitted"]["images"]) == ("studio", 30, 0, 30)
    assert studio["bound"]["images/min"] > 20
    assert {"model": json.loads(asked)["model"], "simulated": True, "max_in_flight": 9}.items() <= json.loads(asked).items()


def test_a_line_that_is_left_early_and_one_that_follows_are_two_runs(tmp_path: Path) -> None:
    run_line(tmp_path, [f"a fox number {n}" for n in range(30)], leave_after=5)
    run_line(tmp_path, ["a wolf"])
    calls = [json.loads(books)[0]["calls"] for (books,) in rows(tmp_path, "select books from run order by number")]
    assert 5 <= calls[0] < 30
    assert calls[1] == 1


def test_limits_are_written_when_they_change_and_not_every_time(tmp_path: Path) -> None:
    run_line(tmp_path, [f"a fox number {n}" for n in range(60)])
    seen = [json.loads(books) for (books,) in rows(tmp_path, "select books from limit_seen")]
    assert {"resource": "images", "limit": 20, "source": "settings", "scale": 1.0} in seen[0]["known"]
    assert 1 <= len(seen) <= 2


def test_each_call_is_kept_with_what_it_waited_for_and_how_long_it_took(tmp_path: Path) -> None:
    run_line(tmp_path, [f"a fox number {n}" for n in range(30)])
    calls = rows(tmp_path, "select pool, waited_s, waited_for, outcome, kind, status, sent_at <= ended_at from attempt order by number")
    assert {(pool, *rest) for pool, _, _, *rest in calls} == {("studio", "paid", None, None, 1)}
    assert calls[0][1:3] == (0.0, None)
    assert calls[-1][1] > 1
    assert calls[-1][2] == "images/min"
    items = rows(tmp_path, "select prompt, read_at <= ended_at from item")
    assert sorted(items) == sorted((f"a fox number {n}", 1) for n in range(30))
