"""How long a generation takes: lognormal around a median by model and quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from headrace.simulator.settings import SimulatorSettings

MAX_S = 240.0
"""No recorded generation took longer; the gateway would have cut it off."""

# Median seconds. low, medium and high go back to recorded processing times and to reports of users; xhigh and max are
# stretched by their number of tokens. The first beginning of a model's name that matches counts.
_MEDIANS = {
    "gpt-image-2.6-flare": {"low": 7.0, "medium": 13.0, "high": 25.0, "xhigh": 40.0, "max": 75.0},
    "gpt-image-2.5-flare": {"low": 8.0, "medium": 13.0, "high": 25.0, "xhigh": 40.0, "max": 75.0},
    "gpt-image-2.6-sunburst": {"low": 10.0, "medium": 20.0, "high": 40.0, "xhigh": 65.0, "max": 110.0},
    "gpt-image-2.5-sunburst": {"low": 10.0, "medium": 20.0, "high": 45.0, "xhigh": 70.0, "max": 120.0},
    "gpt-image-2": {"low": 15.0, "medium": 35.0, "high": 75.0},
    "": {"low": 11.0, "medium": 17.0, "high": 35.0},
}


def median_s(model: str, quality: str) -> float:
    """Median seconds of a generation by that model at that quality."""
    medians = next(medians for name, medians in _MEDIANS.items() if model.startswith(name))
    return medians.get(quality, medians["high"])


def latency_s(settings: SimulatorSettings, model: str, quality: str, rng: random.Random) -> float:
    """Seconds that one generation takes, scaled."""
    median = median_s(model, quality) if settings.latency_s is None else settings.latency_s
    if median <= 0 or settings.time_scale <= 0:
        return 0.0
    return min(MAX_S, median * rng.lognormvariate(0, settings.sigma)) * settings.time_scale
