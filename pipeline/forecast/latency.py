"""How long calls take, and how long after the last one has started the last one is back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
from scipy.optimize import brentq
from scipy.special import ndtr

from headrace.owners import SIMULATED_TIME_SCALE
from headrace.simulator import SimulatorSettings
from headrace.simulator.latency import median_s

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGMA = SimulatorSettings().sigma
"""Latencies are lognormal: the standard deviation of their logarithm, as recorded and as simulated."""
MEAN = math.exp(SIGMA**2 / 2)
"""Over the median."""
RESIDUAL = MEAN**2 / 2
"""What is left on average of a call that is found under way, over its mean: E[L^2] / 2 E[L]^2."""


@attrs.frozen
class Latency:
    """Typical latencies by model and quality.

    Args:
        scale: 1 for a real API, less for the embedded simulator.
    """

    scale: float = 1.0

    def mean_s(self, model: str, quality: str) -> float:
        """Mean seconds of one call."""
        return median_s(model, quality) * MEAN * self.scale


def latency(*, simulated: bool) -> Latency:
    """Those of the embedded simulator, or of a real API."""
    return Latency(SIMULATED_TIME_SCALE if simulated else 1.0)


def last_call_s(calls: Sequence[tuple[float, float]], over_s: float) -> float:
    """Seconds from the start of the last call to the end of the last to come back, in the median.

    Args:
        calls: how many there are of each mean, and their mean in seconds.
        over_s: they start evenly over so many seconds.
    """
    if not any(count for count, _ in calls):
        return 0.0

    number = sum(count for count, _ in calls)
    longest_s = max(mean_s for _, mean_s in calls)
    together = over_s < longest_s * 1e-3

    def in_time(after_s: float) -> float:
        # The chance that all are back by then, against a half.
        late = [(count, _later(mean_s, after_s)) for count, mean_s in calls]
        if together:
            return float(math.prod((1 - each) ** count for count, each in late)) - 0.5
        last = sum(count * each for count, each in late) / number
        others = math.prod((1 - _beyond(mean_s, after_s, over_s)) ** (count * (1 - 1 / number)) for count, mean_s in calls)
        return (1 - last) * float(others) - 0.5

    return float(brentq(in_time, 0.0, 100 * longest_s))


def _beyond(mean_s: float, after_s: float, over_s: float) -> float:
    """Chance that a call that starts within ``over_s`` before the last start ends later than ``after_s`` after that."""
    return min(1.0, (_excess_s(mean_s, after_s) - _excess_s(mean_s, after_s + over_s)) / over_s)


def _later(mean_s: float, after_s: float) -> float:
    return float(ndtr(_score(mean_s, after_s)))


def _excess_s(mean_s: float, above_s: float) -> float:
    # E[max(0, L - x)] of a lognormal L.
    score = _score(mean_s, above_s)
    return float(mean_s * ndtr(score + SIGMA) - above_s * ndtr(score))


def _score(mean_s: float, above_s: float) -> float:
    return math.inf if above_s <= 0 else math.log(mean_s / MEAN / above_s) / SIGMA
