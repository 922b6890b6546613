from __future__ import annotations

from reliability import stops


def test_a_run_that_is_stopped_at_any_moment_pays_nothing_twice_and_goes_on() -> None:
    found = {outcome.name: outcome for outcome in stops.outcomes(short=True)}
    assert {name: outcome.failures for name, outcome in found.items() if outcome.failures} == {}
    assert found[stops.CANCEL].trials >= 2
    assert found[stops.LOST].trials >= 1
