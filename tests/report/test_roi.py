from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import UsageError
from headrace.records import Kind, Match, Problem, Strategy
from headrace.report.roi import lines, return_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAME = Match(of="0", similarity=0.97, prompt="a fox")
SPOILT = Problem(kind=Kind.BAD_ANSWER, message="no whole PNG", status=200, billed=True)
LOST = Problem(kind=Kind.NETWORK, message="the connection broke", uncertain=True)


async def a_mixed_run(job: Any) -> None:
    """Of ten prompts six are paid, two are free, two fail; a picture was spoilt, and a call is in doubt."""
    for number in range(6):
        prompt = await job.pay(f"fox {number}", job.picture(), cost_usd=0.25)
    await job.hit("a fox", Strategy.CACHE_VERIFIED, SAME, job.picture(), saved_usd=0.25)
    await job.hit("the fox", Strategy.CACHE_EXACT, SAME, job.picture(), saved_usd=0.25)
    await job.fail("a bomb", Kind.MODERATION_BLOCKED, "no")
    await job.fail("a gun", Kind.MODERATION_BLOCKED, "no")
    await job.call(prompt, 1.0, SPOILT, cost_usd=0.25)
    await job.call(prompt, 1.0, LOST, cost_usd=0.125)


def test_the_saving_is_what_was_measured_at_the_volume_that_was_asked(folder_of: Callable[..., Path]) -> None:
    found = return_of(folder_of(a_mixed_run), 1_000, 900.0)
    assert (found.answered_share, found.price_usd, found.made_price_usd) == (0.8, 0.25, 0.25)
    assert (found.free_share, found.wasted_share) == (0.25, 0.25)
    assert found.without_usd == 30 * 1_000 * 0.8 * 0.25 * 1.25 == 7_500.0
    assert (found.with_usd, found.saving_usd) == (5_625.0, 1_875.0)
    assert found.payback_months == 900 / 1_875
    assert found.yearly_return == (12 * 1_875 - 900) / 900


def test_without_a_volume_it_is_the_job_once_a_day(folder_of: Callable[..., Path]) -> None:
    found = return_of(folder_of(a_mixed_run), None, 0.0)
    assert found.volume == 10
    # What the run itself would have cost without the cache, thirty times.
    assert found.without_usd == pytest.approx(30 * (6 + 2) * 0.25 * 1.25)
    assert (found.payback_months, found.yearly_return) == (0.0, None)


def test_the_formula_is_shown_with_its_numbers_and_the_comparison_in_words(folder_of: Callable[..., Path]) -> None:
    told = list(lines(return_of(folder_of(a_mixed_run), 1_000, 900.0), "job"))
    assert "compared with the same job without the cache, every answered prompt paid at that price:" in told
    assert "  without the cache  30 days x 1,000 prompts x 8/10 x $0.25 x (1 + 25.000%) = $7,500.00 a month" in told
    assert "  with it            $7,500.00 x (1 - 25.000%) = $5,625.00 a month" in told
    assert "  payback            $900.00 / $1,875.00 = 0.5 months" in told
    assert "  yearly return      (12 x $1,875.00 - $900.00) / $900.00 = 2400%" in told
    assert not any("simulated" in line for line in told)


def test_play_money_is_called_so(folder_of: Callable[..., Path]) -> None:
    found = return_of(folder_of(a_mixed_run, simulated=True), None, 5.0)
    told = list(lines(found, "job"))
    assert found.measured.simulated
    assert told[0] == "simulated: amounts are what the API would have charged; nothing was paid"
    assert all("simulated $" in line for line in told if line.lstrip().startswith(("monthly saving", "without the", "with it", "payback")))


def test_a_run_without_a_hit_never_pays_its_setup_back(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        await job.pay("a fox", job.picture())

    found = return_of(folder_of(run), 10, 100.0)
    assert (found.saving_usd, found.payback_months, found.yearly_return) == (0.0, None, -1.0)
    assert "  payback            never: there is no saving to set against $100.00" in list(lines(found, "job"))


def test_a_folder_that_nothing_was_paid_in_has_nothing_to_go_by(folder_of: Callable[..., Path]) -> None:
    async def failed(job: Any) -> None:
        await job.fail("a bomb", Kind.MODERATION_BLOCKED, "no")

    async def unpriced(job: Any) -> None:
        await job.pay("a fox", job.picture(), cost_usd=None)

    with pytest.raises(UsageError, match="no prompt was answered for money"):
        return_of(folder_of(failed, "one"), None, 0.0)
    with pytest.raises(UsageError, match="the prices of its models are unknown"):
        return_of(folder_of(unpriced, "two"), None, 0.0)


@pytest.mark.parametrize(("volume", "setup"), [(float("nan"), 0.0), (-1.0, 0.0), (None, float("inf")), (1e308, 0.0)])
def test_a_figure_that_is_none_is_refused(tmp_path: Path, volume: float | None, setup: float) -> None:
    with pytest.raises(UsageError, match="has to be a number of at least 0"):
        return_of(tmp_path, volume, setup)
