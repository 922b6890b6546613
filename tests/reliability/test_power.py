from __future__ import annotations

import pytest
from reliability import power
from reliability.images import without_mounts
from reliability.shim import without_compiler

NO_MOUNTS = without_mounts("mkfs.ext4")
NO_COMPILER = without_compiler()


@pytest.mark.skipif(NO_MOUNTS is not None, reason=str(NO_MOUNTS))
def test_a_power_cut_takes_nothing_that_was_acknowledged_and_without_fsync_it_does() -> None:
    found = {outcome.name: outcome for outcome in power.outcomes(short=True)}
    assert {name: outcome.failures for name, outcome in found.items() if outcome.failures} == {}
    assert found[power.ACKNOWLEDGED].trials == power.CUTS_SHORT
    assert found[power.CONTROL].trials == (0 if NO_COMPILER else 1)
