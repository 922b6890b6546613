from __future__ import annotations

from random import Random
from statistics import median

import pytest

from headrace.forecast.latency import MEAN, SIGMA, last_call_s, latency


def test_simulated_pictures_take_a_tenth_of_the_time() -> None:
    real, simulated = (latency(simulated=each).mean_s("gpt-image-2.5-flare", "high") for each in (False, True))
    assert simulated == pytest.approx(real / 10)


@pytest.mark.parametrize(("number", "over_s"), [(1, 0.0), (50, 0.0), (2, 60.0), (300, 60.0), (40, 400.0)])
def test_the_last_call_is_back_when_a_trial_says_so(number: int, over_s: float) -> None:
    random, mean_s, ends = Random(1), 20.0, []
    for _ in range(2_000):
        starts = [random.uniform(0, over_s) for _ in range(number - 1)]
        ends.append(max(at + mean_s / MEAN * random.lognormvariate(0, SIGMA) for at in (*starts, over_s)) - over_s)
    assert last_call_s([(number, mean_s)], over_s) == pytest.approx(median(ends), rel=0.06)


def test_without_a_call_there_is_no_last_one() -> None:
    assert last_call_s([], 10.0) == 0
    assert last_call_s([(0, 5.0)], 10.0) == 0
