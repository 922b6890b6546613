from __future__ import annotations

import pytest
from reliability import kills


def test_a_process_that_is_killed_at_any_moment_loses_nothing_and_names_what_may_have_been_paid_twice() -> None:
    found = {outcome.name: outcome for outcome in kills.outcomes(short=True)}
    assert {name: outcome.failures for name, outcome in found.items() if outcome.failures} == {}
    assert found[kills.LOST].trials >= kills.KILLS_SHORT


@pytest.mark.parametrize("point", kills.POINTS)
def test_every_step_of_the_order_of_durability_can_be_died_at(point: str) -> None:
    from headrace.chaos import POINTS  # noqa: PLC0415 - the module reads the environment when it is imported

    assert point in POINTS
    assert len(POINTS) == len(kills.POINTS)
