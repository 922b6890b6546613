from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import trio

from headrace.assembly import open_race
from headrace.errors import UsageError
from headrace.journal.database import FILE, alone
from headrace.journal.status import status
from headrace.journal.trace import trace
from headrace.offload import inline
from headrace.owners import simulated_owners, simulated_pools
from headrace.settings import CacheSettings, PoolSettings, RunSettings, Settings
from headrace.simulator import SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Run = Callable[[Callable[[], Awaitable[None]]], None]

POOLS = (PoolSettings(name="studio", images_per_minute=60, max_concurrency=1),)
ITEMS = [
    {"prompt": "a fox", "id": "fox"},
    {"prompt": "a fox", "id": "same fox"},
    {"prompt": "an owl [[fault:server_error*1]]", "id": "owl"},
    {"prompt": "a cat [[fault:rate_limited_old*1]]", "id": "cat"},
    {"prompt": "a dog [[fault:moderation_blocked]]", "id": "dog"},
]


@pytest.fixture
def went(tmp_path: Path, run: Run) -> Callable[..., Path]:
    """``went(items, ended_after=...)``: a run over the items in the simulator, ended by a crash after so many seconds; the folder."""
    out = tmp_path / "out"
    settings = Settings(
        pool=POOLS,
        cache=CacheSettings(policy="exact", dir=str(tmp_path / "cache")),
        run=RunSettings(out_dir=str(out), simulate=True, journal=True),
    )

    def going(items: list[Any], ended_after: float = 1e6) -> Path:
        async def main() -> None:
            world = World(SimulatorSettings(pools=simulated_pools(simulated_owners(POOLS, ())), pictures="template"))
            with trio.move_on_after(ended_after):
                async with open_race(settings, environ={}, offload=inline, app=make_app(world)) as race, race.results(items) as results:
                    async for _ in results:
                        pass

        run(main)
        return out

    return going


def spoilt(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / FILE)) as db:
        db.execute(statement)
        db.commit()


def prompt_of(folder: Path, name: str) -> dict[str, Any]:
    way = trace(folder, name)
    assert (way["running"], way["id"]) == (False, name)
    (prompt,) = way["prompts"]
    assert prompt["id"] == name
    return dict(prompt)


def test_a_prompt_is_told_from_being_read_over_its_calls_to_its_result(went: Callable[..., Path]) -> None:
    folder = went(ITEMS)
    owl = prompt_of(folder, "owl")
    assert (owl["prompt"], owl["status"], owl["runs"]) == ("an owl [[fault:server_error*1]]", "ok", [1])
    failed, paid = owl["calls"]
    assert (failed["outcome"], failed["status"], failed["kind"], failed["pool"], failed["key"]) == (
        *("unpaid", 500, "server_error"),
        *("studio", "studio"),
    )
    assert "The server had an error" in failed["message"]
    assert (paid["outcome"], paid["kind"], paid["run"], paid["simulated"]) == ("paid", None, 1, True)
    assert failed["request_id"] != paid["request_id"]
    # One call at a time: it stood behind the fox's.
    assert (failed["waited_for"], failed["waited_s"] > 5) == ("calls at once", True)
    assert owl["read_at"] <= failed["sent_at"] <= failed["ended_at"] <= paid["sent_at"] <= paid["ended_at"]
    result = owl["result"]
    assert (result["strategy"], result["attempts"], result["cost_usd"]) == ("primary", 2, paid["cost_usd"])
    assert result["images"][0]["path"].startswith("images/")


def test_refusals_of_pace_and_of_content_are_calls_without_a_picture(went: Callable[..., Path]) -> None:
    folder = went(ITEMS)
    refused, paid = prompt_of(folder, "cat")["calls"]
    assert (refused["outcome"], refused["status"], refused["kind"], paid["outcome"]) == ("unpaid", 429, "rate_limited", "paid")
    dog = prompt_of(folder, "dog")
    (blocked,) = dog["calls"]
    assert (blocked["status"], blocked["kind"], dog["status"]) == (400, "moderation_blocked", "failed")
    assert dog["result"]["error"]["kind"] == "moderation_blocked"


def test_a_hit_has_no_calls_and_names_whose_picture_it_is(went: Callable[..., Path]) -> None:
    folder = went(ITEMS)
    went([{"prompt": "a fox", "id": "late fox"}])
    for name, strategy, runs in (("same fox", "coalesced", [1]), ("late fox", "cache_exact", [2])):
        fox = prompt_of(folder, name)
        assert (fox["calls"], fox["runs"]) == ([], runs)
        assert (fox["result"]["strategy"], fox["result"]["match"]["of"], fox["result"]["match"]["prompt"]) == (strategy, "fox", "a fox")


def test_a_call_that_was_under_way_when_its_run_ended_is_in_doubt_until_it_is_asked_again(went: Callable[..., Path]) -> None:
    folder = went([{"prompt": "a fox", "id": "fox"}], ended_after=1)
    fox = prompt_of(folder, "fox")
    assert (fox["status"], fox["result"], [call["outcome"] for call in fox["calls"]]) == (None, None, ["in_doubt"])
    assert fox["calls"][0]["ended_at"] is None
    with alone(folder):
        way = trace(folder, "fox")
        assert (way["running"], way["prompts"][0]["calls"][0]["outcome"]) == (True, "under_way")
    went([{"prompt": "a fox", "id": "fox"}])
    fox = prompt_of(folder, "fox")
    assert [(call["outcome"], call["run"], call["paused_s"]) for call in fox["calls"]] == [("unknown", 1, 0.0), ("paid", 2, 0.0)]
    assert (fox["status"], fox["runs"]) == ("ok", [1, 2])


