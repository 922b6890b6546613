from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.admission.bucket import SHARE, TOLERANCE_S, Charge
from headrace.admission.last_good import LEAST_CUT, MOST_CUT
from headrace.admission.meter import EMPTY, ENOUGH, LEAST_SHARE, NEARLY_ALL, RATE, SAME, TELLING_S, Meter
from headrace.told import IMAGES, Level, Refusal

WORDLESS = Refusal(resource=IMAGES)
MANY = 50_000
"""More than any limit here lets start."""


def meter(limit: float | None = None, *, firm: bool = True) -> Meter:
    return Meter(IMAGES, limit, firm=firm, source="settings", spread=1.5)


def saying(limit: float) -> Refusal:
    return Refusal(resource=IMAGES, limit=limit)


def level(limit: float, remaining: float, reset_s: float | None = None) -> Level:
    return Level(resource=IMAGES, limit=limit, remaining=remaining, reset_s=reset_s)


def saturated(used: Meter, start: float, seconds: float, refused: float = 0.0) -> int:
    """How many start of a client that always has work, and of them this part is refused without a number."""
    now, number, owed = start, 0, 0.0
    while (now := used.bucket.earliest(1, now)) < start + seconds:
        charge = used.take(1, now)
        number += 1
        assert number < MANY
        owed += refused
        if owed >= 1:
            owed -= 1
            used.refused(WORDLESS, charge, now)
    return number


def started(used: Meter, now: float) -> Charge:
    now = used.bucket.earliest(1, now)
    return used.take(1, now)


@pytest.mark.parametrize("limit", [240.0, 20.0])
def test_a_smaller_limit_that_a_refusal_names_holds_from_then_on(limit: float) -> None:
    told = meter(300)
    assert told.refused(saying(limit), started(told, 0.0), 1.0)
    assert (told.limit, told.source, told.scale, told.named) == (limit, "refusal", 1.0, 300)
    assert saturated(told, 1.0, RATE.hold_s) <= limit * SHARE * RATE.hold_s / 60 + 2


def test_a_smaller_limit_that_headers_name_holds_from_then_on() -> None:
    told = meter(300)
    assert told.heard(level(100, 99), started(told, 0.0), 1.0)
    assert (told.limit, told.source) == (100, "header")


def test_a_larger_limit_than_the_settings_allow_is_offered_and_not_used() -> None:
    told = meter(300)
    charge = started(told, 0.0)
    assert not told.heard(level(5_000, 4_999), charge, 1.0)
    assert not told.refused(saying(2_000), charge, 1.0)
    assert (told.limit, told.source, told.offered, told.scale) == (300, "settings", 2_000, 1.0)
    assert saturated(told, 1.0, 600.0) <= 3_000


def test_a_larger_limit_is_used_where_the_settings_are_only_a_start() -> None:
    told = meter(300, firm=False)
    assert told.heard(level(5_000, 4_999), started(told, 0.0), 1.0)
    assert (told.limit, told.source, told.offered) == (5_000, "header", None)


def test_a_limit_that_differs_by_what_a_server_rounds_is_no_news() -> None:
    told = meter(300)
    assert not told.refused(saying(300 * (1 - SAME)), started(told, 0.0), 1.0)
    assert (told.limit, told.source) == (300, "settings")


@pytest.mark.parametrize("back", [300.0, 1_000.0])
def test_what_was_cut_and_is_named_again_is_what_the_settings_allow_again(back: float) -> None:
    told = meter(300)
    told.refused(saying(100), started(told, 0.0), 1.0)
    assert told.heard(level(back, back - 1), started(told, 2.0), 3.0)
    assert (told.limit, told.scale) == (300, 1.0)


@pytest.mark.parametrize("seconds", [15, 120])
def test_where_nothing_is_known_a_refusal_makes_what_got_through_the_limit(seconds: int) -> None:
    unknown = meter()
    for n in range(2 * seconds):
        charge = unknown.take(1, n / 2)
    assert unknown.refused(WORDLESS, charge, seconds)
    assert unknown.source == "guess"
    assert unknown.limit == pytest.approx(120, rel=0.15)


def test_of_a_few_calls_or_a_short_while_nothing_is_guessed() -> None:
    few, short = meter(), meter()
    for n in range(int(ENOUGH) - 1):
        charge = few.take(1, n * 20.0)
    assert not few.refused(WORDLESS, charge, 60.0)
    for n in range(100):
        charge = short.take(1, n / 100)
    assert not short.refused(WORDLESS, charge, TELLING_S - 1.0)
    assert (few.limit, short.limit) == (None, None)


def test_what_is_refused_for_long_of_an_unknown_limit_is_not_taken_for_what_gets_through() -> None:
    unknown = meter()
    for n in range(40):
        unknown.take(1, n / 40)
    # The server asked for 20 s, and refuses the first call after them: nothing else was sent that could have got through.
    unknown.refused(WORDLESS, unknown.take(1, 1.0), 1.0)
    unknown.refused(WORDLESS, unknown.take(1, 21.0), 21.0)
    assert unknown.limit is None or unknown.limit >= 20, "forty in the last minute got through"


