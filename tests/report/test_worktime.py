from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.report.worktime import WorkTime

MOMENT = st.floats(0, 1e9)


def test_the_time_between_runs_is_left_out() -> None:
    work = WorkTime([(100.0, 160.0), (1_000.0, 1_030.0)])
    assert work.total_s == 90.0
    assert work.offsets == [0.0, 60.0]
    assert [work.at(moment) for moment in (0.0, 100.0, 130.0, 500.0, 1_010.0, 9_999.0)] == [0.0, 0.0, 30.0, 60.0, 70.0, 90.0]


def test_runs_that_overlap_count_once() -> None:
    assert WorkTime([(0.0, 60.0), (30.0, 90.0), (40.0, 50.0)]).total_s == 90.0


def test_without_a_run_there_is_one_point() -> None:
    work = WorkTime([])
    assert (work.total_s, work.points, work.point(5.0)) == (0.0, 1, 0)


@pytest.mark.parametrize(
    ("total_s", "step_s"), [(12.0, 5.0), (300.0, 5.0), (301.0, 10.0), (3_600.0, 60.0), (30 * 86_400.0, 43_200.0), (6e9, 1e8)]
)
def test_a_chart_has_some_sixty_points_whatever_the_time(total_s: float, step_s: float) -> None:
    work = WorkTime([(0.0, total_s)])
    assert work.step_s == step_s
    assert work.points <= 61


@given(st.lists(st.tuples(MOMENT, MOMENT).map(sorted), max_size=5), st.lists(MOMENT, min_size=2, max_size=5))
def test_time_at_work_never_goes_back_and_every_moment_has_a_point(spans: list[list[float]], moments: list[float]) -> None:
    work = WorkTime([(start, end) for start, end in sorted(spans)])
    ats = [work.at(moment) for moment in sorted(moments)]
    assert ats == sorted(ats)
    assert all(0 <= at <= work.total_s + 1e-3 for at in ats)
    assert all(0 <= work.point(moment) < work.points for moment in moments)