def test_prompts_of_one_id_are_all_told_the_newest_last(went: Callable[..., Path]) -> None:
    went(["a fox"])
    folder = went(["an owl"])
    assert [(prompt["prompt"], prompt["runs"]) for prompt in trace(folder, "0")["prompts"]] == [("a fox", [1]), ("an owl", [2])]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("9", "the nearest are 2, 1, 0"), ("foxx", "the nearest are fox"), ("zebra\x1b[2J", "'headrace status' says what there is")],
)
def test_an_unknown_id_is_told_with_the_nearest_ones(went: Callable[..., Path], name: str, hint: str) -> None:
    folder = went(["", "", "", {"prompt": "a fox", "id": "fox"}])
    with pytest.raises(UsageError) as raised:
        trace(folder, name)
    assert str(raised.value).endswith(hint)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "spoil",
    [
        "update item set read_at = 1e300, ended_at = -1e20",
        "update attempt set sent_at = 9e999, ended_at = 1e308, waited_s = 9e999, cost_usd = -9e999",
        "update run set started_at = 9e99",
        """update item set result = '{"status": "ok", "match": "x"}'""",
        """update item set result = '{"status": "ok", "strategy": [1]}'""",
        """update item set result = '{"status": "ok", "cost_usd": "x"}'""",
        """update item set result = '{"status": "ok", "cost_usd": NaN}'""",
        """update item set result = '{"status": "ok", "attempts": 1e999}'""",
        "update item set prompt = cast(x'ff41' as text)",
    ],
)
def test_what_is_damaged_is_unknown_and_the_rest_is_told(went: Callable[..., Path], spoil: str) -> None:
    folder = went(["a fox"])
    spoilt(folder, spoil)
    way = trace(folder, "0")
    json.dumps(way, allow_nan=False)
    assert (way["prompts"][0]["status"], way["prompts"][0]["calls"][0]["outcome"]) == ("ok", "paid")
    json.dumps(status(folder), allow_nan=False)


def test_of_an_id_that_many_prompts_have_the_newest_are_told_and_all_are_counted(went: Callable[..., Path]) -> None:
    folder = went([{"prompt": f"a fox {number}", "id": "fox"} for number in range(5)])
    way = trace(folder, "fox", newest=2)
    assert (way["count"], [prompt["prompt"] for prompt in way["prompts"]]) == (5, ["a fox 3", "a fox 4"])
    assert len(trace(folder, "fox")["prompts"]) == 5


@pytest.mark.parametrize("asked", ["hero-banner-17-x", "xero-banner-17-n", "hero-bXnner-17-n"])
def test_the_nearest_id_is_found_among_thousands_that_are_as_long(went: Callable[..., Path], asked: str) -> None:
    folder = went([{"prompt": "a fox", "id": "hero-banner-17-n"}])
    with closing(sqlite3.connect(folder / FILE)) as db:
        others = (f"update-{number:09}" for number in range(3_000))
        db.executemany("insert into item (number, identity, line, name) values (null, x'00', 1, ?)", [(name,) for name in others])
        db.execute("update item set number = 1000000 where name = 'hero-banner-17-n'")
        db.commit()
    with pytest.raises(UsageError, match=r"the nearest are hero-banner-17-n$"):
        trace(folder, asked)


def test_a_very_long_id_is_cut_in_the_complaint(went: Callable[..., Path]) -> None:
    folder = went([{"prompt": "a fox", "id": "9" * 10_000}])
    for asked in ("x" * 10_000, "1"):
        with pytest.raises(UsageError) as raised:
            trace(folder, asked)
        assert len(str(raised.value)) < 400


def no_database(folder: Path) -> None:
    (folder / FILE).write_bytes(b"these are my notes" * 100)


def someone_elses(folder: Path) -> None:
    (folder / FILE).unlink()
    spoilt(folder, "create table mine (x)")


def empty(folder: Path) -> None:
    (folder / FILE).write_bytes(b"")


def no_file(folder: Path) -> None:
    (folder / FILE).unlink()


def earlier(folder: Path) -> None:
    spoilt(folder, "pragma user_version = 1")


def test_of_a_journal_of_schema_2_all_is_told_but_what_it_does_not_know(went: Callable[..., Path]) -> None:
    folder = went(["a fox"])
    (now,) = trace(folder, "0")["prompts"]
    spoilt(folder, "alter table attempt drop column strategy")
    spoilt(folder, "pragma user_version = 2")
    (then,) = trace(folder, "0")["prompts"]
    assert then["calls"] == [now["calls"][0] | {"strategy": None}]
    assert {**then, "calls": ()} == {**now, "calls": ()}


def later(folder: Path) -> None:
    spoilt(folder, "pragma user_version = 4")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_file, "holds no journal; name the --out-dir of a run"),
        (empty, "holds no journal; name the --out-dir of a run"),
        (someone_elses, "is no journal; name the --out-dir of a run"),
        (no_database, "cannot be read: file is not a database"),
        (earlier, "is of an earlier headrace; it is brought up to date by the next run there"),
        (later, "is of a later headrace; look at it with that one"),
    ],
)
def test_a_journal_that_cannot_be_looked_at_is_one_line(went: Callable[..., Path], make: Callable[[Path], None], said: str) -> None:
    folder = went(["a fox"])
    make(folder)
    with pytest.raises(UsageError, match=said):
        trace(folder, "0")
    if make is earlier:
        assert status(folder)["ok"] == 1
    else:
        with pytest.raises(UsageError, match=said):
            status(folder)
