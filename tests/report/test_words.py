from __future__ import annotations

import math

import pytest

from headrace.money import money
from headrace.report.words import duration, moment, named, number, share


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (0, "$0.00"),
        (None, "unknown"),
        (0.00001, "$0.000010"),
        (0.00597, "$0.00597"),
        (0.3701, "$0.3701"),
        (1.484, "$1.48"),
        (-2.5, "-$2.50"),
        (12345.6, "$12,346"),
    ],
)
def test_money_is_as_precise_as_it_is_large(usd: float | None, said: str) -> None:
    assert money(usd) == said


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.5, "50%"),
        (0.123, "12.3%"),
        (0.0001, "< 0.1%"),
        (0.99999, "> 99.9%"),
        (4.345, "434.5%"),
        (None, "unknown"),
    ],
)
def test_a_share_is_never_all_or_none_where_one_is_missing(part: float | None, said: str) -> None:
    assert share(part) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.25, "0.2 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min"), (200_000, "2 d 7 h"), (None, "unknown")],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_a_moment_that_no_calendar_has_is_unknown() -> None:
    assert moment(1_800_000_000.0) == "2027-01-15 08:00 UTC"
    assert moment(1e300) == moment(math.nan) == moment(None) == "unknown"


def test_numbers_have_three_figures_at_least_where_they_have_them() -> None:
    assert [number(value) for value in (1_234_567, 3.14159, 31.4159, 3.0, None)] == ["1,234,567", "3.1", "31", "3", "unknown"]


def test_what_has_no_name_of_ours_keeps_its_own() -> None:
    assert (named("primary"), named("new_strategy")) == ("Made", "new_strategy")
