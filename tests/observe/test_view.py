from __future__ import annotations

import io
import unicodedata
from typing import Any

import attrs
import pytest
from rich.cells import cell_len
from rich.console import Console

from headrace.admission import ledger
from headrace.admission.books import Known, PoolStatistics
from headrace.models import Limits
from headrace.observe.counters import Failed
from headrace.observe.pool_rows import most_important, standing
from headrace.observe.state import PoolState, State
from headrace.observe.view import View
from headrace.observe.words import bar, duration, short

EVIL = (
    "evil \x1b[31mred\x07 [bold]markup[/bold] :smile: \u202e sk-canary-0123456789 \U0001f469\u200d\U0001f469 日本語\ntwo\x1b[2J\x9b2J\u2028"
)


def pool(name: str = "studio", state: str = "ready", waits_for: str | None = "images/min", scale: float = 1.0, **fields: Any) -> PoolState:
    known = (
        Known(resource="images", limit=50, source="settings", used=48, scale=scale),
        Known(resource="tokens", limit=800_000, source="settings", used=312_000),
        Known(resource="requests", limit=500, source="settings", used=48),
        Known(resource="calls", limit=60, source="settings", used=12),
    )
    values: dict[str, Any] = {"in_flight": 12, "calls": 100, "refused": 0, "known": known}
    books = PoolStatistics(
        name=name, limits=Limits(), keys=("a",), admitted={}, busy_s=1.0, first_at=0.0, last_at=1.0, state=state, **values | fields
    )
    return PoolState(books=books, waits_for=waits_for)


STATE = State(
    elapsed_s=751.2,
    total=2_000,
    done=1_234,
    ok=1_180,
    failed=24,
    skipped=30,
    cached=210,
    recalled=25,
    prompts_per_minute=98.2,
    pictures_per_minute=92.0,
    eta_s=452.0,
    spent_usd=12.34,
    projected_usd=20.11,
    saved_usd=1.23,
    max_cost_usd=50.0,
    price_unknown=False,
    pools=(
        pool(),
        pool("agency", "benched: no credit left in the account, see the billing page", "benched"),
        pool("lab", "paused for 3.0 s"),
    ),
    depths={"dedupe": 0, "semantic": 3, "admission": 118, "fetch": 48, "settle": 0},
    in_flight=170,
    max_in_flight=256,
    failures=(Failed("4711", "moderation_blocked", "rejected by the safety system"), Failed("b", "server_error", "boom")),
    alerts=("error rate 12% is above 10%",),
)
CROWD = attrs.evolve(
    STATE,
    pools=(*tuple(pool(f"studio-{number:03}", calls=number) for number in range(99)), pool("gone", f"benched: {EVIL}")),
    failures=(Failed(EVIL, EVIL, EVIL),) * 10,
    alerts=(EVIL,) * 9,
)
NOTHING = attrs.evolve(
    STATE, total=None, done=0, ok=0, failed=0, skipped=0, recalled=0, prompts_per_minute=None, eta_s=None, projected_usd=None, pools=(),
    depths={}, failures=(), alerts=(), max_cost_usd=None,
)  # fmt: skip


def drawn(state: State, width: int = 100, height: int = 30, encoding: str = "utf-8", **console: Any) -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width, **console).print(View(state, height))
    file.seek(0)
    return [line.rstrip() for line in file.read().splitlines()]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [1, 8, 20, 40, 59, 60, 80, 100, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 10, 15, 24, 60])
@pytest.mark.parametrize("state", [STATE, CROWD, NOTHING], ids=["three", "hundred", "nothing"])
def test_it_is_never_wider_or_higher_than_the_terminal_and_nothing_foreign_moves_the_cursor(
    state: State, width: int, height: int, encoding: str
) -> None:
    lines = drawn(state, width, height, encoding)
    assert 0 < len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    text = "".join(lines)
    assert not [character for character in text if unicodedata.category(character).startswith("C")]
    assert "canary" not in text
    assert encoding == "utf-8" or text.isascii()


def test_a_customary_terminal_shows_it_all() -> None:
    assert drawn(STATE) == [
        "prompts   1,234 of 2,000  ━━━━━━━━━━━━━━━━━━━━━━━━╾───────────────  61%  ETA 7:32",
        "results   1,180 ok  24 failed  30 skipped  210 cached  25 from earlier runs",
        "pace      92 pictures/min  98 prompts/min  170 of 256 in flight  12:32 elapsed",
        "cost      $12.34 so far  $20.11 projected  $1.23 saved by the cache  25% of $50.00 budget",
        "stages    dedupe 0 > semantic 3 > admission 118 > fetch 48 > settle 0",
        "alert     error rate 12% is above 10%",
        "",
        "pool      images/min      tokens/min      requests/min    calls           429s  state",
        "studio    ━━━━━━━━╾  96%  ━━━╾─────  39%  ━────────  10%  ━───── 12/60       0  at images/min",
        "agency    ━━━━━━━━╾  96%  ━━━╾─────  39%  ━────────  10%  ━───── 12/60       0  benched: no credit …",
        "lab       ━━━━━━━━╾  96%  ━━━╾─────  39%  ━────────  10%  ━───── 12/60       0  paused for 3.0 s",
        "agency    benched: no credit left in the account, see the billing page",
        "",
        "last failures",
        "4711      moderation_blocked  rejected by the safety system",
        "b         server_error        boom",
    ]


