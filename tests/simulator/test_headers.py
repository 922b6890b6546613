from __future__ import annotations

import pytest

from headrace.simulator import SimulatedPool
from headrace.simulator.limits import limit_headers
from headrace.simulator.pool import Pool


@pytest.mark.parametrize(
    ("pool", "remaining", "reset", "reset_when_refused"),
    [
        (SimulatedPool(images_per_minute=120.0, burst_s=1.0), "1", "500ms", "1s"),
        (SimulatedPool(images_per_minute=2.0, discipline="sliding"), "1", "1m0s", "1m0s"),
        (SimulatedPool(images_per_minute=2.0, discipline="counter"), "1", "1m55s", "1m55s"),
        (SimulatedPool(images_per_minute=2.0, discipline="fixed"), "1", "55s", "55s"),
        (SimulatedPool(images_per_minute=12.0, discipline="fixed", window_s=10.0), "1", "5s", "5s"),
    ],
)
def test_limit_headers_are_those_after_the_charge_however_a_minute_is_counted(
    pool: SimulatedPool, remaining: str, reset: str, reset_when_refused: str
) -> None:
    busy = Pool(pool, charge_rejected=True)

    def told() -> list[str]:
        headers = dict(limit_headers(busy, 5.0))
        return [headers[f"x-ratelimit-{what}-input-images"] for what in ("limit", "remaining", "reset")]

    limit = f"{pool.images_per_minute:.0f}"
    assert busy.admit(1, 0, 5.0) is None
    assert told() == [limit, remaining, reset]
    assert busy.admit(1, 0, 5.0) is None
    assert told() == [limit, "0", reset_when_refused]
    assert busy.admit(1, 0, 5.0) is not None
    assert told() == [limit, "0", reset_when_refused]


def test_a_bucket_that_has_refilled_to_a_whole_number_says_so() -> None:
    pool = Pool(SimulatedPool(images_per_minute=5.0), charge_rejected=False)
    assert pool.admit(5, 0, 0.0) is None
    # Looked at every 0.1 s, the level is a sum with rounding errors.
    headers = [dict(limit_headers(pool, step * 0.1)) for step in range(481)]
    assert [headers[step]["x-ratelimit-remaining-input-images"] for step in (359, 360, 479, 480)] == ["2", "3", "3", "4"]


def test_every_limit_of_a_pool_has_its_headers() -> None:
    pool = Pool(SimulatedPool(images_per_minute=6.0, requests_per_minute=60.0, tokens_per_minute=6_000.0), charge_rejected=True)
    assert pool.admit(3, 600, 0.0) is None
    assert dict(limit_headers(pool, 0.0)) == {
        "x-ratelimit-limit-input-images": "6",
        "x-ratelimit-remaining-input-images": "3",
        "x-ratelimit-reset-input-images": "30s",
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5400",
        "x-ratelimit-reset-tokens": "6s",
    }
