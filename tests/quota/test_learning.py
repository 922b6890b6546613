"""What is learnt of a limit where other processes use most of it."""

from __future__ import annotations

from headrace.admission.meter import Meter
from headrace.told import Level

LIMIT = 1_200.0


def busy(share: float, *, shared: bool) -> tuple[Meter, float]:
    """A meter of one process that used so much of the limit in the last minute, and now."""
    meter, now = Meter("images", LIMIT, firm=True, source="settings", spread=1.5), 0.0
    for _ in range(int(share * LIMIT)):
        meter.take(1, now)
        now += 60.0 / (share * LIMIT)
    if shared:
        meter.shared(int(0.99 * LIMIT), now, pressed=True)
    return meter, now


def test_one_refusal_does_not_cut_a_shared_limit_to_the_part_of_one_process() -> None:
    alone, now = busy(0.25, shared=False)
    alone.refused(None, alone.take(1, now), now)
    assert alone.pace.level < 0.6 * LIMIT
    meter, now = busy(0.25, shared=True)
    meter.refused(None, meter.take(1, now), now)
    assert meter.pace.level == LIMIT


def test_what_other_processes_use_is_no_foreign_use() -> None:
    meter, now = busy(0.25, shared=True)
    level = Level(resource="images", limit=LIMIT, remaining=0.01 * LIMIT, reset_s=59.4)
    meter.heard(level, meter.take(1, now), now)
    assert meter.pace.level == LIMIT
    alone, now = busy(0.25, shared=False)
    alone.heard(level, alone.take(1, now), now)
    assert alone.pace.level < LIMIT


def test_a_cut_limit_is_tried_again_though_calls_wait_elsewhere() -> None:
    meter, now = busy(0.25, shared=True)
    meter.pace.put(0.5 * LIMIT, now)
    for _ in range(1_000):
        now += 60.0 / (0.25 * LIMIT)
        meter.shared(600, now, pressed=True)
        meter.take(1, now)
    assert meter.pace.level > 0.5 * LIMIT