def test_a_narrow_terminal_shows_what_matters_most() -> None:
    assert drawn(attrs.evolve(STATE, pools=STATE.pools[:1]), 40, 24) == [
        "61%  1,234/2,000  ETA 7:32",
        "1,180 ok  24 failed  30 skipped",
        "210 cached  25 from earlier runs",
        "92 pictures/min  98 prompts/min",
        "170 of 256 in flight",
        "$12.34  $20.11 projected",
        "$1.23 saved by the cache",
        "25% of $50.00 budget",
        "semantic 3 > admission 118 > fetch 48",
        "alert: error rate 12% is above 10%",
        "",
        "pool    limit              state",
        "studio  images    96%      at images/min",
        "",
        "last failures",
        "4711  moderatio…  rejected by the safet…",
        "b     server_er…  boom",
    ]


def test_of_a_hundred_pools_those_that_cannot_work_and_the_busiest_are_shown_and_the_others_counted() -> None:
    lines = drawn(attrs.evolve(CROWD, failures=(), alerts=()), 100, 24)
    names = [line.partition(" ")[0] for line in lines[7:]]
    assert names[0] == "studio-086"
    assert names[-4:] == ["studio-098", "gone", "and", "gone"]
    assert lines[-2] == "and 86 more: 86 ready; 1,032 calls out"


def test_pools_that_are_stuck_take_half_of_the_room_at_the_most() -> None:
    pools = [pool(f"stuck-{number}", "benched: no", calls=0) for number in range(9)] + [pool(f"busy-{n}", calls=n) for n in range(9)]
    shown = [each.books.name for each in most_important(pools, 4)]
    assert shown == ["stuck-0", "stuck-1", "busy-7", "busy-8"]


def test_without_colours_it_says_the_same() -> None:
    file = io.StringIO()
    Console(file=file, width=100, force_terminal=True, no_color=True, color_system="256").print(View(STATE, 30))
    assert "\x1b[3" not in file.getvalue()
    assert "━━━━━━━━━╾" in file.getvalue()


def test_what_is_tried_of_a_limit_is_said_where_it_is_less_than_all() -> None:
    less = attrs.evolve(STATE, pools=(pool(scale=0.82),))
    assert [line.split()[-3] for line in drawn(less, 120) if line.startswith("studio")] == ["0"]
    assert [" 82%  " in line for line in drawn(less, 120) if line.startswith("studio")] == [True]
    assert [line.endswith("82% tried") for line in drawn(less, 80) if line.startswith("studio")] == [True]


@pytest.mark.parametrize(
    ("state", "cause", "said"),
    [
        ("ready", None, "ready"),
        ("ready", "tokens/min", "at tokens/min"),
        ("ready", ledger.CALLS, "all calls are out"),
        ("ready", ledger.INPUT, "waits for input"),
        ("ready", ledger.CONSUMER, "waits for output"),
        ("ready", ledger.PAUSED, "ready"),
        ("paused for 3.0 s", ledger.PAUSED, "paused for 3.0 s"),
        ("held: the disk is full", ledger.INPUT, "held: the disk is full"),
    ],
)
def test_a_pool_says_what_it_waits_for(state: str, cause: str | None, said: str) -> None:
    assert standing(pool(state=state, waits_for=cause))[0] == said


def test_a_projection_over_the_budget_stands_out() -> None:
    file = io.StringIO()
    over = attrs.evolve(STATE, projected_usd=60.0)
    Console(file=file, width=100, force_terminal=True, color_system="standard").print(View(over, 30))
    assert "\x1b[1;31m$60.00 projected" in file.getvalue()


def test_figures_have_as_many_digits_as_tell_something() -> None:
    assert [duration(seconds) for seconds in (0, 0.2, 59, 61, 3_661, 90_000)] == ["0:00", "0:01", "0:59", "1:01", "1:01:01", "25:00:00"]
    assert [short(number) for number in (0, 9_999, 12_345, 1_250_000)] == ["0", "9,999", "12k", "1.2M"]


@pytest.mark.parametrize(("part", "shown"), [(-1, "────"), (0, "────"), (0.125, "╾───"), (0.5, "━━──"), (1, "━━━━"), (7, "━━━━")])
def test_a_bar_is_as_full_as_its_part(part: float, shown: str) -> None:
    assert bar(part, 4, "", ascii_only=False).plain == shown
    assert len(bar(part, 4, "", ascii_only=True).plain) == 4


def test_an_alert_that_says_why_a_pool_is_benched_is_enough() -> None:
    said = [line for line in drawn(STATE) if "billing page" in line]
    told = attrs.evolve(STATE, alerts=("pool agency is benched: no credit left in the account, see the billing page",))
    assert said == ["agency    benched: no credit left in the account, see the billing page"]
    assert [line.split()[0] for line in drawn(told) if "billing page" in line] == ["alert"]
