from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.admission.key import Key
from headrace.admission.pool import Pool
from headrace.forecast.fluid import Forecast, forecast
from headrace.forecast.latency import Latency
from headrace.forecast.work import Kind, Work
from headrace.models import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

FLARE, SUNBURST = "gpt-image-2.5-flare", "gpt-image-2.5-sunburst"
PLENTY = 100_000


def work(requests: int, *, model: str = FLARE, quality: str = "low", n: int = 1) -> Work:
    return Work(kind=Kind(model, "1024x1024", quality, n), requests=requests, input_tokens=10 * requests)


def pool(name: str = "p", *models: str, **limits: Any) -> Pool:
    return Pool(name, Limits(**limits), [Key(name)], models=models)


def run(works: Sequence[Work], *pools: Pool, in_flight: int = PLENTY) -> Forecast:
    found = forecast(works, pools, in_flight, Latency())
    assert found is not None
    return found


def test_the_first_request_waits_for_nothing_and_half_a_second_of_the_rate_starts_with_it() -> None:
    found = run([work(1_001)], pool(images_per_minute=600))
    assert found.starts_s == pytest.approx(1_000 / (600 * 0.99 / 60) - 0.5)
    assert found.binding == (("p", "images/min", 1.0),)


def test_a_small_limit_has_a_second_between_two_minutes() -> None:
    assert run([work(21)], pool(images_per_minute=5)).starts_s == pytest.approx(20 * 61 / 5)


@pytest.mark.parametrize(
    ("limits", "cause"),
    [
        ({"images_per_minute": 600}, "images/min"),
        ({"images_per_minute": 600, "tokens_per_minute": 100_000}, "tokens/min"),
        ({"images_per_minute": 600, "requests_per_minute": 60}, "requests/min"),
        ({"images_per_minute": 600, "max_concurrency": 3}, "calls at once"),
    ],
)
def test_the_limit_that_binds_is_named(limits: dict[str, Any], cause: str) -> None:
    found = run([work(500)], pool(**limits))
    assert [(where, what) for where, what, _ in found.binding] == [("p", cause)]
    (share,) = found.shares
    assert share.binding == cause
    assert share.used[cause] == pytest.approx(1.0)
    assert all(part < 1 for name, part in share.used.items() if name != cause)


def test_too_few_in_flight_bind_the_line_and_no_pool() -> None:
    found = run([work(500)], pool(images_per_minute=600), in_flight=4)
    assert found.binding == ((None, "max_in_flight", 1.0),)


def test_pools_share_work_by_what_they_let_through() -> None:
    found = run([work(7_000)], pool("one", images_per_minute=100), pool("two", images_per_minute=200), pool("four", images_per_minute=400))
    assert [share.requests for share in found.shares] == pytest.approx([1_000, 2_000, 4_000], rel=0.01)
    assert [name for name, _, _ in found.binding] == ["four", "two", "one"]


def test_a_pool_for_some_models_does_those_and_leaves_room_for_others_elsewhere() -> None:
    works = [work(600), work(600, model=SUNBURST)]
    found = run(works, pool("all", images_per_minute=600), pool("flare", "*-flare", images_per_minute=600))
    assert [round(share.requests) for share in found.shares] == [600, 600]
    found = run(works, pool("all", images_per_minute=100), pool("flare", "*-flare", images_per_minute=6_000))
    assert found.starts_s == pytest.approx(599 / (100 * 0.99 / 60) - 0.5, rel=0.01)
    assert [name for name, _, _ in found.binding] == ["all"]


def test_what_no_pool_is_for_has_no_time() -> None:
    assert forecast([work(1)], [pool("p", "gpt-image-1*", images_per_minute=5)], PLENTY, Latency()) is None


def test_the_weight_of_a_limit_is_what_more_of_it_saves() -> None:
    def pools(more: float) -> list[Pool]:
        return [pool("images", images_per_minute=300 * more), pool("calls", images_per_minute=900, max_concurrency=100)]

    before, after = run([work(5_000)], *pools(1.0)), run([work(5_000)], *pools(1.01))
    weight = next(weight for name, _, weight in before.binding if name == "images")
    assert 0.1 < weight < 0.9
    assert 1 - after.starts_s / before.starts_s == pytest.approx(0.01 * weight, rel=0.03)


@pytest.mark.parametrize("works", [[], [work(0)]])
def test_nothing_to_do_takes_no_time(works: list[Work]) -> None:
    assert run(works, pool(images_per_minute=5)).seconds == 0


def test_few_calls_start_at_once_and_take_as_long_as_the_longest() -> None:
    found = run([work(1), work(1, quality="high")], pool(images_per_minute=300))
    assert found.starts_s == pytest.approx(0.0, abs=0.2)
    assert found.seconds == pytest.approx(25.0, rel=0.01)
    assert run([work(1)], pool(images_per_minute=300)).seconds == pytest.approx(8.0)