def test_refusals_that_the_limit_does_not_explain_cut_the_pace_to_what_gets_through() -> None:
    told = meter(600)
    saturated(told, 0.0, 60.0)
    charge = started(told, 60.0)
    for _ in range(200):
        told.refused(WORDLESS, charge, 61.0)
    assert 1 - 200 / 600 - 0.1 < told.scale <= LEAST_CUT
    assert (told.limit, told.source) == (600, "settings")


def test_who_gets_nearly_all_of_a_limit_through_is_not_slowed_down_by_refusals() -> None:
    told = meter(600)
    saturated(told, 0.0, 300.0, refused=(1 - NEARLY_ALL) / 2)
    assert told.scale == 1.0


def test_the_pace_is_never_cut_below_a_small_part_of_the_limit() -> None:
    told = meter(600)
    now = 0.0
    for _ in range(200):
        charge = started(told, now)
        now = charge.at + 10.0
        told.refused(WORDLESS, charge, now)
    assert told.scale == pytest.approx(LEAST_SHARE)


def cut(limit: float = 600, *, firm: bool = True) -> tuple[Meter, float]:
    """A meter that was cut by half, and when."""
    used, now = meter(limit, firm=firm), 0.0
    while used.scale > MOST_CUT and now < 1_000.0:
        saturated(used, now, 60.0, refused=0.5)
        now += 60.0
    return used, now


def test_after_a_cut_more_is_tried_up_to_the_limit_and_no_further() -> None:
    used, now = cut()
    saturated(used, now, 1_800.0)
    assert used.scale == 1.0
    assert saturated(used, now + 1_800.0, 600.0) <= 6_000


def test_where_the_settings_are_only_a_start_more_is_tried_than_they_say() -> None:
    used, now = meter(100, firm=False), 0.0
    while used.scale < 1.5 and now < 1_000.0:
        saturated(used, now, RATE.stand_s)
        now += RATE.stand_s
    assert used.scale >= 1.5
    assert used.limit == 100


def test_more_is_not_tried_while_less_is_used_than_there_may_be() -> None:
    used = meter(100, firm=False)
    for n in range(2_000):
        used.take(1, n * 2.0)
    assert used.scale == 1.0


def test_a_trial_above_what_the_server_named_that_is_refused_with_the_same_number_falls_back_to_it() -> None:
    used, now = meter(100, firm=False), 0.0
    while used.scale == 1.0 and now < 1_000.0:
        saturated(used, now, RATE.stand_s)
        now += RATE.stand_s
    assert used.refused(saying(100), started(used, now), now + 1.0)
    assert (used.limit, used.scale) == (100, 1.0)


def test_headers_that_show_that_others_use_the_limit_are_a_refusal_foreseen() -> None:
    alone, beside_others = meter(300), meter(300)
    for each, own in ((alone, 290), (beside_others, 100)):
        for n in range(own):
            charge = each.take(1, n / 10)
        each.heard(level(300, EMPTY * 300, (1 - EMPTY) * 60), charge, 30.0)
    assert alone.scale == 1.0
    assert beside_others.scale < 1.0


def test_headers_of_a_full_bucket_let_requests_start_ahead_of_the_pace_until_a_refusal() -> None:
    told = meter(300)
    charge = started(told, 0.0)
    told.heard(level(300, 299, 0.2), charge, 1.0)
    for _ in range(100):
        assert told.bucket.earliest(1, 1.0) == 1.0
        charge = told.take(1, 1.0)
    told.refused(WORDLESS, charge, 1.5)
    assert saturated(told, 1.5, 10.0) <= 300 * (10 + TOLERANCE_S) / 60 + 1


@pytest.mark.parametrize("place", [0, 50, 99])
def test_what_started_in_the_same_moment_as_the_call_that_is_answered_is_no_longer_there_to_be_used(place: int) -> None:
    told = meter()
    charges = [told.take(1, 1.0) for _ in range(100)]
    # It left as one of the hundred and came first, and so the server spoke of 119 that remained.
    told.heard(level(120, 119, 0.5), charges[place], 5.0)
    assert saturated(told, 5.0, 1e-9) <= 119 - 99 + 2


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 15),
        st.integers(1, 40),
        st.one_of(
            st.none(),
            st.just(WORDLESS),
            st.builds(saying, st.floats(1, 1_000)),
            st.builds(level, st.floats(100, 1_000), st.floats(0, 100), st.one_of(st.none(), st.floats(0, 60))),
        ),
    ),
    max_size=80,
)


@settings(max_examples=100, deadline=None)
@given(limit=st.sampled_from([40.0, 100.0, 600.0]), events=EVENTS)
def test_whatever_the_server_says_a_limit_of_the_settings_is_never_exceeded(
    limit: float, events: list[tuple[float, int, Refusal | Level | None]]
) -> None:
    used, now = meter(limit), 0.0
    charged: list[tuple[float, int]] = []
    for elapsed, cost, said in events:
        now = used.bucket.earliest(cost, now + elapsed)
        charge = used.take(cost, now)
        charged.append((now, cost))
        if isinstance(said, Refusal):
            used.refused(said, charge, now)
        elif said is not None:
            used.heard(said, charge, now)
        assert used.limit is not None
        assert 0 < used.pace.level <= limit
        assert used.limit <= limit
    for at, _ in charged:
        assert sum(cost for other, cost in charged if at <= other <= at + 60) <= limit
